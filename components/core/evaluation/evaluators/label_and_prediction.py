"""The label and the prediction that TFMA hands to its metrics, of one example."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError


def label_and_prediction(
    extracts: dict[str, Any], config: tfma.EvalConfig, model: str, output: str
) -> tuple[np.ndarray, np.ndarray]:
    """The label and prediction that TFMA hands to its metrics; no values where there is none.

    Args:
      extracts: of one example, with TFMA's slice keys.
      config: TFMA's configuration, completed.
      model: name of the ModelSpec; '' where it is alone.
      output: name of the output; '' for the only one.

    Returns:
      Both, in the shapes that they have.

    Raises:
      EdgeError: TFMA finds neither.
    """
    try:
        inputs = tfma.metrics.to_standard_metric_inputs(extracts)
        ((label, prediction, _),) = tfma.metrics.to_label_prediction_example_weight(
            inputs, config, model, output, flatten=False, allow_none=True
        )
    except (ValueError, KeyError) as error:
        raise EdgeError(
            f'TFMA finds no label or prediction for output {output!r} of the {model or "model"} '
            f'({" ".join(str(error).split())[:150]}); '
            'correct label_key, label_keys or output_names of eval_config.'
        ) from error
    return label, prediction
