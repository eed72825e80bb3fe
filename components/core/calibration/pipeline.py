"""The Beam pipeline that calibrates: examples in, ranges of a float file's activations out.

What is wrong with the input travels through the pipeline as data and is raised once at its end: Beam would retry it,
and wrap it in what the runner makes of errors.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf

from tfx_edge.components.core.calibration.statistics import MergeStatistics, TensorStatistics, measure, ranges
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples import ExampleParser, read_records, record_content
from tfx_edge.components.core.litert.activation_reader import ActivationReader, float_activations

_LOG = logging.getLogger(__name__)

_METRICS = 'tfx_edge.calibration'
_FAULTS = 'faults'
_LOGGED_EVERY = 250


def calibrate(
    make_pipeline: Callable[[], beam.Pipeline],
    *,
    files: Sequence[str],
    parser: ExampleParser,
    float_model_path: str,
    result_path: str,
    max_examples: int,
) -> dict[str, tuple[float, float]]:
    """Runs a float file on examples and measures each float activation.

    Which examples are used is a function of their content: those with the smallest SHA-256. The ranges depend on
    nothing else, not on files, order, bundles or workers: each example runs by itself, and minima and maxima
    merge exactly.

    Args:
      make_pipeline: makes the Beam pipeline to run on.
      files: TFRecord files of tf.Examples, where workers can read them.
      parser: turns records into the file's inputs.
      float_model_path: of the float32 `.tflite` file, where workers can read it.
      result_path: a file that a worker can write; holds the statistics afterwards.
      max_examples: how many examples are used at most.

    Returns:
      (minimum, maximum) by tensor name.

    Raises:
      EdgeError: a file is damaged, an example does not fit, there is no example, or an activation is not finite.

    Example:
      >>> calibrate(beam.Pipeline, files=files, parser=parser, float_model_path='/tmp/float.tflite',
      ...           result_path='/tmp/statistics.json', max_examples=1000)['image']
      (0.0, 1.0)
    """
    _LOG.info('calibrating on at most %d examples from %d files', max_examples, len(files))
    with make_pipeline() as pipeline:
        _build(pipeline, files, parser, float_model_path, result_path, max_examples)
    return _read_result(result_path, files, float_model_path)


def _build(
    pipeline: beam.Pipeline,
    files: Sequence[str],
    parser: ExampleParser,
    float_model_path: str,
    result_path: str,
    max_examples: int,
) -> None:
    records = (
        pipeline
        | 'Files' >> beam.Create(list(files))
        | 'SpreadFiles' >> beam.Reshuffle()
        | 'ReadRecords' >> beam.ParDo(_ReadRecords()).with_outputs(_FAULTS, main='records')
    )
    measured = (
        records.records
        | 'Hash' >> beam.Map(_with_hash)
        | 'SmallestHashes' >> beam.combiners.Top.Smallest(max_examples)
        | 'Chosen' >> beam.FlatMap(_without_hash)
        | 'SpreadChosen' >> beam.Reshuffle()
        | 'Measure'
        >> beam.ParDo(_MeasureActivations(parser, float_model_path)).with_outputs(_FAULTS, main='statistics')
    )
    statistics = measured.statistics | 'Merge' >> beam.CombineGlobally(MergeStatistics())
    examples = measured.statistics | 'Count' >> beam.combiners.Count.Globally()
    faults = (
        (records[_FAULTS], measured[_FAULTS])
        | 'Faults' >> beam.Flatten()
        | 'OneFault' >> beam.combiners.Top.Smallest(1)
    )
    _ = (
        pipeline
        | 'ResultPath' >> beam.Create([result_path])
        | 'WriteResult'
        >> beam.Map(
            _write_result,
            statistics=beam.pvalue.AsSingleton(statistics),
            examples=beam.pvalue.AsSingleton(examples),
            faults=beam.pvalue.AsSingleton(faults),
        )
    )


class _ReadRecords(beam.DoFn):
    def process(self, file: str) -> Iterator[Any]:
        try:
            yield from read_records([file])
        except EdgeError as error:
            yield beam.pvalue.TaggedOutput(_FAULTS, str(error))


class _MeasureActivations(beam.DoFn):
    """One interpreter in each instance, which Beam uses from one thread at a time."""

    def __init__(self, parser: ExampleParser, float_model_path: str) -> None:
        self._parser = parser
        self._float_model_path = float_model_path
        self._examples = beam.metrics.Metrics.counter(_METRICS, 'examples')
        self._tensors = beam.metrics.Metrics.counter(_METRICS, 'tensors')
        self._done = 0

    def setup(self) -> None:
        with tf.io.gfile.GFile(self._float_model_path, 'rb') as file:
            self._reader = ActivationReader(file.read())

    def process(self, record: bytes) -> Iterator[Any]:
        try:
            # By itself: kernels may round otherwise when examples share a batch, and which do is up to Beam.
            values = self._reader(self._parser([record]))
        except EdgeError as error:
            yield beam.pvalue.TaggedOutput(_FAULTS, str(error))
            return
        self._examples.inc()
        self._tensors.inc(len(values))
        self._done += 1
        if self._done % _LOGGED_EVERY == 0:
            _LOG.info('measured %d examples so far', self._done)
        yield {name: measure(array) for name, array in values.items()}


def _with_hash(record: bytes) -> tuple[bytes, bytes]:
    return hashlib.sha256(record_content(record)).digest(), record


def _without_hash(chosen: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    return [record for _, record in chosen]


def _write_result(
    path: str, statistics: Mapping[str, TensorStatistics], examples: int, faults: Sequence[str]
) -> None:
    content = {
        'fault': faults[0] if faults else '',
        'examples': examples,
        'tensors': {name: dataclasses.asdict(seen) for name, seen in statistics.items()},
    }
    with tf.io.gfile.GFile(path, 'w') as file:
        file.write(json.dumps(content, sort_keys=True))


def _read_result(path: str, files: Sequence[str], float_model_path: str) -> dict[str, tuple[float, float]]:
    with tf.io.gfile.GFile(path) as file:
        content = json.loads(file.read())
    if content['fault']:
        raise EdgeError(content['fault'])
    if not content['examples']:
        raise EdgeError(
            f'the {len(files)} files to calibrate on hold no example ({files[0]}); '
            'name splits with examples in calibration_splits.'
        )
    with tf.io.gfile.GFile(float_model_path, 'rb') as model:
        # In order of execution, so that an error names the tensor where NaN came up first.
        names = float_activations(model.read())
    statistics = {name: TensorStatistics(**content['tensors'][name]) for name in names}
    _LOG.info('calibrated %d tensors on %d examples', len(statistics), content['examples'])
    return ranges(statistics)
