"""Recipes for a float file: masks, equalization, fidelity."""
