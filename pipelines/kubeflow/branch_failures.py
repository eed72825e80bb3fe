"""Branches of an EdgeSelector on Kubeflow, which ends a run with its first failed step: a branch's step does not fail.

A step that refuses what it was given hands the reason on in place of its outputs, the steps behind it do the same, and
EdgeSelector leaves the candidate out and names the reason. Kubeflow itself starts no step behind one that failed.
"""

from __future__ import annotations

import copy
import json
import os
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.tfx_interface.missing_steps import MISSING_PROPERTY
from tfx_edge.pipelines.failure import causes, one_line
from tfx_edge.pipelines.kubeflow.cluster_fault import ClusterFault
from tfx_edge.pipelines.kubeflow.log_line import log
from tfx_edge.pipelines.kubeflow.pods import step_executors

if TYPE_CHECKING:
    from kfp.pipeline_spec import pipeline_spec_pb2

BRANCH_FLAG = '--branch_of_selector'
# In the folder of an output that was not made, so that there is something to upload.
_FILE = 'missing.txt'


def branch_steps(pipeline: Any) -> set[str]:
    """The steps of a pipeline that belong to the branches of its EdgeSelectors.

    Args:
      pipeline: a `tfx.v1.dsl.Pipeline`.

    Returns:
      Their ids; those that an EdgeSelector's routes name.
    """
    from tfx_edge.components import EdgeSelector
    from tfx_edge.components.edge_selector import keys
    from tfx_edge.components.edge_selector.options import decode_routes

    there = {component.id for component in pipeline.components}
    routes = [
        route
        for component in pipeline.components
        if isinstance(component, EdgeSelector)
        for route in decode_routes(component.exec_properties[keys.ROUTES])
    ]
    return {step for route in routes for step in route.components} & there


def with_branch_flags(spec: Mapping[str, Any], steps: set[str]) -> dict[str, Any]:
    """Tells the steps of branches which they are.

    Args:
      spec: a PipelineSpec.
      steps: of `branch_steps`.

    Returns:
      A changed copy.
    """
    changed = copy.deepcopy(dict(spec))
    for name, body in step_executors(changed).items():
        if name in steps and 'container' in body:
            body['container'].setdefault('args', [])[:0] = [BRANCH_FLAG, name]
    return changed


def run_or_hand_on(
    branch: str,
    executor_input: pipeline_spec_pb2.ExecutorInput,
    path: Callable[[str], str],
    body: Callable[[], None],
) -> None:
    """Runs a step, or hands on why its outputs are missing.

    Any step whose input is missing has nothing to do: a Pusher would push an empty folder.

    Args:
      branch: the step's name, if an EdgeSelector can do without what it makes; or ''.
      executor_input: the launcher's; `body` may change it.
      path: of the folder of an artifact, for its URI.
      body: the step's work.

    Raises:
      Exception: the machine failed the step, or an error that names no fault of its input: it may succeed when it is
        run again, and Kubeflow would take what is handed on from its cache.
    """
    given = copy.deepcopy(executor_input)
    reason = _reason_given(given)
    if reason:
        log(f'tfx-edge: {branch or "this step"} has nothing to do: {reason}')
    else:
        try:
            body()
            return
        except EdgeError as error:
            if not branch or any(isinstance(cause, ClusterFault) for cause in causes(error)):
                raise
            log(traceback.format_exc().rstrip())
            reason = f'{branch}: {one_line(error)}'
            log(f'tfx-edge: {branch} failed: {one_line(error)}; its EdgeSelector goes on without this branch')
    _hand_on(reason, given, path)


def _reason_given(executor_input: pipeline_spec_pb2.ExecutorInput) -> str:
    """Why an input is missing; '' where all are there."""
    for artifacts in executor_input.inputs.artifacts.values():
        for artifact in artifacts.artifacts:
            if MISSING_PROPERTY in artifact.metadata.fields:
                return str(artifact.metadata.fields[MISSING_PROPERTY].string_value)
    return ''


def _hand_on(
    reason: str, executor_input: pipeline_spec_pb2.ExecutorInput, path: Callable[[str], str]
) -> None:
    from tfx_edge.pipelines.kubeflow import launcher_messages

    answer: dict[str, Any] = {}
    for key, artifacts in executor_input.outputs.artifacts.items():
        made = []
        for artifact in artifacts.artifacts:
            if launcher_messages.is_own(artifact.type):
                continue
            folder = path(artifact.uri)
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, _FILE), 'w', encoding='utf-8') as file:
                file.write(f'{reason}\n')
            made.append({'name': artifact.name, 'uri': artifact.uri, 'metadata': {MISSING_PROPERTY: reason}})
        if made:
            answer[key] = {'artifacts': made}
    output_file = executor_input.outputs.output_file
    os.makedirs(os.path.dirname(output_file), exist_ok=True)
    with open(output_file, 'w', encoding='utf-8') as file:
        json.dump({'artifacts': answer}, file, sort_keys=True)
