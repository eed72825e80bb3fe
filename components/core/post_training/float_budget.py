"""Operators that stay float within a budget of bytes, chosen for the accuracy that each byte gains."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.activation_reader import float_activations
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import missing_ranges, quantized_file
from tfx_edge.components.core.post_training.complete_ranges import complete_ranges
from tfx_edge.components.core.post_training.output_error import Reference, in_decibels
from tfx_edge.components.core.post_training.sensitivity import OperatorSensitivity, exactly, measure

_LOG = logging.getLogger(__name__)
# Operators that make a smaller share of the outputs' error than this are not worth a byte.
_NEGLIGIBLE = 0.01
# An operator that was no gain may be one when its neighbours are float.
_PASSES = 2


@dataclasses.dataclass(frozen=True)
class FloatBudget:
    """What a budget was spent on.

    Attributes:
      keep_float: a regular expression for each operator that stays float, found in its output tensor's name only, in
        the order of the choice; to be added to the options' own.
      bytes_spent: how much larger the file is than without them.
      snr_before: signal-to-noise ratio of the outputs in dB, without them.
      snr_after: with them.
      sensitivities: what was measured, worst first.
    """

    keep_float: tuple[str, ...]
    bytes_spent: int
    snr_before: float
    snr_after: float
    sensitivities: tuple[OperatorSensitivity, ...]


def spend(
    float_model: bytes | ModelFile,
    options: QuantizationOptions,
    ranges: Mapping[str, tuple[float, float]] | None,
    samples: Mapping[str, np.ndarray],
    budget_bytes: int,
) -> FloatBudget:
    """Chooses the operators that stay float.

    Operators are tried in the order of `ranked`, twice. For each a file is made; the operator is kept float if the file
    stays within the budget and its outputs come nearer to the float model's. So the file is never over the budget, and
    never worse than without float operators.

    Args:
      float_model: a float32 `.tflite` file.
      options: which file to make; what it keeps float anyway costs nothing here.
      ranges: (minimum, maximum) by tensor name for modes with integer activations.
      samples: by signature input name, arrays of shape (rows, ...); 16 to 64 rows are enough.
      budget_bytes: how much larger the file may become, above 0.

    Returns:
      What to keep float, and what it costs and gains; nothing when no operator fits into the budget.

    Raises:
      EdgeError: the budget is not a whole number above 0; or what `measure` raises.

    Example:
      >>> budget = spend(model, options, ranges, {'image': images[:32]}, 20_000)
      >>> budget.keep_float, budget.bytes_spent, budget.snr_before, budget.snr_after
      (('^conv/Relu$',), 17_320, 12.9, 33.1)
    """
    if not isinstance(budget_bytes, int) or isinstance(budget_bytes, bool) or budget_bytes <= 0:
        raise EdgeError(
            f'the float budget is {budget_bytes!r}; expected a whole number of bytes above 0, by which the file may '
            'grow for operators that stay float.'
        )
    float_file = ModelFile.of(float_model)
    sensitivities = measure(float_file, options, ranges, samples)
    trials = _Trials(float_file, options, ranges or {}, samples)
    base_bytes, before = trials.make(())
    kept: tuple[str, ...] = ()
    spent, noise = 0, before
    for candidate in ranked(sensitivities) * _PASSES:
        pattern = exactly(candidate.output)
        if pattern in kept or candidate.noise < _NEGLIGIBLE * noise:
            continue
        # One more float operator would leave nothing quantized.
        if len(kept) + 1 == len(sensitivities):
            break
        # Only the bytes of its weights are sure: a neighbour may share the conversions around it.
        if spent + candidate.weight_bytes_saved > budget_bytes or not trials.possible((*kept, pattern)):
            continue
        file_bytes, reached = trials.make((*kept, pattern))
        if file_bytes - base_bytes <= budget_bytes and reached < noise:
            kept, spent, noise = (*kept, pattern), file_bytes - base_bytes, reached
            _LOG.info('%s stays float: %d bytes, %.1f dB', candidate.output, spent, in_decibels(noise))
    return FloatBudget(kept, spent, in_decibels(before), in_decibels(noise), sensitivities)


def ranked(sensitivities: Sequence[OperatorSensitivity]) -> tuple[OperatorSensitivity, ...]:
    """The operators in the order of the error that one byte spent on them removes, most first.

    Args:
      sensitivities: what was measured.

    Returns:
      The same, sorted; those that make no error are left out.

    Example:
      >>> [entry.output for entry in ranked(measure(model, options, ranges, samples))]
      ['dense/MatMul', 'conv/Relu']
    """
    costly = [entry for entry in sensitivities if entry.noise > 0]
    return tuple(sorted(costly, key=lambda entry: -entry.noise / _cost(entry)))


def _cost(entry: OperatorSensitivity) -> int:
    """Estimated bytes that it takes to keep an operator float; at least 1."""
    return max(entry.weight_bytes_saved + entry.boundary_bytes, 1)


class _Trials:
    """Makes and measures files with some operators kept float."""

    def __init__(
        self,
        float_file: ModelFile,
        options: QuantizationOptions,
        ranges: Mapping[str, tuple[float, float]],
        samples: Mapping[str, np.ndarray],
    ) -> None:
        self._float_file = float_file
        self._options = options
        self._given = ranges
        self._all_given = not options.needs_ranges or ranges.keys() >= float_activations(float_file).keys()
        self._completed = complete_ranges(float_file, options, ranges) if options.needs_ranges else None
        self._reference = Reference(float_file, samples)
        self._made: dict[tuple[str, ...], tuple[int, float]] = {}

    def possible(self, kept: tuple[str, ...]) -> bool:
        """Whether the given ranges are all that the file needs: neighbours of float operators may need their own."""
        return self._all_given or not missing_ranges(self._float_file, self._with(kept), self._given)

    def make(self, kept: tuple[str, ...]) -> tuple[int, float]:
        """The file's size, and the ratio of noise to signal in its outputs."""
        if kept not in self._made:
            completed = self._completed
            file = quantized_file(
                self._float_file,
                self._with(kept),
                completed.ranges if completed else None,
                settled=completed.settled if completed else None,
            )
            self._made[kept] = len(file.data), self._reference.noise(file)
        return self._made[kept]

    def _with(self, kept: tuple[str, ...]) -> QuantizationOptions:
        return dataclasses.replace(self._options, keep_float=(*self._options.keep_float, *kept))
