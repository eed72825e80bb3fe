"""What a step reports when the engine that runs a step's Beam jobs loses a part of itself."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow.cluster_fault import ClusterFault

_AGAIN = 'Then run again: finished steps are taken from the cache.'
_OUR_ERROR = re.compile(r'\b' + re.escape(f'{EdgeError.__module__}.{EdgeError.__name__}') + r': (.+)')
_WHILE = re.compile(r' \[while running .*')
_ADDRESS = re.compile(r"remote task manager '([^' ]+)")
# Patterns of errors of Flink and Beam's Java runner, with the line to print; the first match counts.
_FAULTS = (
    (
        re.compile('Insufficient number of network buffers'),
        'Flink has fewer network buffers than this step needs; give its task managers '
        'taskmanager.network.sort-shuffle.min-buffers: 16, as deploy/kubernetes/flink.yaml does, or lower '
        '--parallelism.',
    ),
    (
        re.compile(
            'NoResourceAvailableException|Slot request bulk is not fulfillable|Could not acquire the minimum'
        ),
        'Flink had no free slot for this step; wait for the job that holds them, give flink-taskmanager more '
        'replicas, or lower --parallelism.',
    ),
    (
        re.compile('JobCancellationException'),
        'the job of this step was cancelled in Flink, by hand or by another program.',
    ),
    (
        re.compile(r'java\.net\.ConnectException'),
        "Flink's job manager does not answer Beam's job server; see why (kubectl describe pod, kubectl logs --previous "
        'deployment/flink-jobmanager).',
    ),
    (
        re.compile('AskTimeoutException'),
        'a part of Flink did not answer in time; set pekko.ask.timeout: 60s, as deploy/kubernetes/flink.yaml does, or '
        'give Flink more CPU.',
    ),
    (
        re.compile('StatusRuntimeException: (CANCELLED|UNAVAILABLE)'),
        'a worker of Beam died while it worked, most likely because it reached its memory limit (kubectl describe pod '
        'shows OOMKilled), or by a crash in native code (its last lines: kubectl logs deployment/flink-taskmanager -c '
        'beam-workers); give the workers more memory, or correct what crashes.',
    ),
)
_LOST_MANAGER = re.compile(
    r'remote task manager|TaskExecutor is shutting down|Heartbeat of TaskManager|TaskManager with id|'
    r'TaskExecutor .* (has no more allocated|is no longer)|'
    # From the other task managers, which exchange data with the lost one.
    r'recvAddress\(\.\.\) failed|finishConnect\(\.\.\) failed'
)


@contextlib.contextmanager
def raised_as_edge_error(endpoint: str) -> Iterator[None]:
    """Raises an `EdgeError` for an error that comes from a fault of the engine; others stay what they are.

    Args:
      endpoint: HOST:PORT of Beam's job server; '' if Beam runs in the step.

    Raises:
      ClusterFault: what was lost, and what to do.
      EdgeError: what a worker refused.
    """
    try:
        yield
    except Exception as error:
        if endpoint and (line := fault_line(error, endpoint)):
            kind = EdgeError if _OUR_ERROR.search(str(error)) else ClusterFault
            raise kind(line) from error
        raise


def fault_line(error: BaseException, endpoint: str) -> str:
    """What was lost, its address where it is known, likely causes and the remedy.

    Args:
      error: what Beam raised for a job on that server.
      endpoint: HOST:PORT of Beam's job server.

    Returns:
      One line; '' if the error comes from no fault of the engine.

    Example:
      >>> fault_line(RuntimeError('... StatusRuntimeException: CANCELLED: call already cancelled'), 'server:8099')
      'a worker of Beam died while it worked, most likely ...'
    """
    import grpc

    if isinstance(error, (grpc.RpcError, grpc.FutureTimeoutError)):
        return (
            f"Beam's job server at {endpoint} was lost, or cannot be reached ({_status(error)}); see why it ended "
            f'(kubectl logs --previous deployment/beam-job-server, kubectl describe pod). {_AGAIN}'
        )
    text = str(error)
    if own := _OUR_ERROR.search(text):
        return _WHILE.sub('', own[1]).strip()
    if _LOST_MANAGER.search(text):
        address = _ADDRESS.search(text)
        where = f' at {address[1]}' if address else ''
        return (
            f'a task manager of Flink{where} was lost while this step ran there; see why it ended (kubectl describe '
            f'pod, kubectl logs --previous deployment/flink-taskmanager -c taskmanager). {_AGAIN}'
        )
    return next((f'{line} {_AGAIN}' for pattern, line in _FAULTS if pattern.search(text)), '')


def _status(error: BaseException) -> str:
    """The status of a gRPC call and its details; a call that ended by its deadline has none."""
    code, details = getattr(error, 'code', None), getattr(error, 'details', None)
    if not callable(code) or not callable(details) or code() is None:
        return 'no answer'
    return f'{code().name}: {details()}'
