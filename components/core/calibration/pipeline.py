"""The Beam pipelines that calibrate: examples in, statistics of a float file's activations out.

Faults of the input travel through the pipeline as data and are raised once at its end: Beam would retry a step that
raises, and the runner would wrap the error in its own.
"""

from __future__ import annotations

import base64
import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from tfx_edge.components.core.calibration.measure_activations import MeasureActivations
from tfx_edge.components.core.calibration.measurements import (
    Measurements,
    MergeMeasurements,
    from_json,
    to_json,
)
from tfx_edge.components.core.calibration.non_finite import (
    NonFinite,
    operators_to_keep_float,
    require_float_input,
)
from tfx_edge.components.core.calibration.results import (
    FAULTS,
    FOUND,
    MEASURED,
    SAMPLE,
    Kind,
    WriteResults,
    read_results,
)
from tfx_edge.components.core.calibration.selection import (
    COMPARED,
    PLACES,
    ChooseExamples,
    Places,
    are_held_out,
    records_at,
)
from tfx_edge.components.core.calibration.statistics import TensorStatistics, require_finite
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser, content_hash, record_content
from tfx_edge.components.core.litert.file.activation_reader import float_activations
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.file.moved_values import moved_values
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.lost_workers import lost_workers_raised
from tfx_edge.components.core.smallest_values import smallest

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """What calibration found.

    Attributes:
      statistics: by tensor name, in order of execution. Activations that the runtime keeps no values of, such as
        those of a loop's outputs that nothing reads, have none.
      channel_means: float64 (channels,) by tensor name, of the tensors for which they were asked: the mean over
        examples of each example's mean over all axes but the last.
      examples: how many were used.
      compared: serialized tf.Examples to compare on, in order of their SHA-256.
      held_out: whether no statistic was measured on the `compared` examples.
      non_finite: by tensor name, in order of execution, of tensors that held NaN or infinity, which the model handles
        itself; they have no statistics.
      keep_float: regular expressions on output names of the operators that handle these.
    """

    statistics: Mapping[str, TensorStatistics]
    channel_means: Mapping[str, np.ndarray]
    examples: int
    compared: tuple[bytes, ...] = ()
    held_out: bool = False
    non_finite: Mapping[str, NonFinite] = dataclasses.field(default_factory=dict)
    keep_float: tuple[str, ...] = ()


def calibrate(
    make_pipeline: Callable[[], beam.Pipeline],
    *,
    files: Sequence[str],
    parser: ExampleParser,
    float_model_path: str,
    result_path: str,
    max_examples: int,
    channel_means_of: Collection[str] = (),
    wanted: Collection[str] | None = None,
    histograms: bool = True,
    compared: int = 0,
) -> Calibrated:
    """Runs a float file on examples and measures each float activation.

    Which examples are used is a function of their content: those with the smallest SHA-256. The statistics depend on
    nothing else, not on files, order, bundles or workers: each example runs by itself, from the same state, and all
    that is measured merges exactly. Memory does not grow with the number of examples.

    Args:
      make_pipeline: makes the Beam pipeline to run on.
      files: TFRecord files of tf.Examples, where workers can read them.
      parser: turns records into the file's inputs.
      float_model_path: of the float32 `.tflite` file, where workers can read it.
      result_path: a file that a worker can write; holds the measurements afterwards.
      max_examples: how many examples are used at most.
      channel_means_of: names of float activations whose means by channel are measured.
      wanted: names of the float activations to measure; None for all.
      histograms: whether to count histograms, which every range method but MIN_MAX needs, and which take twice as
        long as all the rest.
      compared: number of examples to return for a comparison; where enough are left, none of them is measured (see
        `selection.set_aside`).

    Returns:
      The statistics, and the examples to compare on.

    Raises:
      EdgeError: a file is damaged, an example does not fit, there is no example, an activation is not finite and the
        model does not handle that, or the float file has no activation of a name.

    Example:
      >>> calibrated = calibrate(beam.Pipeline, files=files, parser=parser, float_model_path='/tmp/float.tflite',
      ...                        result_path='/tmp/statistics.json', max_examples=1000)
      >>> ranges(calibrated.statistics, 'PERCENTILE')['image']
      (0.0, 1.0)
    """
    with tf.io.gfile.GFile(float_model_path, 'rb') as model:
        float_model = ModelFile(model.read())
    names = _names(float_model, wanted, channel_means_of)
    _LOG.info('calibrating on at most %d examples from %d files', max_examples, len(files))
    start = time.monotonic()
    measure = MeasureActivations(
        parser, float_model_path, names, channel_means_of, histograms, moved_values(float_model)
    )
    kinds = {
        MEASURED: Kind(MergeMeasurements(), to_json),
        FOUND: Kind(beam.CombineFn.from_callable(sum), _found_to_json),
    }
    if compared:
        kinds[SAMPLE] = Kind(smallest(compared), _sample_to_json)
    with lost_workers_raised(), make_pipeline() as pipeline:
        chosen = pipeline | 'Choose' >> ChooseExamples(files, max_examples, compared)
        results = [
            chosen[FAULTS],
            chosen[FOUND],
            chosen[PLACES] | 'Measure' >> beam.ParDo(measure),
        ]
        if compared:
            results.append(chosen[COMPARED] | 'Read' >> beam.FlatMap(_read))
        _ = tuple(results) | 'WriteResults' >> WriteResults(result_path, kinds)
    content = read_results(result_path)
    found = from_json(content)
    if not found.examples:
        raise EdgeError(
            f'the {len(files)} files to calibrate on hold no example ({files[0] if files else "no file"}); '
            'name splits with examples in calibration_splits.'
        )
    calibrated = _calibrated(found, names, float_model_path, time.monotonic() - start)
    if not compared:
        return calibrated
    return dataclasses.replace(
        calibrated,
        compared=tuple(_sample_from_json(content)),
        held_out=are_held_out(content['found'], max_examples, compared),
    )


def keeping_float(
    options: QuantizationOptions, float_model: bytes | ModelFile, calibrated: Calibrated | None
) -> QuantizationOptions:
    """The options of a file in which the operators that handle NaN and infinities stay float.

    Args:
      options: which file to make.
      float_model: the float32 `.tflite` file that was calibrated.
      calibrated: what calibration found; None where there was none.

    Raises:
      EdgeError: the file is to have integer inputs, and an input held NaN or infinity.
    """
    if calibrated is None or not calibrated.keep_float or not options.needs_ranges:
        return options
    require_float_input(float_model, calibrated.non_finite, options.io)
    return dataclasses.replace(options, keep_float=(*options.keep_float, *calibrated.keep_float))


def sample(
    make_pipeline: Callable[[], beam.Pipeline], *, files: Sequence[str], result_path: str, count: int
) -> list[bytes]:
    """Reads the examples that `calibrate(max_examples=count)` would measure.

    Args:
      make_pipeline: makes the Beam pipeline to run on.
      files: TFRecord files of tf.Examples, where workers can read them.
      result_path: a file that a worker can write; holds the examples afterwards.
      count: how many at most.

    Returns:
      Serialized tf.Examples, in order of their SHA-256; the features of each are written in order of their names, so
      that the same examples give the same bytes.

    Raises:
      EdgeError: a file is damaged.

    Example:
      >>> len(sample(beam.Pipeline, files=files, result_path='/tmp/sample.json', count=64))
      64
    """
    with lost_workers_raised(), make_pipeline() as pipeline:
        chosen = pipeline | 'Choose' >> ChooseExamples(files, count)
        read = chosen[PLACES] | 'Read' >> beam.FlatMap(_read)
        _ = (chosen[FAULTS], read) | 'WriteResults' >> WriteResults(
            result_path, {SAMPLE: Kind(smallest(count), _sample_to_json)}
        )
    return _sample_from_json(read_results(result_path))


def _read(places: Places) -> Iterator[tuple[str, Any]]:
    """The examples at places, for a sample; or what is wrong with their file."""
    try:
        for record in records_at(places):
            yield SAMPLE, (content_hash(record), record_content(record))
    except EdgeError as error:
        yield FAULTS, str(error)


def _sample_to_json(chosen: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {'records': [base64.b64encode(record).decode() for _, record in chosen]}


def _sample_from_json(content: Mapping[str, Any]) -> list[bytes]:
    return [base64.b64decode(record) for record in content['records']]


def _found_to_json(found: int) -> dict[str, Any]:
    return {'found': found}


def _names(
    float_model: ModelFile, wanted: Collection[str] | None, channel_means_of: Collection[str]
) -> list[str]:
    """The activations to measure, in order of execution."""
    names = list(float_activations(float_model))
    for name in (*(wanted or ()), *channel_means_of):
        if name not in names:
            raise EdgeError(
                f'the float file has no activation {name!r} to measure; name one of: {", ".join(names[:20])}.'
            )
    return [name for name in names if wanted is None or name in wanted or name in channel_means_of]


def _calibrated(
    found: Measurements, names: Sequence[str], float_model_path: str, seconds: float
) -> Calibrated:
    # In order of execution, so that an error names the tensor where NaN came up first.
    non_finite = {name: found.non_finite[name] for name in names if name in found.non_finite}
    keep_float: tuple[str, ...] = ()
    if non_finite:
        with tf.io.gfile.GFile(float_model_path, 'rb') as model:
            keep_float = operators_to_keep_float(model.read(), non_finite, found.examples)
    statistics = {
        name: found.statistics[name] for name in names if name in found.statistics and name not in non_finite
    }
    unread = [name for name in names if name not in found.statistics]
    if unread:
        _LOG.info(
            '%d activations have no values to read and get no range: %s', len(unread), ', '.join(unread)
        )
    require_finite(statistics)
    _LOG.info('calibrated %d tensors on %d examples in %.1f s', len(statistics), found.examples, seconds)
    means = {name: found.channel_sums[name].means() for name in names if name in found.channel_sums}
    return Calibrated(statistics, means, found.examples, non_finite=non_finite, keep_float=keep_float)
