"""Preprocessing layers inside of a model, in operators that LiteRT has."""
