"""Writes what a run found to one text file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam


class WriteTextFile(beam.PTransform):
    """Writes the single value of a collection to a file.

    Args:
      path: of the file.
      as_text: makes the text of the value.

    Example:
      >>> totals | WriteTextFile('/tmp/total.json', json.dumps)
    """

    def __init__(self, path: str, as_text: Callable[[Any], str]) -> None:
        super().__init__()
        self._path = path
        self._as_text = as_text

    def expand(self, found: Any) -> Any:
        return (
            found
            | 'ToText' >> beam.Map(self._as_text)
            | 'ToFile' >> beam.io.WriteToText(self._path, shard_name_template='')
        )
