"""The answers of a SavedModel that a file is held against."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.calibration.reference import Reference
from tfx_edge.components.core.evaluation.models import ModelSource, load_model
from tfx_edge.components.core.post_training.fidelity import compare

_LOG = logging.getLogger(__name__)
# Below, two calls with the same inputs differ by more than the order of additions makes them.
_SAME_DB = 60.0


def float_answers(
    saved_model_dir: str, signature_name: str, inputs: Mapping[str, np.ndarray], *, held_out: bool
) -> Reference | None:
    """Runs a SavedModel on examples.

    Args:
      saved_model_dir: its folder.
      signature_name: of a dense signature.
      inputs: arrays of shape (examples, ...) by input name.
      held_out: whether nothing is calibrated on these examples.

    Returns:
      The answers; None, with a line in the log, where it draws them at random, so that they are no measure of a file.

    Raises:
      EdgeError: the signature is not there or not dense.

    Example:
      >>> float_answers('/models/digits', 'serving_default', {'image': images}, held_out=True).answers['p'].shape
      (64, 10)
    """
    model = load_model(ModelSource(saved_model_dir, False, signature_name))
    answers = {name: values for name, values in model(inputs).items() if values.dtype != np.object_}
    again = compare(answers, model(inputs))
    if again.db < _SAME_DB:
        assert again.lost_most is not None
        _LOG.warning(
            'the file is not held against the float model: output %r of the SavedModel is another at each call with the '
            'same inputs (dropout that stays on, say)',
            again.lost_most.name,
        )
        return None
    return Reference(inputs, answers, held_out)
