"""The smallest and the largest values of a model's outputs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfx_edge.components.core.evaluation.evaluators.predictions import outputs_of

# Quantization and rounding may move a probability beyond 0 or 1 by this much.
_TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True)
class Limits:
    """The smallest and the largest finite value; infinity and minus infinity where there is none."""

    low: float = math.inf
    high: float = -math.inf

    def __add__(self, other: Limits) -> Limits:
        return Limits(min(self.low, other.low), max(self.high, other.high))

    @property
    def may_be_probabilities(self) -> bool:
        """Whether all values are from 0 to 1, but for rounding."""
        return self.low >= -_TOLERANCE and self.high <= 1 + _TOLERANCE


# By name of the model ('' where it is alone) and output ('' for an only one).
OutputLimits = Mapping[str, Mapping[str, Limits]]


def limits_of(values: np.ndarray) -> Limits:
    """The limits of an array of any shape and type.

    Example:
      >>> limits_of(np.array([0.5, -2.0, np.nan]))
      Limits(low=-2.0, high=0.5)
    """
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.number):
        return Limits()
    finite = array[np.isfinite(array)]
    return Limits(float(finite.min()), float(finite.max())) if finite.size else Limits()


def limits_of_batch(extracts: Mapping[str, Any], models: Iterable[str]) -> OutputLimits:
    """From where to where outputs reach in one batch.

    Args:
      extracts: TFMA's, behind the predictions.
      models: names of the ModelSpecs; only '' where there is one model.

    Returns:
      The limits of each output of each model.
    """
    return {
        model: {name: limits_of(values) for name, values in outputs_of(extracts, model).items()}
        for model in models
    }


def widest(found: Iterable[OutputLimits]) -> OutputLimits:
    """The limits that hold all others; the same in any order."""
    total: dict[str, dict[str, Limits]] = {}
    for limits in found:
        for model, outputs in limits.items():
            known = total.setdefault(model, {})
            for name, reached in outputs.items():
                known[name] = known.get(name, Limits()) + reached
    return total


def to_text(found: OutputLimits) -> str:
    """The limits as text that `from_text` reads."""
    # Python's JSON writes and reads infinities.
    return json.dumps(
        {m: {name: [x.low, x.high] for name, x in outputs.items()} for m, outputs in found.items()}
    )


def from_text(text: str) -> OutputLimits:
    """The limits that `to_text` wrote."""
    return {
        model: {output: Limits(*limits) for output, limits in outputs.items()}
        for model, outputs in json.loads(text).items()
    }
