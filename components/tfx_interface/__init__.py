"""Artifacts, exec properties, examples and user modules, as TFX has them."""
