"""From a float file to the quantized one: equalize, calibrate, spend the float budget, quantize, correct biases."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.calibration import range_methods
from tfx_edge.components.core.calibration.pipeline import Calibrated, keeping_float
from tfx_edge.components.core.litert import quantize
from tfx_edge.components.core.litert.isolation import run_isolated
from tfx_edge.components.core.litert.model_file import ModelFile
from tfx_edge.components.core.litert.quantization_options import QuantizationOptions, activation_bits
from tfx_edge.components.core.post_training import bias_correction, equalization, float_budget, sensitivity

_LOG = logging.getLogger(__name__)

Ranges = Mapping[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to do with a float file.

    Attributes:
      quantization: which file to make.
      range_method: see `range_methods.ranges`.
      percentile: for PERCENTILE, in percent.
      equalize: even out the ranges of channels first.
      correct_bias: take the mean error of the weights out of the biases.
      float_budget_bytes: what the file may grow by for operators that stay float; None for nothing.
      report_sensitivity: measure what each operator loses.
    """

    quantization: QuantizationOptions
    range_method: str = 'MIN_MAX'
    percentile: float = 99.99
    equalize: bool = False
    correct_bias: bool = False
    float_budget_bytes: int | None = None
    report_sensitivity: bool = False

    @property
    def needs_samples(self) -> bool:
        """Whether it runs examples through the quantized file."""
        return self.report_sensitivity or self.float_budget_bytes is not None


class CalibrationExamples(Protocol):
    """Examples, wherever they are and whatever runs over them."""

    def calibrate(
        self, float_model: bytes, channel_means_of: Sequence[str], *, histograms: bool
    ) -> Calibrated:
        """Statistics of the activations of a float file, and the means of some."""

    def sample(self) -> dict[str, np.ndarray]:
        """A few examples: by input name, arrays of shape (rows, ...)."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a recipe.

    Attributes:
      file: the quantized file.
      engine: that made it.
      reason: why that engine.
      ranges: (minimum, maximum) by tensor name; empty where activations stay float.
      sensitivities: worst first; empty unless measured.
      kept_float: regular expressions on tensor names that the float budget was spent on.
    """

    file: ModelFile
    engine: str
    reason: str
    ranges: Ranges
    sensitivities: tuple[sensitivity.OperatorSensitivity, ...] = ()
    kept_float: tuple[str, ...] = ()

    @property
    def model(self) -> bytes:
        """The bytes of the file."""
        return self.file.data


def follow(
    recipe: Recipe,
    float_model: bytes | ModelFile,
    examples: CalibrationExamples | None,
    given: Ranges | None = None,
) -> Outcome:
    """Makes the quantized file.

    Whatever calls the quantizers runs in a child process, so that what they abort or leak is not the caller's.

    Args:
      recipe: what to do.
      float_model: a float32 `.tflite` file.
      examples: to calibrate on; None where ranges are given or not needed.
      given: ranges that are used as they are.

    Returns:
      The file, and how it was made.

    Raises:
      EdgeError: see `calibrate`, `make_file` and the steps of `post_training`.

    Example:
      >>> follow(Recipe(QuantizationOptions('FLOAT16')), float_model, None).engine
      'LITERT'
    """
    float_file = ModelFile.of(float_model)
    if recipe.equalize:
        equalized = equalization.equalize(float_file)
        _LOG.info('equalized %d pairs of layers', len(equalized.pairs))
        float_file = equalized.file
    ranges, means, handled = _calibrate(recipe, float_file, examples, given)
    recipe = dataclasses.replace(recipe, quantization=keeping_float(recipe.quantization, float_file, handled))
    options = recipe.quantization
    sensitivities: tuple[sensitivity.OperatorSensitivity, ...] = ()
    kept: tuple[str, ...] = ()
    if recipe.needs_samples:
        assert examples is not None
        samples = examples.sample()
        sensitivities, kept = _sensitivities(recipe, float_file, ranges, samples)
        options = dataclasses.replace(options, keep_float=(*options.keep_float, *kept))
    made = run_isolated(quantize.make_file, float_file, options, ranges)
    if recipe.correct_bias:
        corrected = bias_correction.correct(float_file, made.file, means)
        _LOG.info('corrected the biases of %d layers', len(corrected.corrected))
        if corrected.skipped:
            _LOG.info('no bias to correct: %s', ', '.join(name.split(';')[0] for name in corrected.skipped))
        made = run_isolated(quantize.make_file, corrected.file, options, ranges, known=made.activations)
    return Outcome(made.file, made.engine, made.reason, ranges, sensitivities, kept)


def _calibrate(
    recipe: Recipe, float_file: ModelFile, examples: CalibrationExamples | None, given: Ranges | None
) -> tuple[Ranges, Mapping[str, np.ndarray], Calibrated | None]:
    """The given ranges and those of the examples for what is not given; the means that were asked for; and all."""
    means_of = bias_correction.needed_means(float_file) if recipe.correct_bias else ()
    measured = recipe.quantization.needs_ranges
    if measured and given is not None:
        missing = run_isolated(quantize.missing_ranges, float_file, recipe.quantization, given)
        measured = bool(missing)
        if missing and examples is not None:
            _LOG.info('the calibration lacks %d ranges; calibrating these on the examples', len(missing))
    if examples is None or not (measured or means_of):
        return given or {}, {}, None
    histograms = measured and range_methods.needs_histograms(recipe.range_method)
    calibrated = examples.calibrate(float_file.data, means_of, histograms=histograms)
    found: Ranges = {}
    if measured:
        levels = integer_types.levels(activation_bits(recipe.quantization.mode))
        found = range_methods.ranges(calibrated.statistics, recipe.range_method, recipe.percentile, levels)
    return {**found, **(given or {})}, calibrated.channel_means, calibrated


def _sensitivities(
    recipe: Recipe, float_file: ModelFile, ranges: Ranges, samples: Mapping[str, np.ndarray]
) -> tuple[tuple[sensitivity.OperatorSensitivity, ...], tuple[str, ...]]:
    if recipe.float_budget_bytes is None:
        return run_isolated(sensitivity.measure, float_file, recipe.quantization, ranges, samples), ()
    budget = run_isolated(
        float_budget.spend, float_file, recipe.quantization, ranges, samples, recipe.float_budget_bytes
    )
    _LOG.info(
        'kept %d operators float for %d bytes: signal to noise %.1f dB, before %.1f dB',
        len(budget.keep_float),
        budget.bytes_spent,
        budget.snr_after,
        budget.snr_before,
    )
    return budget.sensitivities, budget.keep_float
