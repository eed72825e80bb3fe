"""Rewrites the preprocessing layers inside a model in operators that LiteRT has."""
