"""Whether the ranges in a `.tflite` file fit the examples of an evaluation, measured in the evaluation's run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from tfx_edge.components.core.evaluation.evaluators.observer import Branch
from tfx_edge.components.core.evaluation.evaluators.record_sample import hashed_records
from tfx_edge.components.core.evaluation.evaluators.whole_file import write_text
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
from tfx_edge.components.core.smallest_values import smallest

# The figures hardly change with more: each example has thousands of values.
MAX_EXAMPLES = 200
# Fewer examples may lack large values by chance.
MIN_EXAMPLES = 10


class MeasureCalibrationFit(beam.PTransform):
    """Runs a `.tflite` file on some of the examples, to see how well its ranges fit them.

    It takes the MAX_EXAMPLES examples with the smallest SHA-256. All counts are integers, so the figures do not depend
    on the order of the examples or on how they are divided into files, bundles and workers.

    Args:
      source: of the file; it has integer activations.
      parser: makes the models' inputs from records.
    """

    def __init__(self, source: ModelSource, parser: ExampleParser) -> None:
        super().__init__()
        self._source = source
        self._parser = parser

    def expand(self, extracts: Any) -> Any:
        """Takes TFMA's extracts of batches; gives the `RangeUse` of each bundle of the chosen examples."""
        return (
            extracts
            | 'Hash' >> beam.FlatMap(hashed_records)
            | 'SmallestHashes' >> beam.CombineGlobally(smallest(MAX_EXAMPLES)).without_defaults()
            | 'Chosen' >> beam.FlatMap(_records)
            | 'Spread' >> beam.Reshuffle()
            | 'Probe' >> beam.ParDo(_Probe(self._source, self._parser))
        )


def measuring_fit(source: ModelSource, parser: ExampleParser, path: str) -> Branch:
    """A branch that measures the fit.

    Args:
      source: of a `.tflite` file with integer activations.
      parser: makes the models' inputs from records.
      path: of the file for the result; `read_calibration_fit` reads it.

    Returns:
      The branch.
    """

    def write(uses: Sequence[RangeUse]) -> None:
        tensors = integer_tensors(read_tflite(source.path))
        fit = calibration_fit(tensors, sum(uses, RangeUse.none(len(tensors))))
        write_text(path, json.dumps(dataclasses.asdict(fit), allow_nan=False))

    return Branch('MeasureCalibrationFit', MeasureCalibrationFit(source, parser), write)


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

    def start_bundle(self) -> None:
        self._total: RangeUse | None = None

    def process(self, record: bytes) -> None:
        use = self._probe(fitted(self._model, self._parser([record])))
        self._total = use if self._total is None else self._total + use

    def finish_bundle(self) -> Iterator[Any]:
        if self._total is not None:
            yield WindowedValue(self._total, GlobalWindow().max_timestamp(), [GlobalWindow()])


def _records(chosen: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    return [record for _, record in chosen]
