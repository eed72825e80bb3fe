"""Runs an executor of tfx-edge as TFX's entry point for Kubeflow does, without what only TFX's own executors need.

TFX's entry point imports every component of TFX, with TFMA, TFDV, Transform and Beam, whatever it is to run; a step of
ours begins in half the time without them. Executors of others are left to TFX's.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf import struct_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2

_PACKAGE = 'tfx_edge.components.'
_LOG = logging.getLogger(__name__)


def is_own(executor: str) -> bool:
    """Whether an executor, given as module.Class, is one of tfx-edge's components."""
    return executor.startswith(_PACKAGE)


def load(executor: str) -> type[Any]:
    """Imports an executor's class, and with it what its step needs."""
    module, _, name = executor.rpartition('.')
    with collection_paused():
        found: type[Any] = getattr(importlib.import_module(module), name)
    return found


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Has the garbage collector pass over all that the `with` block makes, such as modules, which stay anyway.

    Searching them again and again takes a fifth of the time that TensorFlow's import takes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Otherwise the first collection afterwards searches all of them at once.
        gc.freeze()
        if was_on:
            gc.enable()


def run(
    executor: str,
    beam_args: Sequence[str],
    executor_input: pipeline_spec_pb2.ExecutorInput,
    inputs_spec: pipeline_spec_pb2.ComponentInputsSpec,
) -> None:
    """Runs an executor, and writes the output file that TFX's entry point would write.

    Args:
      executor: as module.Class.
      beam_args: for Apache Beam.
      executor_input: what the launcher gave, made fit for TFX.
      inputs_spec: the types of the parameters.

    Raises:
      Exception: whatever the executor raised; no output file is written then.
    """
    from absl import logging as absl_logging
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.dsl.io import fileio
    from tfx.orchestration.portable import outputs_utils

    from tfx_edge.pipelines.kubeflow import step_artifacts

    absl_logging.set_verbosity(absl_logging.INFO)
    inputs = step_artifacts.from_messages(executor_input.inputs.artifacts)
    outputs = step_artifacts.from_messages(executor_input.outputs.artifacts)
    properties = exec_properties(executor_input.inputs.parameter_values, inputs_spec)
    _LOG.info(
        'Executor %s do: inputs: %s, outputs: %s, exec_properties: %s', executor, inputs, outputs, properties
    )
    _executor(load(executor), beam_args, executor_input.outputs.output_file).Do(inputs, outputs, properties)
    outputs_utils.tag_output_artifacts_with_version(outputs)
    names = step_artifacts.names_by_id(executor_input.inputs.artifacts, executor_input.outputs.artifacts)
    answer = pipeline_spec_pb2.ExecutorOutput()
    for key, (artifact,) in outputs.items():
        answer.artifacts[key].artifacts.append(step_artifacts.to_message(artifact, names))
    fileio.makedirs(os.path.dirname(executor_input.outputs.output_file))
    with fileio.open(executor_input.outputs.output_file, 'w') as file:
        file.write(json_format.MessageToJson(answer))


def exec_properties(
    parameters: Mapping[str, struct_pb2.Value], inputs_spec: pipeline_spec_pb2.ComponentInputsSpec
) -> dict[str, Any]:
    """A step's parameters as its executor gets them; an integer comes from the launcher as a double."""
    from kfp.pipeline_spec import pipeline_spec_pb2

    integer = pipeline_spec_pb2.ParameterType.NUMBER_INTEGER
    return {
        key: int(getattr(value, value.WhichOneof('kind')))
        if key in inputs_spec.parameters and inputs_spec.parameters[key].parameter_type == integer
        else getattr(value, value.WhichOneof('kind'))
        for key, value in parameters.items()
    }


def _executor(cls: type[Any], beam_args: Sequence[str], output_file: str) -> Any:
    """An instance with the context that TFX's entry point gives; only one that runs on Beam takes its arguments."""
    folder = os.path.dirname(output_file)
    on_beam = 'beam_pipeline_args' in inspect.signature(cls.Context).parameters
    context = cls.Context(
        **{'beam_pipeline_args' if on_beam else 'extra_flags': list(beam_args)},
        unique_id=os.path.basename(folder),
        tmp_dir=os.path.join(folder, '.temp'),
    )
    return cls(context)
