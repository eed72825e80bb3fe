"""What a run left behind: its steps and their artifacts, read from ML Metadata."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from tfx_edge.components.core.errors import EdgeError


@dataclasses.dataclass(frozen=True)
class Output:
    """An artifact: its folder, and the custom properties that its maker set."""

    uri: str
    properties: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Step:
    """One component in one run.

    Attributes:
      name: the component's id, such as 'Pruner'.
      cached: whether the outputs are those of an earlier run.
      seconds: how long it took to make the outputs, when they were made.
      outputs: the artifacts by output key.
    """

    name: str
    cached: bool
    seconds: float
    outputs: Mapping[str, tuple[Output, ...]]

    def output(self, key: str) -> Output:
        """The only artifact below a key."""
        (artifact,) = self.outputs[key]
        return artifact


def last_run(connection: mlmd.ConnectionConfig, pipeline_name: str) -> dict[str, Step]:
    """The steps of a pipeline's last run.

    Args:
      connection: to ML Metadata, as the pipeline was given it.
      pipeline_name: the pipeline's name.

    Returns:
      The steps by component id, in the order in which they ran.

    Raises:
      EdgeError: the pipeline has not run.

    Example:
      >>> last_run(pipeline.metadata_connection_config, 'digits')['Pusher'].output('pushed_model').uri
      'run/root/Pusher/pushed_model/8'
    """
    store = metadata_store.MetadataStore(connection)
    pipeline = store.get_context_by_type_and_name('pipeline', pipeline_name)
    if pipeline is None:
        raise EdgeError(f'pipeline {pipeline_name!r} has no run in this ML Metadata; run it first.')
    runs = {context.id for context in store.get_children_contexts_by_context(pipeline.id)}
    run = max(
        (context for context in store.get_contexts_by_type('pipeline_run') if context.id in runs),
        key=lambda context: context.id,
    )
    return _steps(store, run)


def steps_of_run(connection: mlmd.ConnectionConfig, run: str) -> dict[str, Step]:
    """The steps of one run, whichever others have been started since.

    Args:
      connection: to ML Metadata, as the pipeline was given it.
      run: its id, such as `LocalRun.id`.

    Returns:
      The steps by component id, in the order in which they ran.

    Raises:
      EdgeError: there is no such run.

    Example:
      ```
      steps = steps_of_run(pipeline.metadata_connection_config, run.id)
      pushed = steps['Pusher'].output('pushed_model').uri
      ```
    """
    store = metadata_store.MetadataStore(connection)
    context = store.get_context_by_type_and_name('pipeline_run', run)
    if context is None:
        raise EdgeError(f'there is no run {run!r} in this ML Metadata; name one that was started there.')
    return _steps(store, context)


def _steps(store: metadata_store.MetadataStore, run: mlmd.Context) -> dict[str, Step]:
    executions = sorted(store.get_executions_by_context(run.id), key=lambda execution: execution.id)
    return {
        name: _step(store, name, execution) for execution in executions if (name := node_of(store, execution))
    }


def node_of(store: metadata_store.MetadataStore, execution: mlmd.Execution) -> str:
    """The id of an execution's component: TFX names the node context '<pipeline>.<id>'; '' where there is none."""
    for context in store.get_contexts_by_execution(execution.id):
        if context.type == 'node':
            return context.name.rpartition('.')[2]
    return ''


def _step(store: metadata_store.MetadataStore, name: str, execution: mlmd.Execution) -> Step:
    outputs: dict[str, list[Output]] = {}
    artifact_ids = []
    for event in store.get_events_by_execution_ids([execution.id]):
        if event.type != mlmd.Event.OUTPUT:
            continue
        (artifact,) = store.get_artifacts_by_id([event.artifact_id])
        outputs.setdefault(event.path.steps[0].key, []).append(_output(artifact))
        artifact_ids.append(artifact.id)
    return Step(
        name,
        execution.last_known_state == mlmd.Execution.CACHED,
        _seconds(_maker(store, artifact_ids) or execution),
        {key: tuple(artifacts) for key, artifacts in outputs.items()},
    )


def _output(artifact: mlmd.Artifact) -> Output:
    properties = {
        name: getattr(value, value.WhichOneof('value')) for name, value in artifact.custom_properties.items()
    }
    return Output(artifact.uri, properties)


def _maker(store: metadata_store.MetadataStore, artifact_ids: Sequence[int]) -> mlmd.Execution | None:
    """The execution that made the artifacts; one that took them from the cache has output events too."""
    if not artifact_ids:
        return None
    events = store.get_events_by_artifact_ids(artifact_ids[:1])
    ids = sorted(event.execution_id for event in events if event.type == mlmd.Event.OUTPUT)
    made = [e for e in store.get_executions_by_id(ids) if e.last_known_state == mlmd.Execution.COMPLETE]
    return min(made, key=lambda execution: execution.id, default=None)


def _seconds(execution: mlmd.Execution) -> float:
    return (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
