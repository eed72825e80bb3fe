"""The candidate's `.tflite` file beside the baseline's: time, tensors and weights."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.file_insides import compare_insides
from tfx_edge.components.core.evaluation.latency import Latency, measure_latency
from tfx_edge.components.core.evaluation.layer_errors import LayerError
from tfx_edge.components.core.evaluation.models import fitted, read_tflite
from tfx_edge.components.core.evaluation.preparation import Contender
from tfx_edge.components.core.evaluation.weight_histograms import WeightHistogram
from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.litert.isolation import run_isolated
from tfx_edge.components.core.signature import Signature

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FileComparison:
    """What two files have in common and what not.

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


def compare_files(
    candidate: Contender,
    baseline: Contender | None,
    sample: Mapping[str, np.ndarray],
    *,
    latency: bool,
    convert: Callable[[str, Signature], bytes] = convert_saved_model,
) -> FileComparison:
    """Compares the candidate's file with the baseline's; with the float one of a SavedModel.

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
        other = _as_file(baseline, convert)
    except EdgeError as error:
        _LOG.warning('the baseline cannot be compared as a file: %s', error)
        return FileComparison(f'the baseline cannot be made a .tflite file: {error}')
    inputs, other_inputs = fitted(candidate.model, sample), fitted(baseline.model, sample)
    layers, weights = run_isolated(compare_insides, model, other, inputs, other_inputs)
    time = run_isolated(measure_latency, model, other) if latency else None
    if time is not None:
        _LOG.info('%.4g ms, %.3g times the baseline', time.milliseconds, time.ratio)
    return FileComparison('', time, layers, len(next(iter(sample.values()))), weights)


def _as_file(baseline: Contender, convert: Callable[[str, Signature], bytes]) -> bytes:
    if baseline.source.is_tflite:
        return read_tflite(baseline.source.path)
    assert baseline.source.signature is not None
    return convert(baseline.source.path, baseline.source.signature)
