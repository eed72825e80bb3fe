"""Kubeflow's driver and launcher as far as a step sees them, after backend/src/v2/{driver,component} of KFP 2.

The object store is a folder: what a step is to find there was uploaded by the step before.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.pipelines.kubeflow.mounts import ROOT_VARIABLE, Mounts


@dataclasses.dataclass
class Launcher:
    """Gives steps their arguments, and takes their answers.

    Args:
      spec: a compiled PipelineSpec.
      folder: for the launcher's mounts and output files.
      parameters: of the run; those not given have their defaults.
    """

    spec: Mapping[str, Any]
    folder: pathlib.Path
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    artifacts: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def mounts(self) -> Mounts:
        return Mounts(str(self.folder))

    def output_file(self, task: str) -> pathlib.Path:
        return self.folder / 'outputs' / task / 'output_metadata.json'

    def arguments(self, task: str) -> list[str]:
        """The command line of a step, without `python -m MODULE`."""
        container = self._executor(task)['container']
        assert container['command'][:3] == ['python', '-m', 'tfx_edge.pipelines.kubeflow.step']
        text = json.dumps(self.executor_input(task))
        return [part.replace('{{$}}', text) for part in [*container['command'][3:], *container['args']]]

    def executor_input(self, task: str) -> dict[str, Any]:
        """As `resolveInputs` and `provisionOutputs` make it: inputs without a type, numbers as doubles."""
        inputs = self._tasks[task].get('inputs', {})
        return {
            'inputs': {
                'parameterValues': {
                    name: self._value(source) for name, source in inputs.get('parameters', {}).items()
                },
                'artifacts': {
                    name: {'artifacts': [self._input(source['taskOutputArtifact'])]}
                    for name, source in inputs.get('artifacts', {}).items()
                },
            },
            'outputs': {
                'artifacts': {name: {'artifacts': [output]} for name, output in self._outputs(task).items()},
                'outputFile': str(self.output_file(task)),
            },
        }

    def run(self, task: str) -> None:
        """Runs a step in a process of its own, whose mounts hold its inputs and nothing else."""
        self._empty_mounts()
        for artifacts in self.executor_input(task)['inputs']['artifacts'].values():
            for artifact in artifacts['artifacts']:
                self._copy(self._stored(artifact['uri']), pathlib.Path(self.mounts.path(artifact['uri'])))
        done = subprocess.run(
            [sys.executable, '-m', 'tfx_edge.pipelines.kubeflow.step', *self.arguments(task)],
            env={**os.environ, ROOT_VARIABLE: str(self.folder)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f'{task}: {done.stderr[-5000:]}'
        self.publish(task)
        for (producer, _), artifact in self.artifacts.items():
            if producer == task:
                self._copy(pathlib.Path(self.mounts.path(artifact['uri'])), self._stored(artifact['uri']))
        self._empty_mounts()

    def stored(self, task: str, key: str) -> pathlib.Path:
        """Where the files of an output lie when its step has run."""
        return self._stored(self.artifacts[task, key]['uri'])

    def publish(self, task: str) -> None:
        """As `uploadOutputArtifacts` does: what the step says of an output goes over what was planned."""
        answer = json.loads(self.output_file(task).read_text())
        for key, planned in self._outputs(task).items():
            said = answer.get('artifacts', {}).get(key, {}).get('artifacts', [{}])[0]
            uri = said.get('uri', planned['uri'])
            assert uri.startswith(('minio://', 's3://', 'gs://')), f'{uri} would not be uploaded'
            self.artifacts[task, key] = {
                'name': str(len(self.artifacts) + 1),
                'uri': uri,
                'metadata': as_published(said.get('metadata', {})),
            }

    def _stored(self, uri: str) -> pathlib.Path:
        return self.folder / 'store' / uri.replace('://', '/')

    def _empty_mounts(self) -> None:
        for mount in ('minio', 's3', 'gcs'):
            shutil.rmtree(self.folder / mount, ignore_errors=True)

    @staticmethod
    def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
        """Files alone, as in an object store, which knows no empty folder."""
        for path in source.rglob('*'):
            if path.is_file():
                inside = target / path.relative_to(source)
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, inside)

    @property
    def _tasks(self) -> Mapping[str, Any]:
        return self.spec['root']['dag']['tasks']

    def _component(self, task: str) -> Mapping[str, Any]:
        return self.spec['components'][self._tasks[task]['componentRef']['name']]

    def _executor(self, task: str) -> Mapping[str, Any]:
        return self.spec['deploymentSpec']['executors'][self._component(task)['executorLabel']]

    def _value(self, source: Mapping[str, Any]) -> Any:
        if 'runtimeValue' in source:
            value = source['runtimeValue']['constant']
        else:
            name = source['componentInputParameter']
            default = self.spec['root']['inputDefinitions']['parameters'][name].get('defaultValue')
            value = self.parameters.get(name, default)
        return float(value) if isinstance(value, int) else value

    def _input(self, source: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.artifacts[source['producerTask'], source['outputArtifactKey']]

    def _outputs(self, task: str) -> dict[str, dict[str, Any]]:
        declared = self._component(task).get('outputDefinitions', {}).get('artifacts', {})
        logs = {'executor-logs': {'artifactType': {'schemaTitle': 'system.Artifact'}}}
        root = self.spec['defaultPipelineRoot']
        return {
            key: {'uri': f'{root}/run/{task}/salt/{key}', 'type': output['artifactType']}
            for key, output in {**declared, **logs}.items()
        }


def as_published(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """As `structValueToMLMDValue` takes it: strings and doubles; a null is an error."""
    for key, value in metadata.items():
        assert isinstance(value, (str, int, float)), f'{key} = {value!r} cannot be published'
    return {key: value if isinstance(value, str) else float(value) for key, value in metadata.items()}


def tasks_in_order(spec: Mapping[str, Any]) -> Sequence[str]:
    """The tasks, each after those that it depends on."""
    tasks = spec['root']['dag']['tasks']
    order: list[str] = []
    while len(order) < len(tasks):
        ready = [
            name
            for name, task in sorted(tasks.items())
            if name not in order and set(task.get('dependentTasks', [])) <= set(order)
        ]
        assert ready, 'the tasks depend on each other in a circle'
        order += ready
    return order
