"""TFMA's configuration, and which of its metrics suit a model's outputs."""
