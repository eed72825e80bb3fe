"""A step that is killed and started again ends with the bytes of an undisturbed one."""

from __future__ import annotations

import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

# Runs an executor as an orchestrator does, in a process that can be killed.
_SCRIPT = """
import logging, sys
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx_edge import components, proto
from tfx_edge.components.core.compression.training import training_checkpoint

logging.basicConfig(level=logging.INFO, force=True)
component, model_uri, examples_uri, output_uri = sys.argv[1:]
training_checkpoint.SECONDS_BETWEEN_CHECKPOINTS = 0.1
model, examples, output = standard_artifacts.Model(), standard_artifacts.Examples(), standard_artifacts.Model()
model.uri, examples.uri, output.uri = model_uri, examples_uri, output_uri
for artifact in (model, output):
    artifact.set_string_custom_property('tfx_version', '1.16.0')
examples.split_names = artifact_utils.encode_split_names(['train'])
examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
made = getattr(components, component)(
    model=types.Channel(type=standard_artifacts.Model),
    examples=types.Channel(type=standard_artifacts.Examples),
    fine_tuning=proto.FineTuning(num_steps=250),
)
context = base_executor.BaseExecutor.Context(tmp_dir='/tmp', unique_id='1')
executor = made.executor_spec.executor_class(context)
executor.Do({'input_model': [model], 'examples': [examples]}, {'model': [output]}, dict(made.exec_properties))
"""


def _start(component: str, model: Any, examples: Any, output: pathlib.Path) -> subprocess.Popen[str]:
    command = [sys.executable, '-c', _SCRIPT, component, model.uri, examples.uri, str(output)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return errors


def _variables(output: pathlib.Path) -> dict[str, bytes]:
    folder = output / 'Format-Serving' / 'variables'
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _steps_done(output: pathlib.Path) -> bool:
    return any((output.parent / '.unfinished').glob('*/checkpoint'))


@pytest.mark.parametrize('component', ['Pruner', 'Clusterer'])
def test_step_killed_at_random_moments_ends_with_the_same_bytes(
    component: str, model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    undisturbed = tmp_path / 'undisturbed' / '1'
    _finish(_start(component, model_artifact, examples_artifact, undisturbed))
    moments = random.Random()  # another seed in each run: whatever the moment, the bytes are the same
    outputs = [tmp_path / 'disturbed' / str(number) for number in range(4)]
    for output in outputs[:3]:
        process = _start(component, model_artifact, examples_artifact, output)
        while not _steps_done(output) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not output.joinpath('Format-Serving').exists()
    errors = _finish(_start(component, model_artifact, examples_artifact, outputs[3]))
    assert 'continuing after step' in errors
    assert _variables(outputs[3]) == _variables(undisturbed)
    assert not _steps_done(outputs[3]), 'the state is removed when the output is written'
