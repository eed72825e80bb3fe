"""Lines that native code printed, as parts of a message."""

from __future__ import annotations

_LONGEST = 300


def shortened_line(line: str) -> str:
    """The end of a line, which names the fault, in whole words and on one line.

    Example:
      >>> shortened_line('  failed:\tno  kernel ')
      'failed: no kernel'
    """
    line = ' '.join(line.split())
    if len(line) <= _LONGEST:
        return line
    end = line[-_LONGEST:]
    # A word that is longer than that is cut.
    return '... ' + (end.partition(' ')[2] or end)
