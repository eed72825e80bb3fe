"""`tfx-edge inspect`: what a `.tflite` file holds, as tables or JSON."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from typing import Any

from tfx_edge.components.core.errors import EdgeError


def print_inspection(file: str, *, as_json: bool) -> None:
    """Prints a file's inputs, outputs, kernels and operators.

    Args:
      file: path of a `.tflite` file.
      as_json: everything that is known, as one JSON object.

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
    from tfx_edge.components.core.litert.inspect import inspect_model

    try:
        summary = inspect_model(model)
    except EdgeError as error:
        raise EdgeError(f'{file}: {error}') from error
    if as_json:
        found = {
            **dataclasses.asdict(summary),
            'zip_bytes': zip_bytes(model),
            'kernel_zeros': summary.kernel_zeros,
            'kernel_max_distinct': summary.kernel_max_distinct,
            'float_ops': [op.output for op in summary.float_ops],
        }
        print(json.dumps(found, indent=1))
        return
    _print_tables(file, summary, zip_bytes(model))


def _print_tables(file: str, summary: Any, zipped: int) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    console.print(f'{file}: {summary.file_bytes:,} bytes, {zipped:,} as a zip', markup=False)
    console.print(f'signature  {summary.signature_name or "none"}', markup=False)
    console.print(f'inputs     {_types(summary.inputs)}', markup=False)
    console.print(f'outputs    {_types(summary.outputs)}', markup=False)
    console.print(
        f'kernels    {len(summary.kernels)}, {summary.kernel_zeros:.1%} zeros, '
        f'at most {summary.kernel_max_distinct} distinct values in one'
    )
    float_ops = ', '.join(sorted({op.name for op in summary.float_ops})) or 'none'
    console.print(
        f'float ops  {len(summary.float_ops)} of {len(summary.operators)} ({float_ops})', markup=False
    )
    console.print(_kernel_table(summary))
    console.print(_operator_table(summary))


def _kernel_table(summary: Any) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title='Kernels', title_justify='left', box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column('tensor', overflow='fold')
    for column in ('shape', 'type', 'zeros', 'distinct', 'scales'):
        table.add_column(column, justify='right')
    for kernel in summary.kernels:
        table.add_row(
            _first(kernel.name),
            'x'.join(str(size) for size in kernel.shape),
            kernel.dtype,
            f'{kernel.zeros / kernel.elements:.1%}' if kernel.elements else '',
            str(kernel.distinct),
            str(kernel.scales or ''),
        )
    return table


def _operator_table(summary: Any) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title='Operators', title_justify='left', box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column('operator')
    table.add_column('arithmetic')
    table.add_column('output', overflow='fold')
    floats = set(summary.float_ops)
    for op in summary.operators:
        arithmetic = 'integer' if op.integer else 'float' if op in floats else 'conversion'
        table.add_row(op.name, arithmetic, _first(op.output))
    return table


def _first(name: str) -> str:
    """The converter joins the names of all that it fused into an operator."""
    return name.split(';')[0]


def _types(by_name: dict[str, str]) -> str:
    return ', '.join(f'{name}: {dtype}' for name, dtype in by_name.items()) or 'none'
