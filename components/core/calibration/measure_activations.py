"""The part of the pipeline that runs the float file, once in each process."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from tfx_edge.components.core.calibration.measurements import Tally
from tfx_edge.components.core.calibration.non_finite import Place
from tfx_edge.components.core.calibration.results import FAULTS, MEASURED
from tfx_edge.components.core.calibration.selection import Places, records_at
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.examples.record_places import at_place
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader

_LOG = logging.getLogger(__name__)

_METRICS = 'tfx_edge.calibration'
_LOGGED_EVERY_SECONDS = 10.0
_PARSED_AT_ONCE = 16


class MeasureActivations(beam.DoFn):
    """Measures activations on the records at places; yields the `Measurements` of each bundle, and faults, as results.

    Counts `examples`, `tensors` (arrays measured) and `milliseconds` (of parsing, running and measuring) among the
    pipeline's metrics, in the namespace `tfx_edge.calibration`.

    Args:
      parser: turns records into the file's inputs.
      float_model_path: of the float32 `.tflite` file.
      names: of the activations to measure.
      channel_means_of: of those whose means by channel are measured.
      histograms: whether to count histograms.
      moved: of the file (`moved_values`).
    """

    def __init__(
        self,
        parser: ExampleParser,
        float_model_path: str,
        names: Collection[str],
        channel_means_of: Collection[str],
        histograms: bool,
        moved: Mapping[str, str],
    ) -> None:
        self._parser = parser
        self._float_model_path = float_model_path
        self._names = frozenset(names)
        self._channel_means_of = frozenset(channel_means_of)
        self._histograms = histograms
        self._moved = dict(moved)
        self._shared = Shared()
        self._counters = {
            name: beam.metrics.Metrics.counter(_METRICS, name)
            for name in ('examples', 'tensors', 'milliseconds')
        }

    def start_bundle(self) -> None:
        self._tally = Tally(
            histograms=self._histograms, channel_means_of=self._channel_means_of, moved=self._moved
        )
        self._seconds = 0.0
        self._logged = time.monotonic()

    def process(self, places: Places) -> Iterator[Any]:
        file, positions = places
        records = zip(positions, records_at(places), strict=True)
        try:
            while some := list(itertools.islice(records, _PARSED_AT_ONCE)):
                start = time.monotonic()
                for (number, record), inputs in zip(some, self._parsed(some), strict=True):
                    try:
                        self._measure(inputs or self._parser([record]), (file, number))
                    except EdgeError as error:
                        yield FAULTS, str(at_place(error, file, number))
                self._seconds += time.monotonic() - start
                self._log()
        except EdgeError as error:
            yield FAULTS, str(error)

    def finish_bundle(self) -> Iterator[Any]:
        self._counters['examples'].inc(self._tally.examples)
        self._counters['tensors'].inc(self._tally.arrays)
        self._counters['milliseconds'].inc(round(1000 * self._seconds))
        measured = MEASURED, self._tally.measurements()
        yield WindowedValue(measured, GlobalWindow().max_timestamp(), [GlobalWindow()])

    def _parsed(self, records: Sequence[tuple[int, bytes]]) -> list[dict[str, np.ndarray] | None]:
        """The inputs of each record, in batches of one; None where a record has to be parsed by itself."""
        alone: list[dict[str, np.ndarray] | None] = [None for _ in records]
        if not self._parser.only_reads:
            return alone
        try:
            inputs = self._parser([record for _, record in records])
        except EdgeError:
            return alone  # parsing each by itself names those that are at fault
        return [{name: rows[at : at + 1] for name, rows in inputs.items()} for at in range(len(records))]

    def _measure(self, inputs: Mapping[str, np.ndarray], place: Place) -> None:
        # One record at a time: kernels may round otherwise in a batch, and Beam decides which records come together.
        model = self._shared.acquire(self._open)
        with model.lock:
            self._tally.add(model.reader.views(inputs), place)

    def _open(self) -> _OpenModel:
        with tf.io.gfile.GFile(self._float_model_path, 'rb') as file:
            return _OpenModel(ActivationReader(file.read(), self._names))

    def _log(self) -> None:
        if time.monotonic() - self._logged > _LOGGED_EVERY_SECONDS:
            self._logged = time.monotonic()
            rate = self._tally.examples / self._seconds
            _LOG.info('measured %d examples of this bundle, %.0f in a second', self._tally.examples, rate)


class _OpenModel:
    """The file opened once for all threads of a process; one at a time may run it."""

    def __init__(self, reader: ActivationReader) -> None:
        self.reader = reader
        self.lock = threading.Lock()
