"""Runs executors as an orchestrator does, each in a process that can be killed; it imports TFX once, and forks.

Reads requests as lines of JSON, and answers each with the process's number, then with `[number, status]` when it ends.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import sys
import tempfile
import traceback
from collections.abc import Mapping
from typing import Any

import tensorflow_model_analysis as tfma
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, channel_utils, standard_artifacts

from tests.soak.marks import FAILED, MARK
from tfx_edge import components, proto
from tfx_edge.components.core.compression.training import training_checkpoint
from tfx_edge.components.tfx_interface import artifact_types
from tfx_edge.pipelines.failure import one_line

_BEAM = ['--runner=FnApiRunner', '--sdk_container_image=none']
_STEPS = {'Pruner': 250, 'Clusterer': 250, 'QATTrainer': 150}


def make_component(name: str, inputs: Mapping[str, Any]) -> Any:
    """A component of tfx-edge, configured to take seconds."""
    channels = {key: channel_utils.as_channel([artifact]) for key, artifact in inputs.items()}
    if name in _STEPS:
        return getattr(components, name)(**channels, fine_tuning=proto.FineTuning(num_steps=_STEPS[name]))
    if name == 'TFLiteQuantizer':
        return components.TFLiteQuantizer(**channels, quantization=proto.Quantization(mode='INT8'))
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name='SparseCategoricalAccuracy')])],
    )
    return components.EdgeEvaluator(**channels, eval_config=config)


def _input_artifacts(request: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: _artifact(standard_artifacts.Model, uri) for key, uri in request['models'].items()}
    examples = _artifact(standard_artifacts.Examples, request['examples'])
    examples.split_names = artifact_utils.encode_split_names(['train', 'eval'])
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    return {**given, 'examples': examples}


def _artifact(type_: Any, uri: str) -> Any:
    made = type_()
    made.uri = uri
    if type_ is standard_artifacts.Model:
        made.set_string_custom_property('tfx_version', '1.16.0')
    return made


def _execute(request: Mapping[str, Any]) -> None:
    name, inputs = request['component'], _input_artifacts(request)
    made = make_component(name, inputs)
    outputs = {
        key: [_artifact(channel.type, os.path.join(request['output'], key, request['number']))]
        for key, channel in made.outputs.items()
    }
    for (artifact,) in outputs.values():
        os.makedirs(artifact.uri, exist_ok=True)
    if name != 'EdgeEvaluator':
        inputs = {'input_model' if key == 'model' else key: value for key, value in inputs.items()}
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=[*_BEAM, *request['beam']], tmp_dir=tempfile.gettempdir(), unique_id='1'
    )
    lists: dict[str, list[types.Artifact]] = {key: [value] for key, value in inputs.items()}
    made.executor_spec.executor_class(context).Do(lists, outputs, dict(made.exec_properties))


def _fork(request: Mapping[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        log = os.open(request['log'], os.O_CREAT | os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.environ.update({MARK: request['mark'], 'TMPDIR': request['temporary']})
        tempfile.tempdir = None
        logging.basicConfig(level=logging.INFO, force=True)
        _execute(request)
        status = 0
    except BaseException as error:  # noqa: BLE001 - the process ends here, whatever it is
        traceback.print_exc()
        print(f'\n{FAILED}{one_line(error)}', file=sys.stderr)
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    """Serves requests until its input ends."""
    training_checkpoint.SECONDS_BETWEEN_CHECKPOINTS = 0.1
    for name in ('Pruner', 'Clusterer', 'QATTrainer', 'TFLiteQuantizer', 'EdgeEvaluator'):
        getattr(components, name)
    artifact_types.EdgeEvaluation()
    running: set[int] = set()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.buffer.fileno(), selectors.EVENT_READ)
        pending = b''
        while True:
            if selector.select(0.05):
                part = os.read(0, 1 << 16)
                if not part:
                    return
                *lines, pending = (pending + part).split(b'\n')
                for line in lines:
                    pid = _fork(json.loads(line))
                    running.add(pid)
                    print(pid, flush=True)
            for pid in [*running]:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    running.remove(pid)
                    print(json.dumps([pid, os.waitstatus_to_exitcode(status)]), flush=True)


if __name__ == '__main__':
    main()
