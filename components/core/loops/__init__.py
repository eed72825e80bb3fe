"""Loops over the steps of a sequence, written out step after step."""
