"""Whether a file was calibrated on data like the evaluation's: the gates on how its ranges fit the examples."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

from typing_extensions import TypedDict

from tfx_edge.components.core.evaluation.evaluators.calibration_fit import (
    measuring_fit,
    read_calibration_fit,
)
from tfx_edge.components.core.evaluation.evaluators.observer import Branch
from tfx_edge.components.core.evaluation.gates.gate import Gate, at_most
from tfx_edge.components.core.evaluation.gates.limits import MAX_CLIPPING, MIN_RANGE_USED
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement
from tfx_edge.components.core.evaluation.model_files.range_probe import integer_tensors
from tfx_edge.components.core.evaluation.model_files.range_use import CalibrationFit, TensorFit

_LOG = logging.getLogger(__name__)
_FILE = 'calibration_fit.json'


class RangesFit(Measurement):
    """How well the ranges of integer activations fit the examples, where there are such and a limit on the fit."""

    def branches(self) -> Sequence[Branch]:
        """Runs the file on some of the examples."""
        if self._obstacle:
            return ()
        source = self.setting.evaluation.candidate.source
        return [measuring_fit(source, self.setting.parser, self.path(_FILE))]

    def read(self) -> Finding:
        """The fit."""
        obstacle = self._obstacle
        fit = CalibrationFit(0, (), obstacle) if obstacle else self.taken(_FILE, read_calibration_fit)
        gates = fit_gates(fit, *(self.setting.limit(limit) for limit in (MAX_CLIPPING, MIN_RANGE_USED)))
        for gate in gates:
            if not gate.holds:
                _LOG.warning('the calibration of the .tflite file does not fit the examples: %s', gate.reason)
        return Finding(gates, {'calibration_fit': fit_part(fit)})

    @functools.cached_property
    def _obstacle(self) -> str:
        """Why the fit is not measured, or ''."""
        if all(self.setting.limit(limit) is None for limit in (MAX_CLIPPING, MIN_RANGE_USED)):
            return 'max_clipping and min_range_used are switched off'
        if not integer_tensors(self.setting.file):
            return 'not applicable: the file has no calibrated integer activations'
        return ''


def fit_gates(
    fit: CalibrationFit, max_clipping: float | None, min_range_used: float | None
) -> tuple[Gate, ...]:
    """The gates of the calibration; none where it cannot be judged, as in a file without integer activations.

    Args:
      fit: what was measured.
      max_clipping: how much of what makes a tensor's values differ its range may cut off, in [0, 1).
      min_range_used: share of int8's steps that a tensor's values must reach over, in (0, 1].

    Returns:
      The gates, each with the tensor that is worst.
    """
    if fit.obstacle:
        return ()
    gates: list[Gate] = []
    if max_clipping is not None:
        worst = fit.most_clipped
        detail = '' if worst.clipping <= max_clipping else _misfit(worst, 'too narrow')
        gates += at_most(MAX_CLIPPING.field, worst.clipping, max_clipping, detail)
    least = fit.least_used
    if min_range_used is not None and least is not None and least.range_used is not None:
        holds = least.range_used >= min_range_used
        detail = '' if holds else _misfit(least, 'too wide')
        gates.append(Gate(MIN_RANGE_USED.field, least.range_used, min_range_used, holds, detail))
    return tuple(gates)


class FitPart(TypedDict):
    """How well the ranges of integer activations fit the examples.

    Attributes:
      not_judged: why that is not known, or ''.
      examples: on how many the file was run for this.
      tensors: how many have a range.
      worst_tensors: those that fit worst.
    """

    not_judged: str
    examples: int
    tensors: int
    worst_tensors: list[TensorFit]


def fit_part(fit: CalibrationFit) -> FitPart:
    """The part of `report.json` on the calibration."""
    return FitPart(
        not_judged=fit.obstacle,
        examples=fit.examples,
        tensors=len(fit.tensors),
        worst_tensors=list(fit.worst),
    )


def _misfit(tensor: TensorFit, how: str) -> str:
    return (
        f'tensor {tensor.name!r} has the range {tensor.low:.6g} to {tensor.high:.6g}, {how} for these examples; '
        'calibrate on examples like those of the evaluation'
    )
