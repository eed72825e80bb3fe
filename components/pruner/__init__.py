"""Pruner: weights of least magnitude become zero."""
