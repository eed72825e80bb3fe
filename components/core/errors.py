"""The error that means: the input is at fault, and here is the remedy."""

from __future__ import annotations


class EdgeError(ValueError):
    """Bad input, told in one line: the thing, what was expected, the remedy.

    Everything in tfx-edge that refuses an input raises this type, so that a caller can tell a
    user's mistake from a defect.
    """


class NotFiniteError(EdgeError):
    """What is trained became NaN or infinite: by too high a learning rate, or by an example that holds such a value."""
