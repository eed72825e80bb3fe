"""Operators that no training mends: quantized, they lose what the incoming model answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.calibration.reference import Reference
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.activation_reader import ActivationReader
from tfx_edge.components.core.litert.isolation import run_isolated
from tfx_edge.components.core.litert.model_file import ModelFile
from tfx_edge.components.core.litert.modes import mode_of
from tfx_edge.components.core.litert.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.post_training.held_file import Bound, make_held
from tfx_edge.components.core.post_training.sensitivity import exactly
from tfx_edge.components.qat_trainer.steep_operators import SteepOperator, steep_operators

_LOG = logging.getLogger(__name__)
# What LiteRT runs at once, and how many rows the ranges are read of.
_ROWS, _MOST_ROWS = 8, 256


def operators_to_keep(
    float_model: ModelFile,
    mode: str,
    batches: Sequence[Mapping[str, np.ndarray]],
    reference: Reference,
    bound: Bound,
) -> tuple[str, ...]:
    """The smallest group of operators without which the incoming model's file loses its answers.

    An input whose columns have scales of 1e5 and 1e-3, or a mask of -1e9 beside logits, is lost in eight bits whatever
    the weights are. Weights of four bits are taken for eight: what these lose, training mends.

    Args:
      float_model: the incoming model as a float file.
      mode: of the deployed file.
      batches: inputs by name, whose values the ranges are read of.
      reference: what the incoming model answers.
      bound: what is asked of the file.

    Returns:
      Regular expressions on the outputs of these operators; none where the file keeps the answers, no small group helps
      (training has to mend it then, and the finished file tells), or the bound repairs nothing (a warning tells).
    """
    ranges, mode = _ranges(float_model, batches), mode_of(mode).with_int8_weights or mode
    steep = _told_steep(steep_operators(float_model, ranges, mode)) if bound.repair else ()
    options = QuantizationOptions(mode, engine=LITERT, keep_float=steep)
    try:
        held = run_isolated(make_held, float_model, options, ranges, reference, bound)
    except EdgeError as error:
        # Told where the deployment is planned, with what follows from it.
        _LOG.debug('no file to look at before training: %s', error)
        return steep
    lost = held.lost
    if lost is not None and bound.allows(lost):
        told = (
            f'before training, the file keeps {lost.db_before:.1f} dB of the incoming answers (expected '
            f'{bound.min_db:g}) and, with these operators float ({lost.bytes_more:+d} bytes), {lost.db_after:.1f} dB: '
            f'{", ".join(lost.operators)}'
        )
        if held.repaired:
            _LOG.warning('%s; they stay float', told)
            return (*steep, *lost.keep_float)
        _LOG.warning('%s; training seldom mends that: set repair_fidelity to keep them float', told)
        return steep
    if held.is_low:
        _LOG.info(
            'before training, the file keeps %.1f dB of the incoming answers; training is to mend that',
            held.fidelity.db,
        )
    return steep


def _told_steep(found: Sequence[SteepOperator]) -> tuple[str, ...]:
    """Expressions for the operators that stay float; each is named in the log."""
    for operator in found:
        _LOG.warning(
            '%s reads values from %g to %g, of which the smallest become 0 in integers, where it has no derivative to '
            'train by: it stays float, and so does what computes its input',
            operator.name,
            operator.low,
            operator.high,
        )
    return tuple(dict.fromkeys(exactly(output) for operator in found for output in operator.outputs))


def _ranges(
    float_model: ModelFile, batches: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, tuple[float, float]]:
    """Of all float activations."""
    reader = ActivationReader(float_model)
    ranges: dict[str, tuple[float, float]] = {}
    size = reader.model.fixed_batch_size or _ROWS
    left = _MOST_ROWS
    for batch in batches:
        rows = min(len(next(iter(batch.values()))), left)
        for start in range(0, rows, size):
            chosen = {name: values[start : min(start + size, rows)] for name, values in batch.items()}
            for name, values in reader.views(chosen):
                finite = values[np.isfinite(values)]
                if finite.size:
                    low, high = ranges.get(name, (np.inf, -np.inf))
                    ranges[name] = min(low, float(finite.min())), max(high, float(finite.max()))
        left -= rows
        if not left:
            break
    return ranges
