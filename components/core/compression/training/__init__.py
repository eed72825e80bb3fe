"""Training weights that satisfy their constraints."""
