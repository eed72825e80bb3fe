"""What a command reports when it fails: one line, with the remedy where one is known."""

from __future__ import annotations

from collections.abc import Iterator

from tfx_edge.components.core.errors import EdgeError


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
      error: what was caught. An `EdgeError` anywhere among its causes comes first.

    Returns:
      The message of the `EdgeError`; otherwise the type of the error and the last line of its message.

    Example:
      >>> one_line(KeyError('image'))
      "KeyError: 'image'"
    """
    for cause in _causes(error):
        if isinstance(cause, (EdgeError, CommandError)):
            return ' '.join(str(cause).split())
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f'{type(error).__name__}: {lines[-1]}' if lines else type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
