"""Lines that several parts of a step have reason to log, and that a reader needs once."""

from __future__ import annotations

import logging

_logged: set[tuple[str, int, str]] = set()


def log_once(logger: logging.Logger, level: int, message: str, *args: object) -> None:
    """Logs a message unless this process logged the same text in this step.

    Args:
      logger: Where it is logged.
      level: Such as `logging.WARNING`.
      message: With `%` placeholders, as `logging` takes it.
      *args: What stands in their place; the text with them decides what is the same.

    Example:
      >>> log_once(logging.getLogger('tfx_edge'), logging.INFO, 'feature %r is filled up with 0', 'age')
    """
    line = logger.name, level, message % args if args else message
    if line not in _logged:
        _logged.add(line)
        logger.log(level, message, *args)


def begin_step() -> None:
    """Lets the next step of this process log what an earlier one logged: each step's log stands alone."""
    _logged.clear()
