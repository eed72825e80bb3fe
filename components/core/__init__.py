"""What several rooms share: signatures, errors, digests, the adapters of TensorFlow's private parts."""
