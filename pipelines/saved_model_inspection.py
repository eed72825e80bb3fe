"""`tfx-edge inspect DIR`: a SavedModel's signatures, dense function and weights, as tables or JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.tables import NO_LIMIT, print_table, printable, room_of

if TYPE_CHECKING:
    from tfx_edge.components.core.compression.weight_summary import WeightSummary
    from tfx_edge.components.core.signature import Signature, TensorSpec

# Incremented when a key of the JSON is removed or changes its meaning, but not for new keys.
FORMAT_VERSION = 1
# A model artifact holds its SavedModel there.
_SERVING = 'Format-Serving'


def print_saved_model(
    folder: str, *, signature_name: str, transform_graph: str | None, as_json: bool
) -> None:
    """Prints a SavedModel's signatures, the dense function that is taken, and its weights.

    Args:
      folder: of the SavedModel, or of a Model artifact.
      signature_name: '' to choose as the components do.
      transform_graph: folder of a TransformGraph, or None.
      as_json: everything that is known, as one JSON object; its key `format_version` says what the others mean.

    Raises:
      EdgeError: the folder holds no SavedModel, or the one that is named has no dense function.

    Example:
      >>> print_saved_model('/models/taxi', signature_name='', transform_graph=None, as_json=True)
    """
    serving = os.path.join(folder, _SERVING)
    folder = serving if os.path.isdir(serving) else folder
    from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
    from tfx_edge.components.core.compression.weight_summary import summarize_weights
    from tfx_edge.components.core.dense_function.choice import choose_signature, describe
    from tfx_edge.components.core.signature import read_signatures

    signatures = read_signatures(folder)
    taken: Signature | None = None
    weights: tuple[WeightSummary, ...] = ()
    try:
        taken = choose_signature(folder, signature_name, transform_graph=transform_graph)
        described = describe(taken)
        weights = summarize_weights(ServingGraph(folder, taken), {})
    except EdgeError as error:
        if signature_name:
            raise
        described = f'none: {error}'
    if as_json:
        print(json.dumps(_as_json(signatures, taken, described, weights), indent=1, allow_nan=False))
        return
    _print_tables(folder, signatures, described, weights)


def _as_json(
    signatures: Mapping[str, Signature],
    taken: Signature | None,
    described: str,
    weights: tuple[WeightSummary, ...],
) -> dict[str, Any]:
    return {
        'format_version': FORMAT_VERSION,
        'signatures': {name: _both_ends(signature) for name, signature in signatures.items()},
        'dense_function': None if taken is None else {'signature': taken.name, **_both_ends(taken)},
        'taken': described,
        'weights': [dataclasses.asdict(weight) for weight in weights],
    }


def _both_ends(signature: Signature) -> dict[str, dict[str, str]]:
    return {
        'inputs': {name: _spec(spec) for name, spec in signature.inputs.items()},
        'outputs': {name: _spec(spec) for name, spec in signature.outputs.items()},
    }


def _print_tables(
    folder: str, signatures: Mapping[str, Signature], described: str, weights: tuple[WeightSummary, ...]
) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True, markup=False, width=NO_LIMIT)
    console.print(f'{folder}: a SavedModel')
    console.print(f'taken      {printable(described)}')
    ends = [
        (name if first else '', side, label, _spec(spec))
        for name, signature in signatures.items()
        for first, side, label, spec in _rows(signature)
    ]
    print_table(console, 'Signatures', ('signature', 'side', 'tensor', 'type'), ends, room_of(sys.stdout))
    rows = [
        (
            printable(weight.name),
            f'{weight.elements:,}',
            f'{weight.zeros / weight.elements:.1%}',
            str(weight.distinct),
        )
        for weight in weights
        if weight.elements
    ]
    print_table(console, 'Weights', ('weight', 'elements', 'zeros', 'integers'), rows, room_of(sys.stdout))


def _rows(signature: Signature) -> list[tuple[bool, str, str, TensorSpec]]:
    ends = [('input', *item) for item in signature.inputs.items()]
    ends += [('output', *item) for item in signature.outputs.items()]
    return [(index == 0, side, printable(name), spec) for index, (side, name, spec) in enumerate(ends)]


def _spec(spec: TensorSpec) -> str:
    if not spec.has_rank:
        return f'{spec.dtype.name}, of any shape'
    return f'{spec.dtype.name}[{", ".join("?" if size is None else str(size) for size in spec.shape)}]'
