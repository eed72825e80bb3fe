"""A SavedModel as a graph over its variables, and as a checkpoint."""
