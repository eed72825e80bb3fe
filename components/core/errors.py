"""The error that means: the input is at fault, and here is the remedy."""

from __future__ import annotations


class EdgeError(ValueError):
    """Bad input, in one line: the thing, what was expected, the remedy.

    Everything in tfx-edge that refuses an input raises this type, so that a caller can distinguish a
    user's mistake from a defect.
    """


class NotFiniteError(EdgeError):
    """Trained values became NaN or infinite: the learning rate is too high, or an example holds such a value."""
