"""Whether the ranges in a `.tflite` file fit the examples of an evaluation, measured in the evaluation's run."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from tfx_edge.components.core.evaluation.evaluators.record_sample import SampleRecords
from tfx_edge.components.core.evaluation.evaluators.text_file import WriteTextFile
from tfx_edge.components.core.evaluation.model_files.models import (
    Model,
    ModelSource,
    fitted,
    load_model,
    read_tflite,
)
from tfx_edge.components.core.evaluation.model_files.range_probe import (
    IntegerTensor,
    RangeProbe,
    integer_tensors,
)
from tfx_edge.components.core.evaluation.model_files.range_use import (
    CalibrationFit,
    RangeUse,
    TensorFit,
    range_used,
)
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.range_clipping import clipping

# The figures hardly change with more: each example has thousands of values.
MAX_EXAMPLES = 200
# Fewer examples may lack large values by chance.
MIN_EXAMPLES = 10


class MeasureCalibrationFit(beam.PTransform):
    """Runs a `.tflite` file on some of the examples, and writes how well its ranges fit them.

    It takes the MAX_EXAMPLES examples with the smallest SHA-256. All counts are integers, so the figures do not depend
    on the order of the examples or on how they are divided into files, bundles and workers.

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
      use: which parts of the ranges the examples use, a row for each tensor.

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
    few = f'{use.examples} examples are too few to judge; at least {MIN_EXAMPLES} do'
    return CalibrationFit(use.examples, tuple(fits), few if use.examples < MIN_EXAMPLES else '')


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
    """The sum of all; None for no element, since Beam also combines empty bundles."""
    total: RangeUse | None = None
    for use in uses:
        if use is not None:
            total = use if total is None else total + use
    return total


def _to_json(use: RangeUse | None, path: str) -> str:
    tensors = integer_tensors(read_tflite(path))
    total = RangeUse.none(len(tensors)) if use is None else use
    return json.dumps(dataclasses.asdict(calibration_fit(tensors, total)), allow_nan=False)
