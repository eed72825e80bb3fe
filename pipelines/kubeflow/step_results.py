"""What a step found, as lines of its log: Kubeflow's API tells neither a verdict nor where a model was pushed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tfx_edge.components.edge_evaluator import keys as evaluator_keys
from tfx_edge.components.edge_selector import keys as selector_keys
from tfx_edge.pipelines.verdict_lines import choice_lines, verdict_lines

if TYPE_CHECKING:
    from kfp.pipeline_spec import pipeline_spec_pb2

SELECTOR = 'tfx_edge.components.edge_selector.executor.Executor'
_MARK = 'tfx-edge result: '


def result_lines(executor: str, output: pipeline_spec_pb2.ExecutorOutput) -> list[str]:
    """What an executor found.

    Args:
      executor: its class, as 'module.Class'.
      output: its output, with paths in place of URIs.

    Returns:
      Lines for the log; none for a step that finds nothing out.
    """
    find = _FINDERS.get(executor)
    return [f'{_MARK}{line}' for line in find(output)] if find else []


def results_in(log: str) -> list[str]:
    """The lines of `result_lines` in a log, without their mark.

    Args:
      log: of a pod.

    Example:
      >>> results_in('loading\\ntfx-edge result: verdict: BLESSED\\n')
      ['verdict: BLESSED']
    """
    return [line.removeprefix(_MARK) for line in log.splitlines() if line.startswith(_MARK)]


def has_results(step: str, spec: Mapping[str, Any]) -> bool | None:
    """Whether a step's log has such lines.

    Args:
      step: its name.
      spec: the PipelineSpec; empty where the server does not give it.

    Returns:
      None where the spec does not say what the step runs.
    """
    try:
        component = spec['components'][spec['root']['dag']['tasks'][step]['componentRef']['name']]
        arguments = spec['deploymentSpec']['executors'][component['executorLabel']]['container']['args']
    except (KeyError, TypeError):
        return None
    return any(argument in _FINDERS for argument in arguments)


def _of_evaluator(output: pipeline_spec_pb2.ExecutorOutput) -> list[str]:
    return verdict_lines(_report(output, evaluator_keys.EDGE_EVALUATION, evaluator_keys.REPORT_FILE))


def _of_selector(output: pipeline_spec_pb2.ExecutorOutput) -> list[str]:
    return choice_lines(_report(output, selector_keys.SELECTION, selector_keys.REPORT_FILE))


def _of_pusher(output: pipeline_spec_pb2.ExecutorOutput) -> list[str]:
    (pushed,) = output.artifacts['pushed_model'].artifacts
    fields = pushed.metadata.fields
    if 'pushed' in fields and fields['pushed'].number_value:
        return [f'pushed: {fields["pushed_destination"].string_value}']
    return ['pushed: nothing']


def _report(output: pipeline_spec_pb2.ExecutorOutput, key: str, name: str) -> Any:
    from tfx.dsl.io import fileio  # takes seconds

    (artifact,) = output.artifacts[key].artifacts
    with fileio.open(os.path.join(artifact.uri, name), 'r') as file:
        return json.loads(file.read())


_FINDERS: Mapping[str, Callable[[pipeline_spec_pb2.ExecutorOutput], list[str]]] = {
    'tfx_edge.components.edge_evaluator.executor.Executor': _of_evaluator,
    SELECTOR: _of_selector,
    'tfx.components.pusher.executor.Executor': _of_pusher,
}
