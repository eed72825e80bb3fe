"""Labels against the outputs that they belong to."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.errors import EdgeError


def check_classes(
    name: str, labels: np.ndarray, classes: int, reader: str, ignored: int | None = None
) -> None:
    """Refuses labels that are no numbers of classes.

    Args:
      name: of the feature.
      labels: of a batch, of shape (batch, ...).
      classes: of the output.
      reader: what reads them as classes, for the message.
      ignored: a label that stands for no class.

    Raises:
      EdgeError: names the label, and what is expected.

    Example:
      >>> check_classes('label', np.array([[3], [10]]), 10, 'metric SparseCategoricalAccuracy')
      Traceback (most recent call last):
      ...
      tfx_edge.components.core.errors.EdgeError: label 'label' is 10 in an example, but metric ... expected 0 to 9. ...
    """
    check_numbers(name, labels, reader)
    known = labels if ignored is None else labels[labels != ignored]
    wrong = known[(known < 0) | (known >= classes) | (known != np.floor(known))]
    if wrong.size:
        raise EdgeError(
            f'label {name!r} is {wrong.flat[0]:g} in an example, but {reader} reads it as one of {classes} classes; '
            f'expected 0 to {classes - 1}. Correct the labels, or name another label_key.'
        )


def check_count(name: str, labels: np.ndarray, allowed: tuple[int, ...], reader: str) -> None:
    """Refuses labels of another number of values.

    Args:
      name: of the feature.
      labels: of a batch, of shape (batch, ...).
      allowed: how many values each example may have.
      reader: what reads them, for the message.

    Raises:
      EdgeError: names both numbers.
    """
    held = labels.size // len(labels)
    if held not in allowed:
        expected = ' or '.join(str(number) for number in sorted({*allowed}))
        raise EdgeError(
            f'label {name!r} holds {held} values in each example, but {reader} takes {expected}; '
            'correct the labels, or name another label_key.'
        )


def check_numbers(name: str, labels: np.ndarray, reader: str) -> None:
    """Refuses labels that are no numbers, or NaN or infinite.

    Raises:
      EdgeError: names what they hold.
    """
    if not (np.issubdtype(labels.dtype, np.number) or labels.dtype == bool):
        shown = labels.flat[0] if labels.size else ''
        text = shown.decode('utf-8', 'replace') if isinstance(shown, bytes) else shown
        raise EdgeError(
            f'label {name!r} holds texts, such as {text!r}, but {reader} takes numbers; give a transform_graph that '
            'makes numbers of them, or name another label_key.'
        )
    if np.issubdtype(labels.dtype, np.floating) and not np.isfinite(labels).all():
        raise EdgeError(
            f'label {name!r} holds NaN or infinity in an example, but {reader} takes finite numbers; '
            'leave out such examples, or name another label_key.'
        )
