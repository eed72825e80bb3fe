"""Runs a component's executor on artifacts, in this process."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tfx.dsl.components.base import base_beam_executor, base_executor
from tfx.types import artifact_utils, channel_utils, standard_artifacts

from tfx_edge.components import EdgeEvaluator

# On Beam's runner in this process, without a package of TFX for workers.
_BEAM = ('--runner=FnApiRunner', '--sdk_container_image=none')


def artifact(type_: Any, uri: Any) -> Any:
    """An artifact as a step of TFX leaves it."""
    made = type_()
    made.uri = str(uri)
    made.set_string_custom_property('tfx_version', '1.16.0')
    return made


def examples(folder: pathlib.Path, records: list[bytes]) -> Any:
    """Writes the same records as the splits train and eval."""
    made = artifact(standard_artifacts.Examples, folder)
    made.split_names = artifact_utils.encode_split_names(['train', 'eval'])
    for split in ('train', 'eval'):
        (folder / f'Split-{split}').mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / f'Split-{split}' / 'data')) as writer:
            for record in records:
                writer.write(record)
    return made


def execute(
    component: Any,
    folder: pathlib.Path,
    inputs: Mapping[str, Any],
    *,
    beam_args: Sequence[str] = _BEAM,
    **config: Any,
) -> dict[str, Any]:
    """Makes a component and runs its executor.

    Args:
      component: its class.
      folder: its outputs are written to folders in it.
      inputs: artifacts, or lists of them, by parameter of the constructor.
      beam_args: of the pipelines that it runs.
      **config: its other parameters.

    Returns:
      The output artifacts by key.
    """
    given = {key: value if isinstance(value, list) else [value] for key, value in inputs.items()}
    made = component(**{key: channel_utils.as_channel(value) for key, value in given.items()}, **config)
    if component is not EdgeEvaluator:
        given = {f'input_{key}' if key in ('model', 'calibration') else key: v for key, v in given.items()}
    outputs = {key: [artifact(channel.type, folder / key)] for key, channel in made.outputs.items()}
    for key in outputs:
        (folder / key).mkdir(parents=True)
    executor = made.executor_spec.executor_class
    shared = {'tmp_dir': str(folder), 'unique_id': '1'}
    context = base_executor.BaseExecutor.Context(**shared)
    if issubclass(executor, base_beam_executor.BaseBeamExecutor):
        context = base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=list(beam_args), **shared)
    executor(context).Do(given, outputs, dict(made.exec_properties))
    return {key: found for key, (found,) in outputs.items()}
