"""Ranges of tensors over an example set, on Beam."""
