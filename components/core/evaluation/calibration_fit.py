"""Whether the ranges in a `.tflite` file fit the examples of an evaluation, measured in the evaluation's run."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from typing_extensions import TypedDict

from tfx_edge.components.core.evaluation.gates import Gate, Limit, at_most
from tfx_edge.components.core.evaluation.measurement import Finding, Measurement
from tfx_edge.components.core.evaluation.models import Model, ModelSource, fitted, load_model, read_tflite
from tfx_edge.components.core.evaluation.range_probe import IntegerTensor, RangeProbe, integer_tensors
from tfx_edge.components.core.evaluation.range_use import (
    CalibrationFit,
    RangeUse,
    TensorFit,
    clipping,
    range_used,
)
from tfx_edge.components.core.evaluation.record_sample import SampleRecords
from tfx_edge.components.core.evaluation.text_file import WriteTextFile
from tfx_edge.components.core.examples import ExampleParser

_LOG = logging.getLogger(__name__)
_FILE = 'calibration_fit.json'
_MAX_CLIPPING, _MIN_RANGE_USED = (
    Limit(field, lambda v: 0 <= v <= 1, f'a share from 0 to 1, where {off:g} switches it off', off=off)
    for field, off in (('max_clipping', 1.0), ('min_range_used', 0.0))
)
# The figures hardly change with more: each example has thousands of values.
MAX_EXAMPLES = 200
# Fewer may have no large value among them by chance.
MIN_EXAMPLES = 10


class MeasureCalibrationFit(beam.PTransform):
    """Runs a `.tflite` file on some of the examples, and writes how well its ranges fit them.

    Which examples is a function of their content: the MAX_EXAMPLES with the smallest SHA-256. All counts are
    integers that add up exactly, so files, order, bundles and workers change nothing.

    Args:
      source: of the file; it has integer activations.
      parser: makes the models' inputs from records.
      path: file for the result; `read_calibration_fit` reads it.
    """

    def __init__(self, source: ModelSource, parser: ExampleParser, path: str) -> None:
        super().__init__()
        self._source = source
        self._parser = parser
        self._path = path

    def expand(self, batches: Any) -> Any:
        """Takes the Arrow batches that TFMA's extractors take."""
        return (
            batches
            | 'Sample' >> SampleRecords(MAX_EXAMPLES)
            | 'Chosen' >> beam.FlatMap(list)
            | 'Spread' >> beam.Reshuffle()
            | 'Probe' >> beam.ParDo(_Probe(self._source, self._parser))
            | 'Sum' >> beam.CombineGlobally(_sum)
            | 'Write' >> WriteTextFile(self._path, functools.partial(_to_json, path=self._source.path))
        )


def read_calibration_fit(text: str) -> CalibrationFit:
    """What a run measured, of the text that it wrote."""
    content = json.loads(text)
    tensors = tuple(TensorFit(**tensor) for tensor in content['tensors'])
    return CalibrationFit(content['examples'], tensors, content['obstacle'])


def calibration_fit(tensors: Sequence[IntegerTensor], use: RangeUse) -> CalibrationFit:
    """The figures of each tensor.

    Args:
      tensors: of the file.
      use: what the examples use of their ranges, a row for each tensor.

    Returns:
      The figures, in order of execution.
    """
    group_low: dict[int, float] = {}
    group_high: dict[int, float] = {}
    for tensor, low, high in zip(tensors, use.low.tolist(), use.high.tolist(), strict=True):
        group_low[tensor.group] = min(low, group_low.get(tensor.group, 0.0))
        group_high[tensor.group] = max(high, group_high.get(tensor.group, 0.0))
    fits = [
        TensorFit(
            tensor.name,
            clipping(counts),
            range_used(group_low[tensor.group], group_high[tensor.group]),
            *tensor.range,
        )
        for tensor, counts in zip(tensors, use.counts, strict=True)
    ]
    few = f'{use.examples} examples are too few to tell; at least {MIN_EXAMPLES} do'
    return CalibrationFit(use.examples, tuple(fits), few if use.examples < MIN_EXAMPLES else '')


class CalibrationFitMeasurement(Measurement):
    """How well the ranges of integer activations fit the examples, where there are such and a limit on the fit."""

    limits = (_MAX_CLIPPING, _MIN_RANGE_USED)

    def branches(self) -> Mapping[str, beam.PTransform]:
        """Runs the file on some of the examples."""
        if self._obstacle:
            return {}
        source = self.setting.evaluation.candidate.source
        path = self.path(_FILE)
        return {'MeasureCalibrationFit': MeasureCalibrationFit(source, self.setting.parser, path)}

    def read(self) -> Finding:
        """The fit."""
        obstacle = self._obstacle
        fit = CalibrationFit(0, (), obstacle) if obstacle else self.taken(_FILE, read_calibration_fit)
        gates = fit_gates(fit, *(self.setting.limit(limit.field) for limit in self.limits))
        for gate in gates:
            if not gate.holds:
                _LOG.warning('the calibration of the .tflite file does not fit the examples: %s', gate.reason)
        return Finding(gates, {'calibration_fit': fit_part(fit)})

    @functools.cached_property
    def _obstacle(self) -> str:
        """Why the fit is not measured, or ''."""
        if all(self.setting.limit(limit.field) is None for limit in self.limits):
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
        gates += at_most(_MAX_CLIPPING.field, worst.clipping, max_clipping, detail)
    least = fit.least_used
    if min_range_used is not None and least is not None and least.range_used is not None:
        holds = least.range_used >= min_range_used
        detail = '' if holds else _misfit(least, 'too wide')
        gates.append(Gate(_MIN_RANGE_USED.field, least.range_used, min_range_used, holds, detail))
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


class _Probe(beam.DoFn):
    """One interpreter in each instance, which Beam uses from one thread at a time."""

    def __init__(self, source: ModelSource, parser: ExampleParser) -> None:
        self._source = source
        self._parser = parser

    def setup(self) -> None:
        self._model: Model = load_model(self._source)
        self._probe = RangeProbe(read_tflite(self._source.path))

    def process(self, record: bytes) -> Iterator[RangeUse]:
        yield self._probe(fitted(self._model, self._parser([record])))


def _sum(uses: Iterable[RangeUse | None]) -> RangeUse | None:
    """The sum of all; None where there is nothing, which Beam asks for too."""
    total: RangeUse | None = None
    for use in uses:
        if use is not None:
            total = use if total is None else total + use
    return total


def _to_json(use: RangeUse | None, path: str) -> str:
    tensors = integer_tensors(read_tflite(path))
    total = RangeUse.none(len(tensors)) if use is None else use
    return json.dumps(dataclasses.asdict(calibration_fit(tensors, total)), allow_nan=False)
