"""Weights in, weights out: sparsity, codebooks and integer grids on the variables of a SavedModel."""
