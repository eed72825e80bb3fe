"""`tfx-edge inspect`: what a `.tflite` file holds, as tables or JSON."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.tables import NO_LIMIT, print_table, printable, room_of

if TYPE_CHECKING:
    from tfx_edge.components.core.litert.file.inspect import ModelSummary, TensorSummary
    from tfx_edge.components.core.litert.file.metadata import ModelMetadata

# Incremented when a key of the JSON is removed or changes its meaning, but not for new keys.
FORMAT_VERSION = 1

# In a narrower terminal, the cell of a tensor's scales has two lines.
_NARROW = 110


def print_inspection(file: str, *, as_json: bool) -> None:
    """Prints a file's inputs, outputs, metadata, tensors and operators.

    Args:
      file: path of a `.tflite` file.
      as_json: everything that is known, as one JSON object; its key `format_version` says what the others mean.

    Raises:
      EdgeError: the file cannot be read, or is damaged.

    Example:
      >>> print_inspection('digits.tflite', as_json=True)
    """
    try:
        model = pathlib.Path(file).read_bytes()
    except OSError as error:
        raise EdgeError(f'{file} cannot be read ({error.strerror}); name a .tflite file.') from error
    from tfx_edge.components.core.evaluation.model_files.sizes import zip_bytes
    from tfx_edge.components.core.litert.file import metadata
    from tfx_edge.components.core.litert.file.inspect import inspect_model

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

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True, markup=False, width=NO_LIMIT)
    room = room_of(sys.stdout)
    console.print(f'{file}: {summary.file_bytes:,} bytes, {zipped:,} as a zip')
    for title, text in _facts(summary):
        console.print(f'{title:<10} {printable(text)}')
    if metadata is not None:
        console.print('metadata')
        for title, text in _metadata_facts(metadata):
            console.print(f'  {printable(title):<11} {printable(text)}')
    constants = [tensor for tensor in summary.tensors if tensor.constant and not tensor.kernel]
    activations = [tensor for tensor in summary.tensors if not tensor.constant]
    for title, tensors in (
        ('Kernels', summary.kernels),
        ('Other constants', constants),
        ('Activations', activations),
    ):
        rows = [(_first(tensor.name), *_tensor_cells(tensor, room < _NARROW)) for tensor in tensors]
        columns = ('tensor', 'shape', 'type', 'bytes', 'zeros', 'distinct', 'scale', 'zero point')
        print_table(console, title, columns, rows, room)
    operators = [
        (_first(op.output), op.name, op.arithmetic, _number(op.weight_bytes)) for op in summary.operators
    ]
    print_table(console, 'Operators', ('output', 'operator', 'arithmetic', 'weight bytes'), operators, room)


def _facts(summary: ModelSummary) -> list[tuple[str, str]]:
    float_ops = ', '.join(sorted({op.name for op in summary.float_ops})) or 'none'
    constants = ', '.join(f'{dtype}: {size:,} bytes' for dtype, size in summary.bytes_by_type.items())
    return [
        ('signature', summary.signature_name or 'none: inputs and outputs by the names of their tensors'),
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


def _first(name: str) -> str:
    """The first of the names that the converter joined when it fused operators."""
    return printable(name.split(';')[0])


def _number(count: int) -> str:
    return f'{count:,}' if count else ''


def _pairs(by_name: Mapping[str, str]) -> str:
    return ', '.join(f'{name}: {dtype}' for name, dtype in by_name.items()) or 'none'
