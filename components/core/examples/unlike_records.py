"""The first record whose features are of another type, or whose label is of another length, than in those before."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.record_faults import decode, values_of
from tfx_edge.components.core.examples.record_places import first_fault


def unlike_record(files: Sequence[str], labels: Collection[str]) -> EdgeError | None:
    """The error that names the first record that does not fit those before it; None where all fit.

    TFMA takes a batch of records for one table, and fails on such a record with an error that names neither it nor the
    feature.

    Args:
      files: TFRecord files of tf.Examples.
      labels: features of which each record is to hold as many values as the first.

    Returns:
      The error, with the file and the record's number, such as "record 50 of Split-eval/data.gz: label 'label' holds 2
      values, and 1 value in the records before it; expected as many in each. …"

    Raises:
      EdgeError: a file is unreadable.

    Example:
      >>> print(unlike_record([], ['label']))
      None
    """
    return first_fault(files, _Comparison(labels))


class _Comparison:
    def __init__(self, labels: Collection[str]) -> None:
        self._labels = tuple(labels)
        self._kinds: dict[str, str] = {}
        self._lengths: dict[str, int] = {}

    def __call__(self, record: bytes) -> None:
        """Refuses a record that does not fit those that were passed before."""
        present = decode(record).features.feature
        for name, feature in present.items():
            kind = feature.WhichOneof('kind')
            before = self._kinds.setdefault(name, kind) if kind else kind
            if kind != before:
                raise EdgeError(
                    f'feature {name!r} is {kind}, and {before} in the records before it; expected the same in each. '
                    'Correct the examples.'
                )
        for name in self._labels:
            length = len(values_of(present[name])) if name in present else 0
            before_it = self._lengths.setdefault(name, length)
            if length != before_it:
                raise EdgeError(
                    f'label {name!r} holds {_counted(length)}, and {_counted(before_it)} in the records before it; '
                    'expected as many in each. Correct the examples, or name another label_key.'
                )


def _counted(length: int) -> str:
    return f'{length or "no"} value{"s" if length != 1 else ""}'
