"""Operators that lose so much fidelity in integers, whatever the weights are, that training cannot restore it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.calibration.reference import Reference
from tfx_edge.components.core.dense_scales import PER_CHANNEL
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.isolation.isolated_process import run_isolated
from tfx_edge.components.core.litert.file.activation_reader import activation_ranges
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.modes import mode_of
from tfx_edge.components.core.litert.quantization.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.post_training.compared_file import Bound, make_compared
from tfx_edge.components.core.post_training.sensitivity import exactly
from tfx_edge.components.core.qat.steep_operators import SteepOperator, steep_operators

_LOG = logging.getLogger(__name__)
# Most rows that the ranges are measured on.
_MOST_ROWS = 256


def operators_to_keep(
    float_model: ModelFile,
    mode: str,
    batches: Sequence[Mapping[str, np.ndarray]],
    reference: Reference,
    bound: Bound,
    dense_scales: str = PER_CHANNEL,
) -> tuple[str, ...]:
    """A minimal group of operators that has to stay float for the incoming model's file to reach the bound.

    An input whose columns have scales of 1e5 and 1e-3, or a mask of -1e9 beside logits, is lost in eight bits whatever
    the weights are. Four-bit weights are tested with eight bits: training restores what four bits lose.

    Args:
      float_model: the incoming model as a float file.
      mode: of the deployed file.
      batches: inputs by name, whose values the ranges are read of.
      reference: what the incoming model answers.
      bound: the fidelity that the file has to reach.
      dense_scales: of the file's kernels of fully connected layers.

    Returns:
      Regular expressions on the outputs of these operators; none where the file keeps the answers, no small group helps
      (training has to mend it then, and the finished file shows it), or the bound repairs nothing (a warning says so).
    """
    ranges, mode = (
        activation_ranges(float_model, batches, _MOST_ROWS),
        mode_of(mode).with_int8_weights or mode,
    )
    steep = _named_steep(steep_operators(float_model, ranges, mode)) if bound.repair else ()
    options = QuantizationOptions(mode, engine=LITERT, keep_float=steep, dense_scales=dense_scales)
    try:
        held = run_isolated(make_compared, float_model, options, ranges, reference, bound)
    except EdgeError as error:
        # Logged where the deployment is planned, with what follows from it.
        _LOG.debug('no file to look at before training: %s', error)
        return steep
    lost = held.lost
    if lost is not None and bound.allows(lost):
        message = (
            f'before training, the file keeps {lost.db_before:.1f} dB of the incoming answers (expected '
            f'{bound.min_db:g}) and, with these operators float ({lost.bytes_more:+d} bytes), {lost.db_after:.1f} dB: '
            f'{", ".join(lost.operators)}'
        )
        if held.repaired:
            _LOG.warning('%s; they stay float', message)
            return (*steep, *lost.keep_float)
        _LOG.warning('%s; training seldom mends that: set repair_fidelity to keep them float', message)
        return steep
    if held.is_low:
        _LOG.info(
            'before training, the file keeps %.1f dB of the incoming answers; training is to mend that',
            held.fidelity.db,
        )
    return steep


def _named_steep(found: Sequence[SteepOperator]) -> tuple[str, ...]:
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
