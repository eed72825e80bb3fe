"""The float model's answers, which those of a file are compared with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np

from tfx_edge.components.core.calibration.reference import Reference, first_rows
from tfx_edge.components.core.post_training.fidelity import compare

_LOG = logging.getLogger(__name__)
# Below this, two calls with the same inputs differ by more than another order of additions explains.
_SAME_DB = 60.0


def reference_answers(
    answer: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
    inputs: Mapping[str, np.ndarray],
    *,
    held_out: bool,
) -> Reference | None:
    """Runs the float model on some examples.

    Args:
      answer: the model: arrays by output name, of arrays by input name.
      inputs: arrays of shape (examples, ...) by input name; the first 64 at most are taken.
      held_out: whether nothing is calibrated or trained on these examples.

    Returns:
      The answers, strings left out; None, with a line in the log, where the model draws them at random, so that they
      are no measure of a file.

    Example:
      >>> reference_answers(load_model(source), {'image': images}, held_out=True).answers['p'].shape
      (64, 10)
    """
    few = first_rows(inputs)
    answers = {name: values for name, values in answer(few).items() if values.dtype != np.object_}
    again = compare(answers, answer(few))
    if again.db < _SAME_DB:
        assert again.worst_output is not None
        _LOG.warning(
            'the file is not held against the float model: output %r of the SavedModel is another at each call with '
            'the same inputs (dropout that stays on, say)',
            again.worst_output.name,
        )
        return None
    return Reference(few, answers, held_out)
