"""Adds a task before each ExampleGen to the spec of a compiled pipeline: it fingerprints the ExampleGen's data."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tfx_edge.components.core.errors import EdgeError

OUTPUT = 'fingerprint'
# The ExampleGen's parameter for it.
PARAMETER = 'tfx_edge_data_fingerprint'
_SUFFIX = '-data'
_LOOKED_AT = ('input_base', 'input_config', 'range_config')
_MODULE = 'tfx_edge.pipelines.kubeflow.data_fingerprint'
# Argo's limit, without Kubeflow's '-driver'.
_LONGEST_NAME = 121


def with_fingerprints(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec with a task that fingerprints the data of each ExampleGen that reads files, for the cache to compare.

    TFX gives such an ExampleGen a driver to run before the cache is read (`lifecycle`), which open-source Kubeflow
    Pipelines ignores. An ExampleGen that is not cached needs no task.

    Args:
      spec: a PipelineSpec as JSON, as TFX writes it.

    Returns:
      A changed copy. The task of an ExampleGen 'ImportExampleGen' is 'ImportExampleGen-data', and is never cached.

    Raises:
      EdgeError: the name of a task is taken, or too long.

    Example:
      >>> spec = with_fingerprints(job['pipelineSpec'])
    """
    changed = copy.deepcopy(dict(spec))
    tasks = changed['root']['dag']['tasks']
    executors = changed['deploymentSpec']['executors']
    for name in sorted(tasks):
        component = changed['components'][tasks[name]['componentRef']['name']]
        container = executors[component['executorLabel']].get('container', {})
        if 'lifecycle' not in container or not tasks[name].get('cachingOptions', {}).get('enableCache'):
            continue
        task = _task_name(name, tasks)
        label = f'{task}_executor'
        executors[label] = _executor(container)
        changed['components'][task] = _component(component, label)
        tasks[task] = _task(task, tasks[name])
        _connect(tasks[name], component, task)
    return changed


def fingerprinted(spec: Mapping[str, Any]) -> list[str]:
    """The names of the steps whose data are looked at, in a spec of `with_fingerprints`."""
    return sorted(
        name
        for name, task in spec['root']['dag']['tasks'].items()
        if PARAMETER in task.get('inputs', {}).get('parameters', {})
    )


def _task_name(name: str, tasks: Mapping[str, Any]) -> str:
    task = name + _SUFFIX
    if task in tasks:
        raise EdgeError(
            f'{task} is the name of the task that looks at the data of {name}; give that component another id with '
            'with_id.'
        )
    if len(task) > _LONGEST_NAME:
        raise EdgeError(
            f'{name} has a longer id than {_LONGEST_NAME - len(_SUFFIX)} characters; give a shorter one with with_id.'
        )
    return task


def _executor(container: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'container': {
            'image': container['image'],
            'command': ['python', '-m', _MODULE],
            'args': ['--json_serialized_invocation_args', '{{$}}'],
        }
    }


def _component(component: Mapping[str, Any], label: str) -> dict[str, Any]:
    parameters = component['inputDefinitions']['parameters']
    return {
        'executorLabel': label,
        'inputDefinitions': {
            'parameters': {key: dict(parameters[key]) for key in _LOOKED_AT if key in parameters}
        },
        'outputDefinitions': {'parameters': {OUTPUT: {'parameterType': 'STRING'}}},
    }


def _task(name: str, example_gen: Mapping[str, Any]) -> dict[str, Any]:
    given = example_gen['inputs']['parameters']
    return {
        'taskInfo': {'name': name},
        'componentRef': {'name': name},
        'inputs': {'parameters': {key: copy.deepcopy(given[key]) for key in _LOOKED_AT if key in given}},
        'cachingOptions': {},
    }


def _connect(example_gen: dict[str, Any], component: dict[str, Any], task: str) -> None:
    example_gen['inputs']['parameters'][PARAMETER] = {
        'taskOutputParameter': {'producerTask': task, 'outputParameterKey': OUTPUT}
    }
    component['inputDefinitions']['parameters'][PARAMETER] = {'parameterType': 'STRING'}
    example_gen['dependentTasks'] = sorted({*example_gen.get('dependentTasks', []), task})
