"""scikit-learn's handwritten digits, divided into those to train on and those to evaluate on."""

from __future__ import annotations

import numpy as np


def load() -> dict[str, np.ndarray]:
    """`x_train` (1438, 8, 8, 1) and `x_eval` (359, ...), float32 in 0..1; `y_train` and `y_eval`, int64."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images / 16.0).astype(np.float32)[..., np.newaxis]
    y = bunch.target.astype(np.int64)
    held_out = np.arange(len(x)) % 5 == 4
    return {'x_train': x[~held_out], 'y_train': y[~held_out], 'x_eval': x[held_out], 'y_eval': y[held_out]}
