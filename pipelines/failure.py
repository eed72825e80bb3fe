"""What a command reports when it fails: one line, with the remedy where one is known."""

from __future__ import annotations

from collections.abc import Iterator

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.exhausted_machine import find_exhausted
from tfx_edge.components.core.isolation.printed_line import shortened_line


class CommandError(Exception):
    """A command failed; `args[0]` is the line to print.

    Args:
      line: what happened and the remedy.
      log: the file that holds the details, or ''.
    """

    def __init__(self, line: str, log: str = '') -> None:
        super().__init__(line)
        self.log = log


def one_line(error: BaseException) -> str:
    """The line that reports what went wrong.

    Args:
      error: what was caught. An `EdgeError` or `EnvironmentFailure` anywhere among its causes comes first.

    Returns:
      Its message; otherwise the type of the error and the last line of its message, or the one that says that memory or
      a disk is full, with the remedy.

    Example:
      >>> one_line(KeyError('image'))
      "KeyError: 'image'"
    """
    for cause in causes(error):
        if isinstance(cause, (EdgeError, EnvironmentFailure, CommandError)):
            return ' '.join(str(cause).split())
    name = type(error).__name__
    if isinstance(error, SystemExit):
        return (
            f'a module of the pipeline ended the process (sys.exit({error.code!r})); let it return or raise.'
        )
    if exhausted := find_exhausted(f'{name}: {error}'):
        sign = name if exhausted.sign == name else f'{name}: {exhausted.sign}'
        return f'{sign}; {exhausted.remedy}'
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f'{name}: {shortened_line(lines[-1])}' if lines else name


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, the last one first.

    Args:
      error: what was caught.

    Yields:
      Each once.

    Example:
      >>> [type(cause).__name__ for cause in causes(KeyError('image'))]
      ['KeyError']
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
