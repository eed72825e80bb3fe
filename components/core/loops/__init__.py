"""Unrolls loops over the steps of a sequence."""
