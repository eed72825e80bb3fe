"""Names of tensors in TensorFlow's graphs."""

from __future__ import annotations


def producer(tensor: str) -> str:
    """The node or argument that a tensor comes from, or that a control input names.

    Example:
      >>> producer('dense/MatMul:0'), producer('^init')
      ('dense/MatMul', 'init')
    """
    return tensor.lstrip('^').split(':')[0]
