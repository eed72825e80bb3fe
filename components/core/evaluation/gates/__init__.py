"""Limits, and the verdict."""
