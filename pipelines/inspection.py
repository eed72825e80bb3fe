"""`tfx-edge inspect`: what a `.tflite` file holds, as tables or JSON."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfx_edge.components.core.errors import EdgeError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tfx_edge.components.core.litert.inspect import ModelSummary, TensorSummary
    from tfx_edge.components.core.litert.metadata import ModelMetadata

# Raised when a key of the JSON changes its meaning or goes; new keys leave it as it is.
FORMAT_VERSION = 1

# Wider than any table.
_UNLIMITED = 100_000
# Below it, what belongs together stands below each other.
_NARROW = 110
_NARROWEST_NAME = 16
_LEFT_COLUMNS = ('operator', 'arithmetic')


def print_inspection(file: str, *, as_json: bool) -> None:
    """Prints a file's inputs, outputs, metadata, tensors and operators.

    Args:
      file: path of a `.tflite` file.
      as_json: everything that is known, as one JSON object; its key `format_version` tells the others' meaning.

    Raises:
      EdgeError: the file cannot be read, or is damaged.

    Example:
      >>> print_inspection('digits.tflite', as_json=True)
    """
    try:
        model = pathlib.Path(file).read_bytes()
    except OSError as error:
        raise EdgeError(f'{file} cannot be read ({error.strerror}); name a .tflite file.') from error
    from tfx_edge.components.core.evaluation.sizes import zip_bytes
    from tfx_edge.components.core.litert import metadata
    from tfx_edge.components.core.litert.inspect import inspect_model

    try:
        summary, described = inspect_model(model), metadata.read(model)
    except EdgeError as error:
        raise EdgeError(f'{file}: {error}') from error
    if as_json:
        print(json.dumps(_as_json(summary, described, zip_bytes(model)), indent=1, allow_nan=False))
        return
    _print_tables(file, summary, described, zip_bytes(model))


def _as_json(summary: ModelSummary, metadata: ModelMetadata | None, zipped: int) -> dict[str, Any]:
    return {
        'format_version': FORMAT_VERSION,
        **dataclasses.asdict(summary),
        'metadata': None if metadata is None else dataclasses.asdict(metadata),
        'zip_bytes': zipped,
        'bytes_by_type': summary.bytes_by_type,
        'kernel_zeros': summary.kernel_zeros,
        'kernel_max_distinct': summary.kernel_max_distinct,
        'integer_coverage': summary.integer_coverage,
        'integer_coverage_by_weight': summary.integer_coverage_by_weight,
        'float_ops': [op.output for op in summary.float_ops],
    }


def _print_tables(file: str, summary: ModelSummary, metadata: ModelMetadata | None, zipped: int) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True, markup=False, width=_UNLIMITED)
    # In a file or a pipe names stay whole.
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED
    console.print(f'{file}: {summary.file_bytes:,} bytes, {zipped:,} as a zip')
    for title, text in _facts(summary):
        console.print(f'{title:<10} {_printable(text)}')
    if metadata is not None:
        console.print('metadata')
        for title, text in _metadata_facts(metadata):
            console.print(f'  {_printable(title):<11} {_printable(text)}')
    constants = [tensor for tensor in summary.tensors if tensor.constant and not tensor.kernel]
    activations = [tensor for tensor in summary.tensors if not tensor.constant]
    for title, tensors in (
        ('Kernels', summary.kernels),
        ('Other constants', constants),
        ('Activations', activations),
    ):
        rows = [(_first(tensor.name), *_tensor_cells(tensor, room < _NARROW)) for tensor in tensors]
        columns = ('tensor', 'shape', 'type', 'bytes', 'zeros', 'distinct', 'scale', 'zero point')
        _print_table(console, title, columns, rows, room)
    operators = [
        (_first(op.output), op.name, op.arithmetic, _number(op.weight_bytes)) for op in summary.operators
    ]
    _print_table(console, 'Operators', ('output', 'operator', 'arithmetic', 'weight bytes'), operators, room)


def _facts(summary: ModelSummary) -> list[tuple[str, str]]:
    float_ops = ', '.join(sorted({op.name for op in summary.float_ops})) or 'none'
    constants = ', '.join(f'{dtype}: {size:,} bytes' for dtype, size in summary.bytes_by_type.items())
    return [
        ('signature', summary.signature_name or 'none'),
        ('inputs', _pairs(summary.inputs)),
        ('outputs', _pairs(summary.outputs)),
        ('constants', constants or 'none'),
        (
            'kernels',
            f'{len(summary.kernels)}, {summary.kernel_zeros:.1%} zeros, '
            f'at most {summary.kernel_max_distinct} distinct values in one',
        ),
        (
            'integer',
            f'{summary.integer_coverage:.1%} of the operators with arithmetic, '
            f'{summary.integer_coverage_by_weight:.1%} by the bytes of their constants',
        ),
        ('float ops', f'{len(summary.float_ops)} of {len(summary.operators)} ({float_ops})'),
    ]


def _metadata_facts(metadata: ModelMetadata) -> list[tuple[str, str]]:
    fields = ('name', 'version', 'author', 'license', 'description')
    facts = [(field, getattr(metadata, field)) for field in fields]
    facts += [(f'input {name}', text) for name, text in metadata.inputs.items()]
    facts += [(f'output {name}', text) for name, text in metadata.outputs.items()]
    if metadata.labels is not None:
        few = ', '.join(metadata.labels[:5]) + (', …' if len(metadata.labels) > 5 else '')
        facts.append(('labels', f'{len(metadata.labels)} of {metadata.labels_output}: {few}'))
    return [(title, text) for title, text in facts if text]


def _tensor_cells(tensor: TensorSummary, narrow: bool) -> tuple[str, ...]:
    counts = ('', '', '')
    if tensor.constant and tensor.elements:
        counts = (_number(tensor.stored_bytes), f'{tensor.zeros / tensor.elements:.1%}', str(tensor.distinct))
    shape = 'x'.join('?' if size is None else str(size) for size in tensor.shape)
    return (shape or 'scalar', tensor.dtype, *counts, _scales(tensor, narrow), _zero_points(tensor))


def _scales(tensor: TensorSummary, narrow: bool) -> str:
    if tensor.scales < 2:
        return ''.join(f'{scale:.3g}' for scale in tensor.scale_values)
    span = f'{min(tensor.scale_values):.3g} to {max(tensor.scale_values):.3g}'
    return span + ('\n' if narrow else ', ') + f'{tensor.scales} on axis {tensor.quantized_dimension}'


def _zero_points(tensor: TensorSummary) -> str:
    if not tensor.zero_points:
        return ''
    low, high = min(tensor.zero_points), max(tensor.zero_points)
    return str(low) if low == high else f'{low} to {high}'


def _print_table(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], room: int
) -> None:
    """Prints a table whose first column, names, takes the width that the others leave; nothing without rows."""
    told = [i for i in range(len(columns)) if any(row[i] not in ('', '0') for row in rows)]
    if not told:
        return
    columns, rows = [columns[i] for i in told], [[row[i] for i in told] for row in rows]
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


def _first(name: str) -> str:
    """The converter joins the names of all that it fused into an operator."""
    return _printable(name.split(';')[0])


def _printable(text: str) -> str:
    """Text in one line, without what would command the terminal: a file may come from anywhere."""
    return ''.join(letter if letter.isprintable() else '\ufffd' for letter in ' '.join(text.split()))


def _number(count: int) -> str:
    return f'{count:,}' if count else ''


def _pairs(by_name: Mapping[str, str]) -> str:
    return ', '.join(f'{name}: {dtype}' for name, dtype in by_name.items()) or 'none'
