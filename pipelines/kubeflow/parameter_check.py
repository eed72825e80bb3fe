"""Refuses a step's parameters before TFX and TensorFlow are imported, which takes longer than all checks."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from tfx_edge.pipelines.kubeflow import own_steps

if TYPE_CHECKING:
    from kfp.pipeline_spec import pipeline_spec_pb2


def check_parameters(
    executor: str,
    executor_input: pipeline_spec_pb2.ExecutorInput,
    inputs_spec: pipeline_spec_pb2.ComponentInputsSpec,
) -> None:
    """Calls `check_parameters` of the module `options` beside an executor, where there is one.

    The executor calls the same checks again; what needs TensorFlow or a file is left to it.

    Args:
      executor: of tfx-edge, as module.Class.
      executor_input: the launcher's.
      inputs_spec: the types of the parameters.

    Raises:
      EdgeError: the one that the executor would raise.
    """
    folder = executor.rpartition('.')[0].rpartition('.')[0]
    options = f'{folder}.options'
    if importlib.util.find_spec(options) is None:
        return
    check = getattr(importlib.import_module(options), 'check_parameters', None)
    if check is not None:
        properties = own_steps.exec_properties(executor_input.inputs.parameter_values, inputs_spec)
        given = {key for key, list_ in executor_input.inputs.artifacts.items() if list_.artifacts}
        check(properties, given)
