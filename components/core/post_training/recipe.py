"""From a float file to the quantized one: equalize, calibrate, spend the float budget, quantize, compare."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.calibration import range_methods
from tfx_edge.components.core.calibration.pipeline import Calibrated, keeping_float
from tfx_edge.components.core.calibration.reference import Reference
from tfx_edge.components.core.isolation.isolated_process import run_isolated
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import quantize
from tfx_edge.components.core.litert.quantization.modes import activation_bits
from tfx_edge.components.core.post_training import (
    bias_correction,
    compared_file,
    equalization,
    float_budget,
    sensitivity,
    softmax_masks,
)
from tfx_edge.components.core.post_training.asked_recipe import Recipe

_LOG = logging.getLogger(__name__)

Ranges = Mapping[str, tuple[float, float]]


class CalibrationExamples(Protocol):
    """Examples to calibrate on and to compare on, from any source."""

    def calibrate(
        self, float_model: bytes, channel_means_of: Sequence[str], *, histograms: bool
    ) -> Calibrated:
        """Statistics of the activations of a float file, and the means of some."""

    def sample(self) -> dict[str, np.ndarray]:
        """A few examples: by input name, arrays of shape (rows, ...)."""

    def reference(self) -> Reference | None:
        """The float model's answers to some examples; where there are enough, to others than those of `calibrate`.

        None where the answers are random, or there are no examples.
        """


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a recipe.

    Attributes:
      file: the quantized file.
      engine: that made it.
      reason: why that engine.
      ranges: (minimum, maximum) by tensor name; empty where activations stay float.
      sensitivities: worst first; empty unless measured.
      kept_float: regular expressions on tensor names that the float budget was spent on.
      held: the file and its fidelity to the float model; None without examples to compare on.
      reference: the examples and answers that it was compared on.
    """

    file: ModelFile
    engine: str
    reason: str
    ranges: Ranges
    sensitivities: tuple[sensitivity.OperatorSensitivity, ...] = ()
    kept_float: tuple[str, ...] = ()
    held: compared_file.ComparedFile | None = None
    reference: Reference | None = None

    @property
    def model(self) -> bytes:
        """The bytes of the file."""
        return self.file.data


def follow(
    recipe: Recipe,
    float_model: bytes | ModelFile,
    examples: CalibrationExamples | None,
    given: Ranges | None = None,
    reference: Reference | None = None,
) -> Outcome:
    """Makes the quantized file.

    The quantizers run in a child process, so that they neither abort the caller nor leak its memory.

    Args:
      recipe: what to do.
      float_model: a float32 `.tflite` file.
      examples: to calibrate on; None where ranges are given or not needed.
      given: ranges that are used as they are.
      reference: what the float model answers, where it came with the given ranges.

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
    if reference is None and examples is not None:
        reference = examples.reference()
    if recipe.quantization.needs_ranges and reference is not None and not recipe.trained:
        float_file, ranges = _with_near_masks(float_file, ranges, recipe.quantization.mode, reference)
    options = recipe.quantization
    sensitivities: tuple[sensitivity.OperatorSensitivity, ...] = ()
    kept: tuple[str, ...] = ()
    bound = recipe.bound
    if recipe.needs_samples:
        assert examples is not None
        samples = examples.sample()
        sensitivities, kept, left = _sensitivities(recipe, float_file, ranges, samples)
        bound = dataclasses.replace(bound, most_bytes=left)
        options = dataclasses.replace(options, keep_float=(*options.keep_float, *kept))
    known = None
    if recipe.correct_bias:
        first = run_isolated(quantize.make_file, float_file, options, ranges)
        float_file, known = _corrected(float_file, first, means), first.activations
    if reference is None:
        made = run_isolated(quantize.make_file, float_file, options, ranges, known=known)
        return Outcome(made.file, made.engine, made.reason, ranges, sensitivities, kept)
    held = run_isolated(
        compared_file.make_compared, float_file, options, ranges, reference, bound, known=known
    )
    made = held.made
    return Outcome(made.file, made.engine, made.reason, ranges, sensitivities, kept, held, reference)


def _with_near_masks(
    float_file: ModelFile, ranges: Ranges, mode: str, reference: Reference
) -> tuple[ModelFile, Ranges]:
    """The float file and its ranges, with masks bounded so that the scores of a softmax keep enough steps."""
    bounded = softmax_masks.bound_masks(float_file, ranges, mode)
    if not bounded.masks:
        return float_file, ranges
    if not run_isolated(softmax_masks.answers_alike, float_file, bounded.file, reference.inputs):
        _LOG.info('masks stay as far from the scores as they are: near ones would change the answers')
        return float_file, ranges
    _LOG.info(
        'masks of %d softmaxes are bounded to what their outputs can hold, which changes no answer: %s',
        len(bounded.masks),
        ', '.join(bounded.masks),
    )
    return bounded.file, bounded.ranges


def _corrected(
    float_file: ModelFile, made: quantize.QuantizedFile, means: Mapping[str, np.ndarray]
) -> ModelFile:
    """The float file with other biases."""
    corrected = bias_correction.correct(float_file, made.file, means)
    _LOG.info('corrected the biases of %d layers', len(corrected.corrected))
    if corrected.skipped:
        _LOG.info('no bias to correct: %s', ', '.join(name.split(';')[0] for name in corrected.skipped))
    return corrected.file


def _calibrate(
    recipe: Recipe, float_file: ModelFile, examples: CalibrationExamples | None, given: Ranges | None
) -> tuple[Ranges, Mapping[str, np.ndarray], Calibrated | None]:
    """The given ranges, the others measured on the examples; the channel means; and all that was measured."""
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
) -> tuple[tuple[sensitivity.OperatorSensitivity, ...], tuple[str, ...], int | None]:
    """The sensitivities; the patterns that the budget was spent on; and the bytes left, None without a budget."""
    if recipe.float_budget_bytes is None:
        measured = run_isolated(sensitivity.measure, float_file, recipe.quantization, ranges, samples)
        return measured, (), None
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
    return budget.sensitivities, budget.keep_float, recipe.float_budget_bytes - budget.bytes_spent
