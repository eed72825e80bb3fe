"""A QATTrainer that is killed and started again ends with the bytes of an undisturbed one."""

from __future__ import annotations

import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import Any

# Runs the executor as an orchestrator does, in a process that can be killed.
_SCRIPT = """
import logging, sys
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx_edge import components, proto
from tfx_edge.components import artifact_types
from tfx_edge.components.core.compression.training import training_checkpoint

logging.basicConfig(level=logging.INFO, force=True)
model_uri, examples_uri, output_uri = sys.argv[1:]
training_checkpoint.SECONDS_BETWEEN_CHECKPOINTS = 0.1
model, examples, output = standard_artifacts.Model(), standard_artifacts.Examples(), standard_artifacts.Model()
calibration = artifact_types.Calibration()
model.uri, examples.uri, output.uri = model_uri, examples_uri, output_uri + '/model/1'
calibration.uri = output_uri + '/calibration/1'
for artifact in (model, output):
    artifact.set_string_custom_property('tfx_version', '1.16.0')
examples.split_names = artifact_utils.encode_split_names(['train'])
examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
made = components.QATTrainer(
    model=types.Channel(type=standard_artifacts.Model),
    examples=types.Channel(type=standard_artifacts.Examples),
    fine_tuning=proto.FineTuning(num_steps=150),
)
context = base_executor.BaseExecutor.Context(tmp_dir='/tmp', unique_id='1')
executor = made.executor_spec.executor_class(context)
inputs = {'input_model': [model], 'examples': [examples]}
executor.Do(inputs, {'model': [output], 'calibration': [calibration]}, dict(made.exec_properties))
"""


def _start(model: Any, examples: Any, folder: pathlib.Path) -> subprocess.Popen[str]:
    command = [sys.executable, '-c', _SCRIPT, model.uri, examples.uri, str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return errors


def _written(folder: pathlib.Path) -> dict[str, bytes]:
    files = [*(folder / 'model' / '1' / 'Format-Serving' / 'variables').iterdir()]
    files += (folder / 'calibration' / '1').iterdir()
    return {path.name: path.read_bytes() for path in files}


def _has_state(folder: pathlib.Path) -> bool:
    return any((folder / 'model' / '.unfinished').glob('*/checkpoint'))


def test_trainer_killed_at_random_moments_ends_with_the_same_bytes(
    model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    undisturbed, disturbed = tmp_path / 'undisturbed', tmp_path / 'disturbed'
    _finish(_start(model_artifact, examples_artifact, undisturbed))
    moments = random.Random()  # another seed in each run: whatever the moment, the bytes are the same
    for _ in range(2):
        process = _start(model_artifact, examples_artifact, disturbed)
        while not _has_state(disturbed) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (disturbed / 'calibration' / '1').exists()
    errors = _finish(_start(model_artifact, examples_artifact, disturbed))
    assert 'continuing after step' in errors
    assert _written(disturbed) == _written(undisturbed)
    assert {'calibration.json', 'arithmetic.json', 'parity.json'} <= _written(disturbed).keys()
    assert not _has_state(disturbed), 'the state is removed when the output is written'
