"""Errors of Beam workers that have one line, raised again with it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure

# Beam appends the stage to the message; a worker in another process sends its traceback as text.
_STAGE = re.compile(r"( \[while running '[^\n]*'\])+$")
_KINDS = {kind.__name__: kind for kind in (EdgeError, EnvironmentFailure)}
_IN_TRACEBACK = re.compile(
    rf'^(?:{re.escape(EdgeError.__module__)}\.)?({"|".join(_KINDS)}): ([^\n]+)$', re.MULTILINE
)


@contextlib.contextmanager
def raised_in_one_line() -> Iterator[None]:
    """Raises a worker's EdgeError or EnvironmentFailure again with its own message; leaves every other error as it is.

    Put it around a whole Beam pipeline. A runner raises an error of its own class with pages of
    traceback, or the worker's with the stage's name; a user needs neither.

    Raises:
      EdgeError: a worker raised one.
      EnvironmentFailure: a worker raised one.

    Example:
      >>> with raised_in_one_line(), beam.Pipeline() as pipeline:
      ...   pipeline | beam.Create(files) | beam.FlatMap(lambda file: read_records([file]))
    """
    try:
        yield
    except Exception as error:
        kind: type[Exception]
        if isinstance(error, EdgeError | EnvironmentFailure):
            kind, message = EdgeError if isinstance(error, EdgeError) else EnvironmentFailure, str(error)
        else:
            found = _IN_TRACEBACK.findall(str(error))
            if not found:
                raise
            name, message = found[-1]
            kind = _KINDS[name]
        raise kind(_STAGE.sub('', message)) from error
