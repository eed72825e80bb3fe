"""Calls in a process of their own, forked from one that has loaded TensorFlow."""
