"""How near a file's answers come to those of the float model, output by output."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError

# A column whose standard deviation is this many times smaller than the largest is judged by itself.
_UNLIKE = 50.0
# Magnitudes from _LARGE on are sentinels if the next smaller one is _GAP times smaller; smaller ones are judged alone.
_LARGE, _GAP = 1e4, 1e3
# A spread below this share of the values' size cannot be distinguished from rounding.
_SMALLEST_SPREAD = 1e-3
_SUM_OF_PROBABILITIES = 1e-2
# Smallest variance of probabilities that counts: about two steps of int8, squared; rounding is then 18 dB below it.
_PROBABILITY_SPREAD = 64 / 12 / 256**2


@dataclasses.dataclass(frozen=True)
class OutputFidelity:
    """How near one output comes.

    Attributes:
      name: of the output, in the signature.
      db: signal-to-noise ratio, the variance of the answers over the mean squared error, in dB; where columns or
        magnitudes are unlike, that of the worst. Of integers: 1 over the share of values that differ; of lists without
        repetition (indices of the best few): 1 over the share of members that are missing. Infinite without error.
      agreement: share of examples of the same class (the largest column, or the side of 0.5 of a probability), or of
        equal integers; None where the output holds no classes.
      part: the part of the output that `db` is of, such as "column 3"; '' for all of it.
    """

    name: str
    db: float
    agreement: float | None = None
    part: str = ''


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """How near a file comes.

    Attributes:
      samples: how many examples were compared.
      outputs: one entry for each output, in the order of their names.
    """

    samples: int
    outputs: tuple[OutputFidelity, ...]

    @property
    def db(self) -> float:
        """The lowest dB of all outputs."""
        return min((output.db for output in self.outputs), default=math.inf)

    @property
    def agreement(self) -> float | None:
        """The lowest agreement of all outputs; None where no output holds classes."""
        return min((o.agreement for o in self.outputs if o.agreement is not None), default=None)

    @property
    def worst_output(self) -> OutputFidelity | None:
        """The output with the lowest dB; None where there is no output."""
        return min(self.outputs, key=lambda output: output.db, default=None)


def compare(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> Fidelity:
    """Compares the answers to the same examples.

    The signal is the variance of each column (the last axis) over the examples and the other axes. Columns or
    magnitudes that are much smaller than the others are judged by themselves, so that errors of a score of 0 to 1
    beside coordinates of 0 to 640, or of logits beside the -1e9 of a mask, are not hidden.

    Args:
      expected: of the float model, arrays of shape (examples, ...) by output name.
      found: of the file, by the same names and of the same shapes.

    Returns:
      The fidelity of each output.

    Raises:
      EdgeError: an output is missing, or has another shape.

    Example:
      >>> compare({'p': probabilities}, LiteRTModel(int8_file)({'image': images})).db
      31.6
    """
    outputs = []
    for name in sorted(expected):
        if name not in found or found[name].shape != expected[name].shape:
            shape = f'the shape {found[name].shape}' if name in found else 'no such output'
            raise EdgeError(
                f'output {name!r} of the float model has the shape {expected[name].shape}, the file {shape}; '
                'expected the same outputs. Convert the model again, from this SavedModel.'
            )
        outputs.append(_output(name, expected[name], found[name]))
    samples = max((len(values) for values in expected.values() if values.ndim), default=0)
    return Fidelity(samples, tuple(outputs))


def _output(name: str, expected: np.ndarray, found: np.ndarray) -> OutputFidelity:
    if not np.issubdtype(expected.dtype, np.floating):
        equal = _equal(expected, found)
        return OutputFidelity(name, _decibels(1.0, 1.0 - equal), equal)
    # Values that are NaN or infinite in the model itself (the logarithm of zero) are left out of the comparison.
    finite = np.isfinite(expected)
    if not np.isfinite(found[finite]).all():
        return OutputFidelity(name, -math.inf, _agreement(expected, found), 'values that are not finite')
    exact, shipped = (np.where(finite, values, 0.0).astype(np.float64) for values in (expected, found))
    db, part = min(_parts(exact, shipped), key=lambda entry: entry[0])
    return OutputFidelity(name, db, _agreement(expected, found), part)


def _equal(expected: np.ndarray, found: np.ndarray) -> float:
    """Share of equal integers; of lists without repetition (the best few of many), whatever their order."""
    if not expected.size:
        return 1.0
    if expected.ndim == 2 and expected.shape[1] > 1 and expected.dtype != np.bool_:
        ordered = np.sort(expected, axis=1)
        if (ordered[:, 1:] != ordered[:, :-1]).all():
            return float(np.mean([np.isin(row, other) for row, other in zip(expected, found, strict=True)]))
    return float(np.mean(expected == found))


def _parts(exact: np.ndarray, shipped: np.ndarray) -> list[tuple[float, str]]:
    """The dB of all values, and of each part whose errors the rest would hide; with the part's name."""
    columns = (
        (exact.reshape(-1, exact.shape[-1]), shipped.reshape(-1, exact.shape[-1]))
        if exact.ndim > 1
        else (exact.reshape(-1, 1), shipped.reshape(-1, 1))
    )
    parts = [(_ratio(*columns), '')]
    bound = _gap(exact)
    if bound is not None:
        small = np.abs(exact) < bound
        within = (values[small].reshape(-1, 1) for values in (exact, shipped))
        parts.append((_ratio(*within), f'values below {bound:.3g}'))
    elif not _are_probabilities(exact):
        spread = columns[0].std(axis=0)
        unlike = np.flatnonzero((spread > 0) & (spread * _UNLIKE < spread.max()))
        parts += [
            (_ratio(*(values[:, n : n + 1] for values in columns)), f'column {n} of {len(spread)}')
            for n in unlike
        ]
    return parts


def _ratio(exact: np.ndarray, shipped: np.ndarray) -> float:
    """Signal to noise of arrays of shape (values, columns), in dB."""
    if not exact.size:
        return math.inf
    noise = float(np.mean((shipped - exact) ** 2, axis=0).sum())
    smallest = _SMALLEST_SPREAD**2 * float(np.mean(exact**2, axis=0).sum())
    if _are_probabilities(exact):
        smallest = max(smallest, _PROBABILITY_SPREAD * exact.shape[1])
    return _decibels(max(float(exact.var(axis=0).sum()), smallest), noise)


def _decibels(signal: float, noise: float) -> float:
    if noise <= 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _gap(values: np.ndarray) -> float | None:
    """The smallest magnitude of a sentinel; None where there are none."""
    magnitudes = np.unique(np.abs(values))
    magnitudes = magnitudes[magnitudes > 0]
    if len(magnitudes) < 2 or magnitudes[-1] < _LARGE:
        return None
    ratios = magnitudes[1:] / magnitudes[:-1]
    wide = np.flatnonzero((ratios >= _GAP) & (magnitudes[1:] >= _LARGE))
    return float(magnitudes[wide[0] + 1]) if len(wide) else None


def _are_probabilities(values: np.ndarray) -> bool:
    return bool(values.size and values.min() >= 0 and values.max() <= 1)


def _agreement(expected: np.ndarray, found: np.ndarray) -> float | None:
    """Share of examples with the same class, for arrays (examples, classes); None where columns are no classes."""
    if expected.ndim != 2 or not expected.size:
        return None
    if _are_probabilities(expected):
        sums = expected.sum(axis=1)
        if expected.shape[1] == 1 or np.abs(sums - 1).max() > _SUM_OF_PROBABILITIES:
            return float(np.mean((expected > 0.5) == (found > 0.5)))
    if expected.shape[1] < 2:
        return None
    return float(np.mean(expected.argmax(axis=1) == found.argmax(axis=1)))
