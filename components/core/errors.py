"""The error that means: the input is at fault, and here is the remedy."""

from __future__ import annotations


class EdgeError(ValueError):
    """Bad input, in one line: the thing, what was expected, the remedy.

    Everything in tfx-edge that refuses an input raises this type, so that a caller can distinguish a
    user's mistake from a defect.
    """


class EnvironmentFailure(Exception):
    """The machine failed a step, in one line: a process was killed or hung, or memory or a disk is full.

    No EdgeError: it says nothing about a model, so code that tries what a model can become must not take it for an
    answer. It always fails the step, which can run again.
    """


class NotFiniteError(EdgeError):
    """Trained values became NaN or infinite: the learning rate is too high, or an example holds such a value."""
