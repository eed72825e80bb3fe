"""Steps of ours run without what only TFX's own components need, and are given what TFX's entry point would give."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tfx_edge.pipelines.kubeflow import own_steps, step_artifacts
from tfx_edge.pipelines.kubeflow.mounts import ROOT_VARIABLE, Mounts

pytestmark = pytest.mark.slow

_MODEL = pathlib.Path(__file__).parents[2] / 'golden' / 'digits' / 'saved_model'
_SCRIPT = """
import json, sys
from tfx_edge.pipelines.kubeflow import container_step
status = container_step.main(sys.argv[1:])
heavy = ('tfx.v1', 'tfx.components', 'tensorflow_model_analysis', 'tensorflow_transform', 'apache_beam', 'kfp.client')
print(json.dumps([status, [name for name in heavy if name in sys.modules]]))
"""
_EXAMPLES = {
    'name': 'run-3',
    'uri': '/data',
    'type': {'schemaTitle': 'tfx.Examples'},
    'metadata': {
        'span': 3.0,
        'split_names': '["train"]',
        'custom:span': 7.0,
        'payload_format': 'FORMAT_TF_EXAMPLE',
        'share': 0.5,
    },
}


def _message(*artifacts: dict[str, Any]) -> dict[str, pipeline_spec_pb2.ArtifactList]:
    message = json_format.ParseDict({'artifacts': list(artifacts)}, pipeline_spec_pb2.ArtifactList())
    return {'key': message}


def test_pruner_step_imports_only_what_it_needs(tmp_path: pathlib.Path) -> None:
    mounts = Mounts(str(tmp_path))
    shutil.copytree(_MODEL, pathlib.Path(mounts.path('minio://bucket/in')) / 'Format-Serving')
    output_file = tmp_path / 'outputs' / 'output.json'
    artifact = {'type': {'schemaTitle': 'tfx.Model'}}
    executor_input = {
        'inputs': {
            'parameterValues': {
                'pruning': '{"target_sparsity": 0.75, "saved_model_only": true}',
                'fine_tuning': '{"num_steps": 0}',
                'signature_name': '',
                'tfx_edge_version': '1',
            },
            'artifacts': {
                'input_model': {'artifacts': [{**artifact, 'name': '1', 'uri': 'minio://bucket/in'}]}
            },
        },
        'outputs': {
            'artifacts': {'model': {'artifacts': [{**artifact, 'name': '2', 'uri': 'minio://bucket/out'}]}},
            'outputFile': str(output_file),
        },
    }
    arguments = [
        '--artifacts=mounts',
        '--executor_class_path=tfx_edge.components.pruner.executor.Executor',
        f'--json_serialized_invocation_args={json.dumps(executor_input)}',
        '--json_serialized_inputs_spec_args={}',
    ]
    done = subprocess.run(
        [sys.executable, '-c', _SCRIPT, *arguments],
        env={**os.environ, ROOT_VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []], done.stderr
    (answer,) = json.loads(output_file.read_text())['artifacts']['model']['artifacts']
    assert (answer['name'], answer['uri']) == ('2', 'minio://bucket/out')
    assert 0.7 < answer['metadata']['tfx_edge_zeros'] < 0.76
    assert 'tfx_version' in answer['metadata']
    out = pathlib.Path(mounts.path('minio://bucket/out'))
    assert (out / 'Format-Serving' / 'saved_model.pb').read_bytes() == (
        _MODEL / 'saved_model.pb'
    ).read_bytes()


def test_executor_is_given_the_artifacts_that_tfx_would_give() -> None:
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils

    given = _message(_EXAMPLES)
    (expected,) = kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(given)['key']
    (found,) = step_artifacts.from_messages(given)['key']
    assert type(found) is type(expected)
    assert found.mlmd_artifact == expected.mlmd_artifact
    assert (found.span, found.get_int_custom_property('span')) == (3, 7)


def test_launcher_is_answered_as_tfx_would_answer() -> None:
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils

    given = _message(_EXAMPLES)
    names: dict[int, str] = {}
    kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(given, names)
    assert step_artifacts.names_by_id(given) == names
    (artifact,) = step_artifacts.from_messages(given)['key']
    artifact.set_int_custom_property('blessed', 1)
    artifact.set_float_custom_property('db', 12.5)
    artifact.set_string_custom_property('line', 'a line')
    artifact.mlmd_artifact.custom_properties['nothing'].Clear()
    expected = kubeflow_v2_entrypoint_utils.to_runtime_artifact(artifact, names)
    assert step_artifacts.to_message(artifact, names) == expected


def test_integers_arrive_as_integers() -> None:
    executor_input = json_format.ParseDict(
        {'inputs': {'parameterValues': {'count': 3.0, 'share': 3.0, 'text': 'x'}}},
        pipeline_spec_pb2.ExecutorInput(),
    )
    spec = json_format.ParseDict(
        {'parameters': {'count': {'parameterType': 'NUMBER_INTEGER'}}},
        pipeline_spec_pb2.ComponentInputsSpec(),
    )
    properties = own_steps.exec_properties(executor_input.inputs.parameter_values, spec)
    assert {key: (type(value), value) for key, value in properties.items()} == {
        'count': (int, 3),
        'share': (float, 3.0),
        'text': (str, 'x'),
    }
