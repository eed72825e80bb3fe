"""Metrics that are means over examples: the value of each example, as TFMA and Keras compute it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_EPSILON = np.float32(1e-7)  # Keras's
_ONE = np.float32(1)

_Value = Callable[..., float]


@dataclasses.dataclass(frozen=True)
class Kind:
    """How the metrics of one class are computed.

    Attributes:
      value: takes a label, a prediction and the settings; returns the example's value.
      settings: names of what its config may set, with Keras's defaults.
      is_loss: whether a smaller value is the better one.
      is_share: whether the value of an example is 0 or 1, if it has one prediction for each class.
    """

    value: _Value
    settings: Mapping[str, Any]
    is_loss: bool = False
    is_share: bool = False


@dataclasses.dataclass(frozen=True)
class ExampleMetric:
    """A metric that is a mean over examples, with its settings.

    Attributes:
      class_name: TFMA's (and Keras's), a key of KINDS.
      settings: what its config sets.

    Example:
      >>> accuracy = ExampleMetric('SparseTopKCategoricalAccuracy', {'k': 2})
      >>> accuracy(np.array([1]), np.array([0.1, 0.3, 0.6]))
      1.0
    """

    class_name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_loss(self) -> bool:
        """Whether a smaller value is the better one."""
        return KINDS[self.class_name].is_loss

    def is_share(self, predictions: int | None) -> bool:
        """Whether the value of each example is 0 or 1.

        Args:
          predictions: how many values the output has in each example; None if that is open.
        """
        # Of several labels in one example, some may be right.
        several = self.class_name == 'BinaryAccuracy' and predictions != 1
        return KINDS[self.class_name].is_share and not several

    def __call__(self, label: np.ndarray, prediction: np.ndarray) -> float:
        """The example's value.

        Args:
          label: (1,), or as many as predictions.
          prediction: (predictions,). Where one is NaN, an accuracy is 0 and a loss NaN.

        Returns:
          The value.
        """
        kind = KINDS[self.class_name]
        prediction = np.ascontiguousarray(prediction, np.float32).ravel()
        if np.isnan(prediction).any():
            return np.nan if kind.is_loss else 0.0
        return float(kind.value(np.ravel(label), prediction, **{**kind.settings, **self.settings}))


def _top(label: np.ndarray, prediction: np.ndarray) -> float:
    return float(np.argmax(label) == np.argmax(prediction))


def _sparse_top(label: np.ndarray, prediction: np.ndarray) -> float:
    return float(label.item() == np.argmax(prediction))


def _top_k(label: np.ndarray, prediction: np.ndarray, k: int) -> float:
    return _sparse_top_k(np.argmax(label), prediction, k)


def _sparse_top_k(label: Any, prediction: np.ndarray, k: int) -> float:
    # TensorFlow's in_top_k: what equals the k-th value is among the first k.
    place = int(label.item())
    if not 0 <= place < len(prediction) or not np.isfinite(prediction).all():
        return 0.0
    return float(np.count_nonzero(prediction > prediction[place]) < k)


def _binary(label: np.ndarray, prediction: np.ndarray, threshold: float) -> float:
    return float(np.mean((prediction > np.float32(threshold)) == label))


def _squared_error(label: np.ndarray, prediction: np.ndarray) -> float:
    return float(np.mean(np.square(_dense(label, prediction) - prediction.astype(np.float64))))


def _absolute_error(label: np.ndarray, prediction: np.ndarray) -> float:
    return float(np.mean(np.abs(_dense(label, prediction) - prediction.astype(np.float64))))


def _sparse_cross_entropy(label: np.ndarray, prediction: np.ndarray, from_logits: bool) -> float:
    # Keras uses the logarithms of probabilities as logits, which scales the probabilities to the sum 1.
    logits = prediction.astype(np.float64) if from_logits else np.log(_kept(prediction).astype(np.float64))
    place = int(label.item())
    return _log_sum(logits) - logits[place] if 0 <= place < len(logits) else np.nan


def _cross_entropy(
    label: np.ndarray, prediction: np.ndarray, from_logits: bool, label_smoothing: float
) -> float:
    smooth = label * (1.0 - label_smoothing) + label_smoothing / len(prediction)
    if from_logits:
        logits = prediction.astype(np.float64)
        return np.sum(smooth * (_log_sum(logits) - logits))
    with np.errstate(invalid='ignore', divide='ignore'):
        return -np.sum(smooth * np.log(_kept(prediction / prediction.sum()).astype(np.float64)))


def _binary_cross_entropy(
    label: np.ndarray, prediction: np.ndarray, from_logits: bool, label_smoothing: float
) -> float:
    smooth = label * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        logits = prediction.astype(np.float64)
        return float(np.mean(np.maximum(logits, 0) - logits * smooth + np.log1p(np.exp(-np.abs(logits)))))
    # In float32 up to the logarithm, as Keras: near 0 and 1 its rounding is larger than epsilon.
    kept = _kept(prediction)
    right = np.log((kept + _EPSILON).astype(np.float64))
    wrong = np.log((_ONE - kept + _EPSILON).astype(np.float64))
    return float(-np.mean(smooth * right + (1 - smooth) * wrong))


def _kept(probabilities: np.ndarray) -> np.ndarray:
    return np.clip(probabilities, _EPSILON, _ONE - _EPSILON)


def _log_sum(logits: np.ndarray) -> float:
    largest = logits.max()
    return largest + np.log(np.sum(np.exp(logits - largest)))


def _dense(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """One value for each prediction: TFMA reads a single label beside several predictions as a class."""
    if label.size == prediction.size:
        return label.astype(np.float64)
    return (np.arange(prediction.size) == label.item()).astype(np.float64)


KINDS: Mapping[str, Kind] = {
    'BinaryAccuracy': Kind(_binary, {'threshold': 0.5}, is_share=True),
    'BinaryCrossentropy': Kind(
        _binary_cross_entropy, {'from_logits': False, 'label_smoothing': 0.0}, is_loss=True
    ),
    'CategoricalAccuracy': Kind(_top, {}, is_share=True),
    'CategoricalCrossentropy': Kind(
        _cross_entropy, {'from_logits': False, 'label_smoothing': 0.0}, is_loss=True
    ),
    'MeanAbsoluteError': Kind(_absolute_error, {}, is_loss=True),
    'MeanSquaredError': Kind(_squared_error, {}, is_loss=True),
    'SparseCategoricalAccuracy': Kind(_sparse_top, {}, is_share=True),
    'SparseCategoricalCrossentropy': Kind(_sparse_cross_entropy, {'from_logits': False}, is_loss=True),
    'SparseTopKCategoricalAccuracy': Kind(_sparse_top_k, {'k': 5}, is_share=True),
    'TopKCategoricalAccuracy': Kind(_top_k, {'k': 5}, is_share=True),
}
