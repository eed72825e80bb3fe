"""A `.tflite` file: read, run, inspect, metadata."""
