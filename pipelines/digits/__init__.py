"""The shipped example: scikit-learn's handwritten digits, from tf.Examples to a pushed `.tflite` file."""
