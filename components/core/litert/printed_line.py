"""Lines that native code printed, as parts of a message."""

from __future__ import annotations

_LONGEST = 300


def end_of_line(line: str) -> str:
    """The end of a line, where what went wrong stands, in whole words and on one line.

    Example:
      >>> end_of_line('  failed:\tno  kernel ')
      'failed: no kernel'
    """
    line = ' '.join(line.split())
    return line if len(line) <= _LONGEST else '... ' + line[-_LONGEST:].partition(' ')[2]
