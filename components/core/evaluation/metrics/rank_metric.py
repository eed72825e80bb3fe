"""A metric that puts examples in order, on scores of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics.metric_types import Preprocessor, registered_metrics

# Scores up to this size stay different, in steps of 0.3 % of their size.
_LARGEST = 1e6
_READ = (tfma.LABELS_KEY, tfma.PREDICTIONS_KEY, tfma.EXAMPLE_WEIGHTS_KEY)


class RankMetric(tfma.metrics.Metric):
    """A metric of TFMA that goes by the order of examples, such as AUC, on scores beyond 0 to 1.

    TFMA counts scores in 10,000 equal bins from 0 to 1, and all that lies beyond in the outermost. Only which scores
    are larger than which decides, so any rising function may be applied to them first; `spread` maps
    them over 0 to 1, finely near 0 and in steps of 0.3 % of their size elsewhere.

    Args:
      class_name: of the metric, one of TFMA's own.
      settings: of the metric.
      name: under which its value is reported; None for the metric's own.

    Example:
      >>> RankMetric('AUC', {}).name
      'auc'
    """

    def __init__(self, class_name: str, settings: Mapping[str, Any], name: str | None = None) -> None:
        named = {**settings, 'name': name} if name else dict(settings)
        self._inner = registered_metrics()[class_name](**named)
        self._config = {'class_name': class_name, 'settings': dict(settings)}
        super().__init__(self._inner.create_computations_fn, name=self._inner.name)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same metric again."""
        return {**self._config, 'name': self.name}

    def computations(self, *args: Any, **kwargs: Any) -> list[Any]:
        """See `tfma.metrics.Metric`."""
        return [_on_spread(computation) for computation in self._inner.computations(*args, **kwargs)]


def spread(scores: np.ndarray) -> np.ndarray:
    """Maps all numbers to 0 to 1 by a rising function; float64, of the same shape."""
    scaled = np.arcsinh(np.asarray(scores, np.float64)) / math.asinh(_LARGEST)
    return 0.5 + 0.5 * np.clip(scaled, -1.0, 1.0)


class _Spread(Preprocessor):
    """Gives a metric the spread scores for predictions."""

    def process(self, extracts: Mapping[str, Any]) -> Iterator[Any]:
        read = {key: extracts[key] for key in _READ if key in extracts}
        read[tfma.PREDICTIONS_KEY] = _mapped(read[tfma.PREDICTIONS_KEY])
        yield tfma.metrics.to_standard_metric_inputs(read)


def _mapped(predictions: Any) -> Any:
    if isinstance(predictions, Mapping):
        return {name: _mapped(values) for name, values in predictions.items()}
    return spread(predictions) if np.issubdtype(np.asarray(predictions).dtype, np.number) else predictions


def _on_spread(computation: Any) -> Any:
    if not isinstance(computation, tfma.metrics.MetricComputation) or computation.preprocessors:
        return computation
    return tfma.metrics.MetricComputation(
        keys=computation.keys, preprocessors=[_Spread()], combiner=computation.combiner
    )
