"""A SavedModel as a float `.tflite` file."""
