"""What an example must hold for its metrics to mean something, whichever batch it comes in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.metrics.label_check import LabelCheck


@dataclasses.dataclass(frozen=True)
class ExampleCheck:
    """Checks a batch of examples.

    Attributes:
      labels: checks of labels, for the metrics that read them.
      rounded_inputs: inputs that a file holds as integers, which cannot be NaN or infinite.

    Example:
      >>> ExampleCheck(rounded_inputs=('x',))({'x': np.array([[np.nan]])}, {})
      Traceback (most recent call last):
      ...
      tfx_edge.components.core.errors.EdgeError: feature 'x' holds NaN in an example, ...
    """

    labels: tuple[LabelCheck, ...] = ()
    rounded_inputs: tuple[str, ...] = ()

    def __call__(self, inputs: Mapping[str, np.ndarray], features: Mapping[str, Any]) -> None:
        """Refuses a batch.

        Args:
          inputs: of the models, by name.
          features: by name, labels among them.

        Raises:
          EdgeError: names the feature or label, and what is expected.
        """
        for name in self.rounded_inputs:
            values = inputs[name]
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                held = 'NaN' if np.isnan(values).any() else 'infinity'
                raise EdgeError(
                    f'feature {name!r} holds {held} in an example, which the integers that it is in the .tflite file '
                    'cannot be: the answer would mean nothing. Fill in what is missing, in the examples or in the '
                    f'model itself (where(isnan({name}), 0, {name})).'
                )
        for check in self.labels:
            check(features)
