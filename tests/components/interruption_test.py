"""A step that is killed and started again ends with the bytes of an undisturbed one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tfx_edge.components.core.isolation import server_handle

pytestmark = pytest.mark.slow

# Runs executors as an orchestrator does, each in a process that can be killed. It imports TFX once, and forks.
_SCRIPT = """
import json, logging, os, sys, traceback
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx_edge import components, proto
from tfx_edge.components.tfx_interface import artifact_types
from tfx_edge.components.core.compression.training import training_checkpoint

training_checkpoint.SECONDS_BETWEEN_CHECKPOINTS = 0.1

def run(component, num_steps, model_uri, examples_uri, output_uri, calibration_uri):
    model, examples = standard_artifacts.Model(), standard_artifacts.Examples()
    output, calibration = standard_artifacts.Model(), artifact_types.Calibration()
    model.uri, examples.uri, output.uri, calibration.uri = model_uri, examples_uri, output_uri, calibration_uri
    for artifact in (model, output):
        artifact.set_string_custom_property('tfx_version', '1.16.0')
    examples.split_names = artifact_utils.encode_split_names(['train'])
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    made = getattr(components, component)(
        model=types.Channel(type=standard_artifacts.Model),
        examples=types.Channel(type=standard_artifacts.Examples),
        fine_tuning=proto.FineTuning(num_steps=num_steps),
    )
    context = base_executor.BaseExecutor.Context(tmp_dir='/tmp', unique_id='1')
    inputs, outputs = {'input_model': [model], 'examples': [examples]}, {'model': [output]}
    if component == 'QATTrainer':
        outputs['calibration'] = [calibration]
    made.executor_spec.executor_class(context).Do(inputs, outputs, dict(made.exec_properties))

for component in ('Pruner', 'Clusterer', 'QATTrainer'):
    getattr(components, component)
for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            log = os.open(request.pop('log'), os.O_CREAT | os.O_WRONLY)
            os.dup2(log, 1), os.dup2(log, 2)
            logging.basicConfig(level=logging.INFO, force=True)
            run(**request)
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_STEPS = {'Pruner': 250, 'Clusterer': 250, 'QATTrainer': 150}
_KILLED = {'Pruner': 3, 'Clusterer': 3, 'QATTrainer': 2}


@dataclasses.dataclass(frozen=True)
class _Output:
    """Where a run writes; the runs of a step have folders side by side."""

    model: pathlib.Path
    calibration: pathlib.Path

    def written(self) -> dict[str, bytes]:
        files = [*(self.model / 'Format-Serving' / 'variables').iterdir(), *self.calibration.glob('*')]
        return {path.name: path.read_bytes() for path in files}

    def has_state(self) -> bool:
        return any((self.model.parent / '.unfinished').glob('*/checkpoint'))


@dataclasses.dataclass(frozen=True)
class _Started:
    """A run of an executor in a process of its own."""

    pid: int
    log: pathlib.Path
    server: subprocess.Popen[str]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self._status() == -signal.SIGKILL, self.log.read_text()

    def finish(self) -> str:
        status, log = self._status(), self.log.read_text()
        assert status == 0, log
        return log

    def continues(self) -> bool:
        return self.log.exists() and 'continuing after step' in self.log.read_text()

    def runs(self) -> bool:
        return pathlib.Path(f'/proc/{self.pid}').exists()

    def _status(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())


@pytest.fixture(scope='module')
def server() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported all that executors need."""
    command = [sys.executable, '-W', 'ignore', '-c', _SCRIPT]
    # With one thread it forks safely.
    environment = {**os.environ, **server_handle.THREADLESS}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        with contextlib.suppress(BrokenPipeError):
            process.communicate()


def _outputs(folder: pathlib.Path, count: int) -> list[_Output]:
    return [
        _Output(folder / 'model' / str(number), folder / 'calibration' / str(number))
        for number in range(count)
    ]


@pytest.mark.parametrize('component', ['Pruner', 'Clusterer', 'QATTrainer'])
def test_step_killed_at_random_moments_ends_with_the_same_bytes(
    component: str,
    server: subprocess.Popen[str],
    model_artifact: Any,
    examples_artifact: Any,
    tmp_path: pathlib.Path,
) -> None:
    def start(output: _Output) -> _Started:
        assert server.stdin is not None
        assert server.stdout is not None
        log = tmp_path / f'log_{len(list(tmp_path.glob("log_*")))}'
        request = {
            'component': component,
            'num_steps': _STEPS[component],
            'model_uri': model_artifact.uri,
            'examples_uri': examples_artifact.uri,
            'output_uri': str(output.model),
            'calibration_uri': str(output.calibration),
            'log': str(log),
        }
        server.stdin.write(json.dumps(request) + '\n')
        server.stdin.flush()
        return _Started(int(server.stdout.readline()), log, server)

    (undisturbed,) = _outputs(tmp_path / 'undisturbed', 1)
    start(undisturbed).finish()
    moments = random.Random()  # another seed in each run: whatever the moment, the bytes are the same
    *killed, last = _outputs(tmp_path / 'disturbed', _KILLED[component] + 1)
    for number, output in enumerate(killed):
        started = start(output)
        while started.runs() and not (started.continues() if number else output.has_state()):
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 0.2))
        started.kill()
        assert not output.model.joinpath('Format-Serving').exists()
        assert not output.calibration.exists()
    assert 'continuing after step' in start(last).finish()
    assert last.written() == undisturbed.written()
    if component == 'QATTrainer':
        assert {'calibration.json', 'arithmetic.json', 'parity.json'} <= last.written().keys()
    assert not last.has_state(), 'the state is removed when the output is written'
