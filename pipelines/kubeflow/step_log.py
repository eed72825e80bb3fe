"""The log of a step's pod, and the line in it that says why the step failed."""

from __future__ import annotations

from tfx_edge.components.core.isolation.printed_line import shortened_line
from tfx_edge.pipelines.kubeflow.kfp_connection import Connection, LostConnectionError
from tfx_edge.pipelines.kubeflow.run_steps import Pod

# How the last line of a step of tfx-edge begins (exit_status.py). Kubeflow's launcher writes more below it.
_OURS = 'tfx-edge: '
# The page's server gives the log of a pod, or what Argo kept of it when the pod is gone (frontend/server/handlers/
# pod-logs.ts in kubeflow/pipelines); the API server gives it under an address of its own (backend/src/apiserver/
# main.go).
_OF_PAGE = '/k8s/pod/logs'
_OF_API_SERVER = '/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log'
_NAMESPACE = 'kubeflow'
# A log is asked for anew where the connection was lost, but not so long that the end of the run is not told.
_ATTEMPTS = 3


def failure_line(connection: Connection, run_id: str, day: str, pod: Pod) -> str:
    """What the log of a pod says of its failure.

    Args:
      connection: the server.
      run_id: of the run.
      day: on which the run was made, as '2026-01-31'; part of the place of a kept log.
      pod: of the step.

    Returns:
      The last line of tfx-edge; where there is none, the last line; where there is no log, how to look for it.

    Example:
      ```
      failure_line(connection, '0f5c...', '2026-01-31', pod)
      # 'tfx-edge: Trainer failed: ...'
      ```
    """
    shown_by = f'kubectl logs -n {connection.access.namespace or _NAMESPACE} {pod.names[0]} -c main'
    log = log_of(connection, run_id, day, pod)
    if log is None:
        return f'{connection.host} does not give its log; see: {shown_by}'
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(_OURS):
            return line
    if not lines:
        return (
            f'its log is empty; see: {shown_by.removesuffix(" -c main").replace(" logs ", " describe pod ")}'
        )
    return f'its log ends with {shortened_line(lines[-1])!r}; see: {shown_by}'


def log_of(connection: Connection, run_id: str, day: str, pod: Pod) -> str | None:
    """The log of a pod; None where the server does not give it.

    Args:
      connection: the server.
      run_id: of the run.
      day: on which the run was made, as '2026-01-31'.
      pod: of the step.
    """
    for name in pod.names:
        query = {'podname': name, 'runid': run_id, 'createdat': day}
        if connection.access.namespace:
            query['podnamespace'] = connection.access.namespace
        for path, parts, asked in (
            (_OF_PAGE, {}, query),
            (_OF_API_SERVER, {'run_id': run_id, 'pod': name}, {}),
        ):
            text = _text(connection, path, parts, asked)
            if text is not None:
                return text
    return None


def _text(connection: Connection, path: str, parts: dict[str, str], query: dict[str, str]) -> str | None:
    for _ in range(_ATTEMPTS):
        try:
            return connection.text(path, parts, query)
        except LostConnectionError:
            continue
    return None
