"""Compares the candidate's `.tflite` file with the baseline's: latency, tensors and weights."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from typing_extensions import TypedDict

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.contenders.evaluation_setup import Contender
from tfx_edge.components.core.evaluation.evaluators.observer import Observer
from tfx_edge.components.core.evaluation.evaluators.record_sample import keeping_sample
from tfx_edge.components.core.evaluation.gates.gate import Gate, at_most
from tfx_edge.components.core.evaluation.gates.limits import MAX_LATENCY_RATIO
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement
from tfx_edge.components.core.evaluation.metrics.tfma_names import Number, number
from tfx_edge.components.core.evaluation.model_files.latency import Latency, measure_latency
from tfx_edge.components.core.evaluation.model_files.layer_errors import LayerError
from tfx_edge.components.core.evaluation.model_files.models import fitted, read_tflite
from tfx_edge.components.core.evaluation.model_files.side_by_side import compare_insides
from tfx_edge.components.core.evaluation.model_files.weight_histograms import WeightHistogram
from tfx_edge.components.core.examples.example_parser import read_records
from tfx_edge.components.core.isolation.isolated_process import run_isolated
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.signature import Signature

_LOG = logging.getLogger(__name__)
_FILE = 'sample.tfrecord'
# Examples on which two files are compared tensor by tensor.
_SAMPLE = 32


@dataclasses.dataclass(frozen=True)
class FileComparison:
    """What the comparison of two files found.

    Attributes:
      obstacle: why they were not compared, or ''.
      latency: of both; None where it was not asked for.
      layers: errors of the tensors that both have.
      examples: on how many examples.
      weights: of the kernels that both have.
    """

    obstacle: str = ''
    latency: Latency | None = None
    layers: tuple[LayerError, ...] = ()
    examples: int = 0
    weights: tuple[WeightHistogram, ...] = ()


class BesideBaselineFile(Measurement):
    """Compares the candidate's file with the baseline's, on a few of the examples."""

    def observers(self) -> Sequence[Observer]:
        """Keeps a few examples, where there is a baseline."""
        if self.setting.evaluation.baseline is None:
            return ()
        return [keeping_sample(_SAMPLE, self.path(_FILE))]

    def read(self) -> Finding:
        """Runs both files."""
        limit = self.setting.limit(MAX_LATENCY_RATIO)
        found = compare_files(
            self.setting.evaluation.candidate,
            self.setting.evaluation.baseline,
            self._sample(),
            latency=limit is not None,
            convert=self.setting.convert,
        )
        gates = latency_gates(
            found.latency, limit, found.obstacle, undecided_holds=self.setting.undecided_holds
        )
        parts = {'latency': found.latency, 'layers': layers_part(found), 'weights': weights_part(found)}
        return Finding(gates, parts)

    def _sample(self) -> Mapping[str, np.ndarray]:
        """Features of the examples kept, by input name; the file itself is not kept."""
        if self.setting.evaluation.baseline is None:
            return {}
        path = self.path(_FILE)
        sample = self.setting.parser(list(read_records([path])))
        tf.io.gfile.remove(path)
        return sample


def latency_gates(
    latency: Latency | None, limit: float | None, obstacle: str = '', *, undecided_holds: bool = False
) -> tuple[Gate, ...]:
    """The gate `max_latency_ratio`; none where nothing is demanded.

    Args:
      latency: of both files; None where there is nothing to compare with.
      limit: the most that the ratio may be.
      obstacle: why nothing was measured, or ''.
      undecided_holds: whether the gate holds where nothing was measured.

    Returns:
      The gate.
    """
    if limit is None:
        return ()
    if latency is None:
        return (Gate(MAX_LATENCY_RATIO.field, None, limit, undecided_holds, obstacle),)
    detail = (
        f'{latency.milliseconds:.4g} ms against {latency.baseline_milliseconds:.4g} ms; '
        f'half of {latency.rounds} rounds within {latency.ratio_low:.4g} to {latency.ratio_high:.4g}'
    )
    return at_most(MAX_LATENCY_RATIO.field, latency.ratio, limit, detail)


def compare_files(
    candidate: Contender,
    baseline: Contender | None,
    sample: Mapping[str, np.ndarray],
    *,
    latency: bool,
    convert: Callable[[str, Signature], bytes] = convert_saved_model,
) -> FileComparison:
    """Compares the candidate's file with the baseline's; a SavedModel is converted to a float file first.

    Args:
      candidate: a `.tflite` file.
      baseline: a `.tflite` file or a SavedModel; None where there is none.
      sample: features of a few examples, by input name.
      latency: whether to measure it too.
      convert: gives the float `.tflite` of a SavedModel's folder and one of its signatures.

    Returns:
      What was found; nothing, and why, where there is no baseline or it cannot be made a file.
    """
    if baseline is None:
        return FileComparison('there is no baseline')
    model = read_tflite(candidate.source.path)
    try:
        other = as_file(baseline, convert)
    except EdgeError as error:
        _LOG.warning('the baseline cannot be compared as a file: %s', error)
        return FileComparison(f'the baseline cannot be made a .tflite file: {error}')
    inputs, other_inputs = fitted(candidate.model, sample), fitted(baseline.model, sample)
    layers, weights = run_isolated(compare_insides, model, other, inputs, other_inputs)
    time = run_isolated(measure_latency, model, other) if latency else None
    if time is not None:
        _LOG.info('%.4g ms, %.3g times the baseline', time.milliseconds, time.ratio)
    return FileComparison('', time, layers, len(next(iter(sample.values()))), weights)


def as_file(baseline: Contender, convert: Callable[[str, Signature], bytes]) -> bytes:
    """The baseline's `.tflite` file; of a SavedModel, its float file.

    Args:
      baseline: a `.tflite` file or a SavedModel.
      convert: gives the float `.tflite` of a SavedModel's folder and one of its signatures.

    Raises:
      EdgeError: the SavedModel cannot be converted.
    """
    if baseline.source.is_tflite:
        return read_tflite(baseline.source.path)
    assert baseline.source.signature is not None
    return convert(baseline.source.path, baseline.source.signature)


class LayerRow(TypedDict):
    """One tensor that both files have: fields of LayerError, with the names of numbers that are not finite."""

    name: str
    operator: str
    dtype: str
    rms: Number
    error: Number
    share: Number | None


class LayersPart(TypedDict):
    """Error of each tensor against the baseline's file.

    Attributes:
      not_compared: why nothing was compared, or ''.
      examples: on how many.
      tensors: in order of execution.
    """

    not_compared: str
    examples: int
    tensors: list[LayerRow]


class WeightsPart(TypedDict):
    """Histograms of the kernels' weights in both files.

    Attributes:
      not_compared: why nothing was compared, or ''.
      kernels: those that both have.
    """

    not_compared: str
    kernels: list[WeightHistogram]


def layers_part(compared: FileComparison) -> LayersPart:
    """The part of `report.json` on the error of each tensor."""
    return LayersPart(
        not_compared=compared.obstacle,
        examples=compared.examples,
        tensors=[
            LayerRow(
                name=layer.name,
                operator=layer.operator,
                dtype=layer.dtype,
                rms=number(layer.rms),
                error=number(layer.error),
                share=None if layer.share is None else number(layer.share),
            )
            for layer in compared.layers
        ],
    )


def weights_part(compared: FileComparison) -> WeightsPart:
    """The part of `report.json` on the weights of kernels."""
    return WeightsPart(not_compared=compared.obstacle, kernels=list(compared.weights))
