"""A component that writes down what it was given."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import component_spec, standard_artifacts

from tfx_edge import proto

MESSAGES = [
    proto.Pruning,
    proto.Clustering,
    proto.QuantizationAwareTraining,
    proto.FineTuning,
    proto.Quantization,
    proto.EdgeEvaluation,
]


class RecorderExecutor(base_executor.BaseExecutor):
    """Fails with `fail` as its message, or if there is no file `needs`; with `elsewhere` it writes nothing."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        if 'elsewhere' in exec_properties:
            return
        (recorded,) = output_dict['recorded']
        folder = pathlib.Path(recorded.uri)
        inputs = {key: [artifact.uri, artifact.type_name] for key, (artifact,) in input_dict.items()}
        files = {
            key: sorted(os.listdir(artifact.uri)) if os.path.isdir(artifact.uri) else None
            for key, (artifact,) in input_dict.items()
        }
        given = {
            'inputs': inputs,
            'files': files,
            'outputs': sorted(output_dict),
            'properties': exec_properties,
        }
        (folder / 'given.json').write_text(json.dumps(given))
        recorded.set_int_custom_property('blessed', 1)
        recorded.set_string_custom_property('current_model', f'{recorded.uri}/inside')
        recorded.set_string_custom_property('elsewhere', '/data/x')
        for (model,) in input_dict.values():
            recorded.set_int_custom_property('current_model_id', model.id)
        recorded.mlmd_artifact.custom_properties['nothing'].Clear()
        if 'fail' in exec_properties:
            raise ValueError(f'two lines\n{exec_properties["fail"]}')
        if 'needs' in exec_properties:
            pathlib.Path(exec_properties['needs']).read_text()


class RecorderSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        **{
            f'{way}_{message.__name__}': component_spec.ExecutionParameter(type=str, optional=True)
            for way in ('constant', 'runtime')
            for message in MESSAGES
        },
        'count': component_spec.ExecutionParameter(type=int, optional=True),
        'share': component_spec.ExecutionParameter(type=float, optional=True),
        'text': component_spec.ExecutionParameter(type=str, optional=True),
        'fail': component_spec.ExecutionParameter(type=str, optional=True),
        'needs': component_spec.ExecutionParameter(type=str, optional=True),
        'elsewhere': component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {'model': component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True)}
    OUTPUTS = {'recorded': component_spec.ChannelParameter(type=standard_artifacts.Model)}


class Recorder(base_component.BaseComponent):
    SPEC_CLASS = RecorderSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(RecorderExecutor)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(RecorderSpec(recorded=tfx.dsl.Channel(type=standard_artifacts.Model), **arguments))
