"""From where to where a model's outputs reach."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.predictions import STAGE_NAME
from tfx_edge.components.core.evaluation.text_file import WriteTextFile

_LIMITS = 'edge_output_limits'
# A quantized or rounded probability may be so far beyond 0 or 1.
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
    """Those of an array of any shape and type.

    Example:
      >>> limits_of(np.array([0.5, -2.0, np.nan]))
      Limits(low=-2.0, high=0.5)
    """
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.number):
        return Limits()
    finite = array[np.isfinite(array)]
    return Limits(float(finite.min()), float(finite.max())) if finite.size else Limits()


def OutputLimitsEvaluator(models: Iterable[str]) -> tfma.evaluators.Evaluator:
    """A TFMA evaluator that watches from where to where outputs reach.

    Args:
      models: names of the ModelSpecs; only '' where there is one model.
    """
    return tfma.evaluators.Evaluator(
        stage_name='WatchLimits', run_after=STAGE_NAME, ptransform=_Watch(tuple(models))
    )


def OutputLimitsWriter(path: str) -> tfma.writers.Writer:
    """A TFMA writer for what OutputLimitsEvaluator saw; `read_output_limits` reads it."""
    return tfma.writers.Writer(
        stage_name='WriteOutputLimits',
        ptransform=tfma.writers.Write(key=_LIMITS, ptransform=WriteTextFile(path, _as_text)),
    )


def read_output_limits(path: str) -> dict[str, dict[str, Limits]]:
    """What a run saw."""
    with tf.io.gfile.GFile(path, 'r') as file:
        content = json.loads(file.read())
    return {
        model: {output: Limits(*limits) for output, limits in outputs.items()}
        for model, outputs in content.items()
    }


class _Watch(beam.PTransform):
    def __init__(self, models: tuple[str, ...]) -> None:
        super().__init__()
        self._models = models

    def expand(self, extracts: Any) -> dict[str, Any]:
        return {
            _LIMITS: extracts
            | 'Limits' >> beam.Map(_of_batch, self._models)
            | 'Widest' >> beam.CombineGlobally(_widest)
        }


def _of_batch(extracts: Mapping[str, Any], models: tuple[str, ...]) -> OutputLimits:
    predictions = extracts[tfma.PREDICTIONS_KEY]
    by_model = predictions if models != ('',) else {'': predictions}
    return {
        model: {
            name: limits_of(values)
            for name, values in (
                by_model[model].items() if isinstance(by_model[model], Mapping) else [('', by_model[model])]
            )
        }
        for model in models
    }


def _widest(found: Iterable[OutputLimits]) -> OutputLimits:
    total: dict[str, dict[str, Limits]] = {}
    for limits in found:
        for model, outputs in limits.items():
            known = total.setdefault(model, {})
            for name, reached in outputs.items():
                known[name] = known.get(name, Limits()) + reached
    return total


def _as_text(found: OutputLimits) -> str:
    # Python's JSON writes and reads infinities.
    return json.dumps(
        {m: {name: [x.low, x.high] for name, x in outputs.items()} for m, outputs in found.items()}
    )
