"""The function of a SavedModel that is compressed, calibrated and converted: dense numbers in, dense numbers out."""
