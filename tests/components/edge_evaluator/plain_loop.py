"""What metrics are held against: LiteRT's own interface and scikit-learn, in a plain loop."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from sklearn.metrics import log_loss


def plain_loop(model: bytes, images: np.ndarray) -> np.ndarray:
    """Predictions by LiteRT's own interface, one image at a time, after the quantization specification."""
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images[:, np.newaxis]:
        if source['dtype'] != np.float32:
            scale, zero_point = source['quantization']
            limits = np.iinfo(source['dtype'])
            stored = np.round(image / np.float32(scale)).astype(np.int64) + zero_point
            image = np.clip(stored, limits.min, limits.max).astype(source['dtype'])
        interpreter.set_tensor(source['index'], image)
        interpreter.invoke()
        values = interpreter.get_tensor(sink['index'])
        if sink['dtype'] != np.float32:
            scale, zero_point = sink['quantization']
            values = (values.astype(np.float32) - zero_point) * np.float32(scale)
        rows.append(values[0])
    return np.stack(rows)


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """scikit-learn's; Keras keeps probabilities above 1e-7 and rescales them to sum 1."""
    kept = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return log_loss(labels, kept / kept.sum(axis=1, keepdims=True), labels=list(range(10)))
