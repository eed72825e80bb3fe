"""The Beam jobs of a step on an engine elsewhere: they have a name of their own, and end when the step ends early."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import re
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tfx_edge.pipelines.kubeflow.log_line import log

if TYPE_CHECKING:
    from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

_FLINK_PLACES = ('[auto]', '[local]', '[collection]')
# Of Flink's `JobStatus`, those that a job does not leave.
_FLINK_ENDED = {'FAILED', 'CANCELED', 'FINISHED', 'SUSPENDED'}
_CALL_SECONDS = 5.0


class EngineJobs:
    """What a step runs on a Beam job server, or on Flink.

    Args:
      executor: class path of the step's executor, for the names of its jobs.
      beam_args: for Apache Beam.

    Example:
      >>> beam_args = ['--runner=PortableRunner', '--job_endpoint=beam-job-server:8099']
      >>> jobs = EngineJobs('tfx_edge.components.edge_evaluator.executor.Executor', beam_args)
      >>> jobs.beam_args[-1]
      '--job_name=tfx-edge-edge-evaluator-...'
    """

    def __init__(self, executor: str, beam_args: Sequence[str]) -> None:
        self.beam_args: Sequence[str] = tuple(beam_args)
        self.name = self.endpoint = self.flink = ''
        if beam_args:  # a step that does not run on Beam has none, and need not wait for Beam's import
            self._read(executor, beam_args)

    def _read(self, executor: str, beam_args: Sequence[str]) -> None:
        from apache_beam.options import pipeline_options

        options = pipeline_options.PipelineOptions(list(beam_args))
        flink = options.view_as(pipeline_options.FlinkRunnerOptions).flink_master or ''
        self.endpoint = options.view_as(pipeline_options.PortableOptions).job_endpoint or ''
        self.flink = '' if flink in _FLINK_PLACES else flink
        given = options.view_as(pipeline_options.GoogleCloudOptions).job_name
        # Jobs are cancelled by name, and a name that the user gave may be that of other jobs.
        self.name = '' if given else f'tfx-edge-{_short(executor)}-{str(uuid.uuid4())[:8]}'
        if self.name and (self.endpoint or self.flink):
            self.beam_args = (*beam_args, f'--job_name={self.name}')

    @contextlib.contextmanager
    def cancelled_early(self) -> Iterator[None]:
        """Cancels the jobs if the `with` block fails or is terminated."""
        try:
            yield
        except BaseException:
            self.cancel()
            raise

    def cancel(self, seconds: float = 20.0) -> bool:
        """Cancels the jobs that have not ended, and waits until they have.

        Args:
          seconds: how long to wait.

        Returns:
          Whether no job of the step runs any more. If not, a line on stderr says what may still run.
        """
        return not self.name or cancel_jobs(self.name, self.endpoint, self.flink, seconds)


def _short(executor: str) -> str:
    parts = [part for part in executor.lower().split('.') if part != 'executor']
    return re.sub('[^a-z0-9]+', '-', parts[-1]) if parts else 'step'


def cancel_jobs(name: str, endpoint: str, flink: str, seconds: float = 20.0) -> bool:
    """Cancels the jobs of a name, and waits until they have ended.

    Beam's job server for Flink only stops waiting for a job: the Flink job goes on until Flink is asked to cancel
    it. Where Flink is, the arguments or the job server say.

    Args:
      name: of the jobs.
      endpoint: HOST:PORT of Beam's job server; '' if there is none.
      flink: address of Flink's REST service; '' if it is not known.
      seconds: how long to wait.

    Returns:
      Whether no job of that name runs any more. If not, a line on stderr says what may still run.
    """
    until = time.monotonic() + seconds
    if flink:
        # Only Flink is asked: a step that is terminated has little time, and a job server that was started anew does
        # not know the job.
        return _cancelled_on_flink(flink, name, until)
    ended = True
    if endpoint:
        with _failures_logged(f"Beam's job server at {endpoint}", name) as server:
            flink = _flink_of(endpoint, name)
            server.ended = _cancel_on_server(endpoint, name, until)
        ended = server.ended
    return _cancelled_on_flink(flink, name, until) if flink else ended


def _cancelled_on_flink(flink: str, name: str, until: float) -> bool:
    with _failures_logged(f'Flink at {flink}', name) as cluster:
        cluster.ended = _cancel_on_flink(flink, name, until)
    return cluster.ended


@dataclasses.dataclass
class _Answer:
    ended: bool = False


@contextlib.contextmanager
def _failures_logged(place: str, name: str) -> Iterator[_Answer]:
    """Says on stderr that a place could not cancel a job: it does not answer, or the job goes on."""
    import grpc

    answer, reason = _Answer(), 'it has not ended in time'
    try:
        yield answer
    except grpc.RpcError as error:
        reason = f'no answer ({error.code().name})'
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        reason = f'no answer of its kind ({type(error).__name__}: {error})'
    if not answer.ended:
        log(f'tfx-edge: job {name} of {place} could not be cancelled: {reason}')


@contextlib.contextmanager
def _job_service(endpoint: str) -> Iterator[beam_job_api_pb2_grpc.JobServiceStub]:
    import grpc
    from apache_beam.portability.api import beam_job_api_pb2_grpc

    with grpc.insecure_channel(endpoint) as channel:
        yield beam_job_api_pb2_grpc.JobServiceStub(channel)


def _jobs_of(service: beam_job_api_pb2_grpc.JobServiceStub, name: str) -> list[beam_job_api_pb2.JobInfo]:
    from apache_beam.portability.api import beam_job_api_pb2

    found = service.GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=_CALL_SECONDS).job_info
    return [job for job in found if name in (job.job_name, _option(job, 'job_name'))]


def _option(job: beam_job_api_pb2.JobInfo, name: str) -> str:
    return job.pipeline_options.fields[f'beam:option:{name}:v1'].string_value


def _flink_of(endpoint: str, name: str) -> str:
    """The address of Flink where a job server runs the jobs of a name; '' if it runs them elsewhere."""
    with _job_service(endpoint) as service:
        found = {_option(job, 'flink_master') for job in _jobs_of(service, name)}
    return next((address for address in sorted(found) if address and address not in _FLINK_PLACES), '')


def _cancel_on_server(endpoint: str, name: str, until: float) -> bool:
    from apache_beam.portability.api import beam_job_api_pb2

    with _job_service(endpoint) as service:
        for job in _running_on_server(service, name):
            log(f'tfx-edge: cancelling job {job}')
            service.Cancel(beam_job_api_pb2.CancelJobRequest(job_id=job), timeout=_CALL_SECONDS)
        return _ended(lambda: _running_on_server(service, name), until)


def _running_on_server(service: beam_job_api_pb2_grpc.JobServiceStub, name: str) -> list[str]:
    from apache_beam.runners.portability import portable_runner

    return [job.job_id for job in _jobs_of(service, name) if job.state not in portable_runner.TERMINAL_STATES]


def _cancel_on_flink(address: str, name: str, until: float) -> bool:
    for job in _running_on_flink(address, name):
        log(f'tfx-edge: cancelling Flink job {job}')
        _flink(address, f'/jobs/{urllib.parse.quote(job, safe="")}?mode=cancel', 'PATCH')
    return _ended(lambda: _running_on_flink(address, name), until)


def _running_on_flink(address: str, name: str) -> list[str]:
    overview = json.loads(_flink(address, '/jobs/overview', 'GET'))
    jobs: Iterable[dict[str, Any]] = overview['jobs']
    return [job['jid'] for job in jobs if job['name'] == name and job['state'] not in _FLINK_ENDED]


def _flink(address: str, path: str, method: str) -> bytes:
    root = address if address.startswith(('http://', 'https://')) else f'http://{address}'
    request = urllib.request.Request(root + path, method=method)
    # Flink is in the cluster: proxies in environment variables are not for it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_CALL_SECONDS) as answer:
        return answer.read()


def _ended(running: Callable[[], list[str]], until: float) -> bool:
    while running():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
