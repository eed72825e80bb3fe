"""How near a file's answers come to those of the float model, output by output."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError

# A column whose values spread this many times less than the widest one's is judged by itself.
_UNLIKE = 50.0
# Values from so many on, with a gap of this ratio below them, are judged apart from the others: sentinels.
_LARGE, _GAP = 1e4, 1e3
# A spread below this share of the values' size cannot be distinguished from rounding.
_SMALLEST_SPREAD = 1e-3
_SUM_OF_PROBABILITIES = 1e-2
# Of probabilities, a spread of two steps of the int8 that holds them; the rounding alone is then 18 dB below.
_PROBABILITY_SPREAD = 64 / 12 / 256**2


@dataclasses.dataclass(frozen=True)
class OutputFidelity:
    """How near one output comes.

    Attributes:
      name: of the output, in the signature.
      db: power of the answers around their mean over power of the error, in dB; of the column or the magnitude that
        is lost most, where these are unlike. Of integers: 1 over the share of values that differ, of lists without
        repetition (indices of the best few) over that of members that are missing. Infinite without error.
      agreement: share of examples of the same class (the largest column, or the side of 0.5 of a probability), or of
        equal integers; None where the output is of no classes.
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
        """Of the output that is lost most."""
        return min((output.db for output in self.outputs), default=math.inf)

    @property
    def agreement(self) -> float | None:
        """Of the output that agrees least; None where no output is of classes."""
        return min((o.agreement for o in self.outputs if o.agreement is not None), default=None)

    @property
    def lost_most(self) -> OutputFidelity | None:
        """The output that is lost most; None where there is none."""
        return min(self.outputs, key=lambda output: output.db, default=None)


def compare(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> Fidelity:
    """Compares the answers to the same examples.

    The signal is what the answers say about an example: their power around the mean of their column (the last axis).
    A column or a magnitude that is much smaller than the others is judged by itself, so that a score of 0 to 1 beside
    coordinates of 0 to 640, or logits beside the -1e9 of a mask, are not lost unseen.

    Args:
      expected: of the float model, arrays of shape (examples, ...) by output name.
      found: of the file, by the same names and of the same shapes.

    Returns:
      What is lost.

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
    # A model may answer infinity (the logarithm of zero); there the file can only be compared with that.
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
    """The loss of all, and of each part that the rest would hide, with its name."""
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
    """From where on values are sentinels; None where there are none."""
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
    """Share of the same class, of an array (examples, classes); None where there are none."""
    if expected.ndim != 2 or not expected.size:
        return None
    if _are_probabilities(expected):
        sums = expected.sum(axis=1)
        if expected.shape[1] == 1 or np.abs(sums - 1).max() > _SUM_OF_PROBABILITIES:
            return float(np.mean((expected > 0.5) == (found > 0.5)))
    if expected.shape[1] < 2:
        return None
    return float(np.mean(expected.argmax(axis=1) == found.argmax(axis=1)))
