"""Kubeflow's driver and launcher as far as a step sees them, after backend/src/v2/{driver,component} of KFP 2."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.pipelines.kubeflow.mounts import Mounts


@dataclasses.dataclass
class Launcher:
    """Gives the steps of one run their arguments, and takes their answers.

    Args:
      spec: a compiled PipelineSpec.
      folder: the root of a pod: for the mounts and the output files.
      parameters: of the run; those not given have their defaults.
      run: the run's id.
      seen_as: what a step calls `folder`; None for its path.
    """

    spec: Mapping[str, Any]
    folder: pathlib.Path
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    run: str = 'run'
    seen_as: str | None = None
    artifacts: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    values: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)

    @property
    def mounts(self) -> Mounts:
        return Mounts(str(self.folder))

    def output_file(self, task: str) -> pathlib.Path:
        return self.folder / 'outputs' / task / 'output_metadata.json'

    def module(self, task: str) -> str:
        """What `python -m` runs in a step."""
        python, option, module = self.executor(task)['container']['command'][:3]
        assert (python, option) == ('python', '-m')
        return module

    def arguments(self, task: str) -> list[str]:
        """The command line of a step, without `python -m MODULE`."""
        container = self.executor(task)['container']
        text = json.dumps(self.executor_input(task))
        return [part.replace('{{$}}', text) for part in [*container['command'][3:], *container['args']]]

    def executor_input(self, task: str) -> dict[str, Any]:
        """As `resolveInputs` and `provisionOutputs` make it: inputs without a type, numbers as doubles."""
        inputs = self._tasks[task].get('inputs', {})
        seen_as = self.seen_as or str(self.folder)
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
                'artifacts': {name: {'artifacts': [output]} for name, output in self.outputs(task).items()},
                'parameters': {
                    name: {'outputFile': f'{seen_as}/{self._value_file(task, name).relative_to(self.folder)}'}
                    for name in self._value_names(task)
                },
                'outputFile': f'{seen_as}/{self.output_file(task).relative_to(self.folder)}',
            },
        }

    def publish(self, task: str) -> None:
        """As `collectOutputParameters` and `uploadOutputArtifacts` do: what the step says of an artifact goes over what
        was planned."""
        for name in self._value_names(task):
            self.values[task, name] = self._value_file(task, name).read_text()
        makes_artifacts = self._component(task).get('outputDefinitions', {}).get('artifacts')
        answer = json.loads(self.output_file(task).read_text()) if makes_artifacts else {}
        for key, planned in self.outputs(task).items():
            said = answer.get('artifacts', {}).get(key, {}).get('artifacts', [{}])[0]
            uri = said.get('uri', planned['uri'])
            assert uri.startswith(('minio://', 's3://', 'gs://')), f'{uri} would not be uploaded'
            self.record(task, key, uri, said.get('metadata', {}))

    def record(self, task: str, key: str, uri: str, metadata: Mapping[str, Any]) -> None:
        """Gives an output the name that later steps know it by: it is new, as an id of ML Metadata is."""
        name = f'{self.run}-{len(self.artifacts) + 1}'
        self.artifacts[task, key] = {'name': name, 'uri': uri, 'metadata': as_published(metadata)}

    def executor(self, task: str) -> Mapping[str, Any]:
        """What the spec says of a task's container or importer."""
        return self.spec['deploymentSpec']['executors'][self._component(task)['executorLabel']]

    def outputs(self, task: str) -> dict[str, dict[str, Any]]:
        """The outputs as planned: their URIs and types."""
        declared = self._component(task).get('outputDefinitions', {}).get('artifacts', {})
        logs = {'executor-logs': {'artifactType': {'schemaTitle': 'system.Artifact'}}}
        root = f'{self.spec["defaultPipelineRoot"]}/{self.spec["pipelineInfo"]["name"]}'
        return {
            key: {'uri': f'{root}/{self.run}/{task}/salt/{key}', 'type': output['artifactType']}
            for key, output in {**declared, **logs}.items()
        }

    @property
    def _tasks(self) -> Mapping[str, Any]:
        return self.spec['root']['dag']['tasks']

    def _component(self, task: str) -> Mapping[str, Any]:
        return self.spec['components'][self._tasks[task]['componentRef']['name']]

    def _value_names(self, task: str) -> list[str]:
        return sorted(self._component(task).get('outputDefinitions', {}).get('parameters', {}))

    def _value_file(self, task: str, name: str) -> pathlib.Path:
        return self.folder / 'outputs' / task / name / 'data'

    def _value(self, source: Mapping[str, Any]) -> Any:
        if 'taskOutputParameter' in source:
            given = source['taskOutputParameter']
            return self.values[given['producerTask'], given['outputParameterKey']]
        if 'runtimeValue' in source:
            value = source['runtimeValue']['constant']
        else:
            name = source['componentInputParameter']
            default = self.spec['root']['inputDefinitions']['parameters'][name].get('defaultValue')
            value = self.parameters.get(name, default)
        return float(value) if isinstance(value, int) else value

    def _input(self, source: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.artifacts[source['producerTask'], source['outputArtifactKey']]


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
