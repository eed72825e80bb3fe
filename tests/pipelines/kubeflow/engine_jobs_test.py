"""A step's jobs on a Beam job server: found by their name, and ended with the step."""

from __future__ import annotations

import os
import pathlib
import socket
import threading
import time
from collections.abc import Sequence

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from tfx_edge.pipelines.kubeflow.engine_jobs import EngineJobs, cancel_jobs

pytestmark = pytest.mark.slow

EXECUTOR = 'tfx_edge.components.edge_evaluator.executor.Executor'


def started(beam_args: Sequence[str], until: pathlib.Path) -> PipelineResult:
    """A job that ends when a file is there."""

    def wait_for(path: str) -> None:
        while not os.path.exists(path):
            time.sleep(0.1)

    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_args)))
    _ = pipeline | beam.Create([str(until)]) | beam.Map(wait_for)
    result = pipeline.run()
    while result.state != PipelineState.RUNNING:
        time.sleep(0.1)
    return result


def test_jobs_of_a_step_that_fails_are_cancelled_and_those_of_others_go_on(
    portable_runner: Sequence[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    until = tmp_path / 'until'
    mine, others = EngineJobs(EXECUTOR, portable_runner), EngineJobs(EXECUTOR, portable_runner)
    try:
        other = started(others.beam_args, until)
        job = started(mine.beam_args, until)
        with pytest.raises(ZeroDivisionError), mine.cancelled_early():
            raise ZeroDivisionError
        assert job.state == PipelineState.CANCELLED
        assert other.state == PipelineState.RUNNING
        assert 'tfx-edge: cancelling job ' in capsys.readouterr().err
    finally:
        until.touch()
    other.wait_until_finish()
    with others.cancelled_early():
        pass
    assert others.cancel()
    assert other.state == PipelineState.DONE


def test_job_server_that_is_gone_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(('localhost', 0))
        address = f'localhost:{free.getsockname()[1]}'
    assert not cancel_jobs('mine', address, '', seconds=1)
    line = f"tfx-edge: job mine of Beam's job server at {address} could not be cancelled: no answer (UNAVAILABLE)"
    assert capsys.readouterr().err.splitlines() == [line]
    assert not cancel_jobs('mine', '', address, seconds=1)
    assert (
        f'job mine of Flink at {address} could not be cancelled: no answer of its kind ('
        in capsys.readouterr().err
    )


@pytest.mark.parametrize('answer', [b'SSH-2.0-x\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'])
def test_address_of_something_else_than_flink_is_reported(
    answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(('localhost', 0)) as server:
        address = f'localhost:{server.getsockname()[1]}'

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        assert not cancel_jobs('mine', '', address, seconds=1)
        serving.join()
    line = f'tfx-edge: job mine of Flink at {address} could not be cancelled: no answer of its kind ('
    assert capsys.readouterr().err.startswith(line)


def test_beam_in_the_pod_needs_no_name() -> None:
    arguments = ('--runner=FnApiRunner', '--direct_running_mode=in_memory')
    jobs = EngineJobs(EXECUTOR, arguments)
    assert jobs.beam_args == arguments
    assert jobs.cancel()


def test_name_that_was_given_is_kept_and_its_jobs_are_left_alone() -> None:
    arguments = ('--runner=PortableRunner', '--job_endpoint=absent:1', '--job_name=nightly')
    jobs = EngineJobs(EXECUTOR, arguments)
    assert jobs.beam_args == arguments
    assert jobs.cancel()
