"""Tables of a command, as wide as the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Wider than any table.
NO_LIMIT = 100_000
_NARROWEST_NAME = 16
_LEFT_COLUMNS = ('operator', 'arithmetic', 'side', 'tensor')


def room_of(stream: TextIO) -> int:
    """How many columns a table may have; in a file or a pipe names stay whole."""
    return shutil.get_terminal_size().columns if stream.isatty() else NO_LIMIT


def print_table(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], room: int
) -> None:
    """Prints a table whose first column, names, takes the width that the others leave; nothing without rows.

    Args:
      console: to print to.
      title: above the table.
      columns: their titles; those without a value in any row are left out.
      rows: cells, as many as columns.
      room: width of all, in characters.
    """
    filled = [i for i in range(len(columns)) if any(row[i] not in ('', '0') for row in rows)]
    if not filled:
        return
    columns, rows = [columns[i] for i in filled], [[row[i] for i in filled] for row in rows]
    nameless = _table(title, ['', *columns[1:]], [['', *cells] for _, *cells in rows])
    width = max(room - console.measure(nameless).maximum, _NARROWEST_NAME)
    console.print(_table(title, columns, [[_folded(name, width), *cells] for name, *cells in rows]))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title), title_justify='left', box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for index, column in enumerate(columns):
        left = index == 0 or column in _LEFT_COLUMNS
        table.add_column(column, justify='left' if left else 'right', no_wrap=True)
    for cells in rows:
        table.add_row(*map(Text, cells))
    return table


def _folded(name: str, width: int) -> str:
    """A name in lines that end after a '/'; a part that is wider than a line stays whole."""
    lines = ['']
    for part in name.split('/'):
        piece = f'{part}/'
        if lines[-1] and len(lines[-1]) + len(piece.rstrip('/')) > width:
            lines.append('')
        lines[-1] += piece
    return '\n'.join(lines)[:-1]


def printable(text: str) -> str:
    """Text in one line, without control characters, which a file may hold to change the terminal."""
    return ''.join(letter if letter.isprintable() else '\ufffd' for letter in ' '.join(text.split()))
