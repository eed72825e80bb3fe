"""The limits a `.tflite` file must keep to ship, beside TFMA's thresholds on metrics."""

from __future__ import annotations

import dataclasses

from tfx_edge.components.core.evaluation.latency import Latency
from tfx_edge.components.core.evaluation.range_use import CalibrationFit, TensorFit

# Those that tell whether the file was calibrated on data like the evaluation's.
CALIBRATION_GATES = ('max_clipping', 'min_range_used')


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is demanded; None (or False) where nothing is.

    Attributes:
      min_agreement: share of examples, in (0, 1], with the baseline's top-1 answer.
      max_file_bytes: size of the file.
      max_zip_bytes: size of a DEFLATE zip of the file.
      max_latency_ratio: time of the file to that of the baseline's `.tflite` file.
      require_full_integer: no op of the file may compute in floating point.
      max_clipping: how much of what makes a tensor's values differ its range may cut off, in [0, 1).
      min_range_used: share of int8's steps that a tensor's values must reach over, in (0, 1].
      bless_undecided: whether what is held against a baseline holds where there is none.
    """

    min_agreement: float | None = None
    max_file_bytes: int | None = None
    max_zip_bytes: int | None = None
    max_latency_ratio: float | None = None
    require_full_integer: bool = False
    max_clipping: float | None = None
    min_range_used: float | None = None
    bless_undecided: bool = False

    @property
    def judge_calibration(self) -> bool:
        """Whether the fit of the calibration must be measured."""
        return self.max_clipping is not None or self.min_range_used is not None


@dataclasses.dataclass(frozen=True)
class Measurements:
    """What was measured.

    Attributes:
      examples: number of examples evaluated.
      has_baseline: whether there is something to compare with.
      not_finite: number of examples for which the candidate answers NaN or infinity.
      agreement: share of examples with the baseline's top-1 answer; None if it cannot be told.
      no_agreement: why it cannot be told, or ''.
      file_bytes: size of the file.
      zip_bytes: size of a DEFLATE zip of the file.
      activation_bytes: what activations take at once, at least.
      stuck_outputs: the outputs that answer the same to every example, and should not.
      latency: None where it was not asked for, or there is nothing to compare with.
      no_latency: why there is nothing to compare with, or ''.
      float_ops: the ops that compute in floating point.
      fit: how well the ranges of the integer activations fit the examples, or why that is not told.
    """

    examples: int
    has_baseline: bool
    not_finite: int
    agreement: float | None
    no_agreement: str
    file_bytes: int
    zip_bytes: int
    activation_bytes: int
    stuck_outputs: tuple[str, ...]
    latency: Latency | None
    no_latency: str
    float_ops: tuple[str, ...]
    fit: CalibrationFit


@dataclasses.dataclass(frozen=True)
class Gate:
    """One limit, what was measured against it, and whether it holds; `detail` says more, or ''."""

    name: str
    measured: float | int | None
    limit: float | int
    holds: bool
    detail: str = ''

    @property
    def reason(self) -> str:
        """Why the gate refuses the model, in one line."""
        measured = 'not measured' if self.measured is None else f'{self.measured:.12g}'
        return f'{self.name}: {measured}, limit {self.limit:.12g}{self.detail and f" ({self.detail})"}'


def judge(limits: Limits, measured: Measurements) -> tuple[Gate, ...]:
    """Holds every limit that is set against what was measured; a failed gate hides none of the others.

    Two gates are always there: a model that answers NaN or infinity, or has an output that is stuck, is never blessed.
    Those of the calibration are left out where it cannot be judged, such as in a file without integer activations.

    Args:
      limits: what is demanded.
      measured: what was measured.

    Returns:
      The gates, in fixed order.

    Example:
      >>> [gate.name for gate in judge(Limits(max_file_bytes=10), measured) if not gate.holds]
      ['max_file_bytes']
    """
    bad = measured.not_finite
    gates = [
        Gate(
            'finite_predictions',
            bad,
            0,
            bad == 0,
            f'{bad} of {measured.examples} examples get NaN or infinity as an answer' if bad else '',
        ),
        _change_gate(measured),
    ]
    if limits.min_agreement is not None:
        share = measured.agreement
        holds = _undecided(limits, measured) if share is None else share >= limits.min_agreement
        gates.append(Gate('min_agreement', share, limits.min_agreement, holds, measured.no_agreement))
    if limits.max_file_bytes is not None:
        size = measured.file_bytes
        gates.append(Gate('max_file_bytes', size, limits.max_file_bytes, size <= limits.max_file_bytes))
    if limits.max_zip_bytes is not None:
        size = measured.zip_bytes
        gates.append(Gate('max_zip_bytes', size, limits.max_zip_bytes, size <= limits.max_zip_bytes))
    if limits.max_latency_ratio is not None:
        gates.append(_latency_gate(limits.max_latency_ratio, limits, measured))
    if limits.require_full_integer:
        ops = measured.float_ops
        detail = f'float ops: {", ".join(ops)}' if ops else ''
        gates.append(Gate('require_full_integer', len(ops), 0, not ops, detail))
    return (*gates, *_calibration_gates(limits, measured.fit))


def _change_gate(measured: Measurements) -> Gate:
    stuck = measured.stuck_outputs
    told = ', '.join(map(repr, filter(None, stuck))) or 'the output'
    detail = f'{told} never changes over {measured.examples} examples that differ' if stuck else ''
    return Gate('outputs_change', len(stuck), 0, not stuck, detail)


def _undecided(limits: Limits, measured: Measurements) -> bool:
    """Whether a limit holds for which nothing was measured: the first model of a pipeline has nothing before it."""
    return limits.bless_undecided and not measured.has_baseline


def _latency_gate(limit: float, limits: Limits, measured: Measurements) -> Gate:
    found = measured.latency
    if found is None:
        return Gate('max_latency_ratio', None, limit, _undecided(limits, measured), measured.no_latency)
    detail = (
        f'{found.milliseconds:.4g} ms against {found.baseline_milliseconds:.4g} ms; '
        f'half of {found.rounds} rounds within {found.ratio_low:.4g} to {found.ratio_high:.4g}'
    )
    return Gate('max_latency_ratio', found.ratio, limit, found.ratio <= limit, detail)


def _calibration_gates(limits: Limits, fit: CalibrationFit) -> list[Gate]:
    if fit.obstacle:
        return []
    gates = []
    if limits.max_clipping is not None:
        worst = fit.most_clipped
        holds = worst.clipping <= limits.max_clipping
        detail = '' if holds else _misfit(worst, 'too narrow')
        gates.append(Gate('max_clipping', worst.clipping, limits.max_clipping, holds, detail))
    least = fit.least_used
    if limits.min_range_used is not None and least is not None and least.range_used is not None:
        holds = least.range_used >= limits.min_range_used
        detail = '' if holds else _misfit(least, 'too wide')
        gates.append(Gate('min_range_used', least.range_used, limits.min_range_used, holds, detail))
    return gates


def _misfit(tensor: TensorFit, how: str) -> str:
    return (
        f'tensor {tensor.name!r} has the range {tensor.low:.6g} to {tensor.high:.6g}, {how} for these examples; '
        'calibrate on examples like those of the evaluation'
    )
