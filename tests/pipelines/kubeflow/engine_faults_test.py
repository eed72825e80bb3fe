"""What an engine's errors are raised as. The texts are Beam's and Flink's own, from faults made on purpose."""

from __future__ import annotations

import socket

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow.engine_faults import fault_line, raised_as_edge_error

ENDPOINT = 'beam-job-server:8099'
FAILED = 'Pipeline BeamApp-root-1128094827-504773ec_76572231 failed in state FAILED: '
GRPC = 'org.apache.beam.vendor.grpc.v1p60p1.io.grpc.StatusRuntimeException: '
NETTY = 'org.apache.flink.runtime.io.network.netty.exception.RemoteTransportException: '
HARNESS = (
    'java.lang.RuntimeException: Error received from SDK harness for instruction 3: '
    'Traceback (most recent call last):\n'
)


@pytest.mark.parametrize(
    ('text', 'fragments'),
    [
        (
            f'{GRPC}{GRPC}CANCELLED: client cancelled',
            ('worker of Beam died', 'memory limit', 'crash', 'beam-workers'),
        ),
        (f'{GRPC}CANCELLED: call already cancelled. Use ServerCallStreamObserver', ('worker of Beam died',)),
        (
            f"{NETTY}Connection unexpectedly closed by remote task manager '10.66.0.3/10.66.0.3:34669 [ "
            "10.66.0.3:41581-a8889c ] '. This might indicate that the remote task manager was lost.",
            ('task manager of Flink at 10.66.0.3/10.66.0.3:34669 was lost', 'kubectl logs'),
        ),
        (
            'org.apache.flink.util.FlinkException: TaskExecutor is shutting down.',
            ('task manager of Flink was lost',),
        ),
        (
            'org.apache.flink.shaded.netty4.io.netty.channel.unix.Errors$NativeIoException: recvAddress(..) '
            'failed: Connection reset by peer',
            ('task manager of Flink was lost',),
        ),
        (
            'java.net.ConnectException: finishConnect(..) failed: Connection refused',
            ('task manager of Flink was lost',),
        ),
        (
            'java.io.IOException: Insufficient number of network buffers: required 512, but only 425 available.',
            ('network buffers', 'min-buffers: 16'),
        ),
        (
            'org.apache.flink.runtime.client.JobCancellationException: Job was cancelled.',
            ('cancelled in Flink',),
        ),
        ('java.net.ConnectException: Connection refused', ("Flink's job manager does not answer",)),
        (
            'pekko.pattern.AskTimeoutException: Ask timed out on [Actor] after [10000 ms].',
            ('pekko.ask.timeout: 60s',),
        ),
        (
            'org.apache.flink.runtime.jobmanager.scheduler.NoResourceAvailableException: Could not acquire',
            ('no free slot', '--parallelism'),
        ),
    ],
)
def test_fault_names_what_was_lost_and_the_remedy(text: str, fragments: tuple[str, ...]) -> None:
    line = fault_line(RuntimeError(FAILED + text), ENDPOINT)
    assert len(line.splitlines()) == 1
    for fragment in fragments:
        assert fragment in line


def ask_for_jobs(endpoint: str) -> None:
    with grpc.insecure_channel(endpoint) as channel, raised_as_edge_error(endpoint):
        beam_job_api_pb2_grpc.JobServiceStub(channel).GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=5)


def raise_below(endpoint: str, error: Exception) -> None:
    with raised_as_edge_error(endpoint):
        raise error


def test_lost_job_server_is_named_with_its_address() -> None:
    with socket.socket() as free:
        free.bind(('localhost', 0))
        endpoint = f'localhost:{free.getsockname()[1]}'
    with pytest.raises(EdgeError) as caught:
        ask_for_jobs(endpoint)
    line = str(caught.value)
    assert line.startswith(f"Beam's job server at {endpoint} was lost, or cannot be reached (UNAVAILABLE: ")
    assert 'kubectl logs --previous deployment/beam-job-server' in line


def test_our_own_error_on_a_worker_keeps_its_words() -> None:
    text = (
        f'{FAILED}{HARNESS}  File "x.py", line 3, in process\n'
        'tfx_edge.components.core.errors.EdgeError: feature image is missing; name another. [while running '
        "'Predict']\n\n\tat org.apache.beam.runners.Main.run(Main.java:3)"
    )
    assert fault_line(RuntimeError(text), ENDPOINT) == 'feature image is missing; name another.'


def test_other_errors_stay_what_they_are() -> None:
    error = ValueError('x is 3')
    with pytest.raises(ValueError, match='x is 3') as caught:
        raise_below(ENDPOINT, error)
    assert caught.value is error
    # Without a job server these words are a user's own.
    with pytest.raises(RuntimeError):
        raise_below('', RuntimeError('TaskExecutor is shutting down'))
