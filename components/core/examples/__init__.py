"""Tf.Examples in, dense batches by input name out."""
