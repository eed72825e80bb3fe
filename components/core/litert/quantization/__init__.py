"""A float file and ranges as a quantized file."""
