"""A server that speaks what kfp's client asks of Kubeflow Pipelines 2, and plays the runs that a test has written.

The tasks of a run are those that Kubeflow Pipelines 2.16 gave for a run of its own on a cluster: nodes of an Argo
workflow, which name the nodes that follow on them but not themselves; nodes that were left out have no state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import http.server
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

RUN = '0f5c1d2e-0000-4000-8000-000000000001'
WORKFLOW = 'digits-x7k2p'
BEGAN = datetime.datetime(2026, 10, 5, 8, 0, 0, tzinfo=datetime.timezone.utc)


@dataclasses.dataclass(frozen=True)
class Step:
    """A step as a test describes it, with seconds since the run began.

    Attributes:
      name: of the task.
      start: when its driver was ready; None where it has not come to that.
      end: when it ended; None while it works.
      state: of the group around the executor.
      executor: state of the executor; None for the state of the group.
      attempts: how many pods it had where it may be repeated; 0 for a single pod under the executor's own name.
      is_importer: a pod without a driver and an executor.
    """

    name: str
    start: int | None = None
    end: int | None = None
    state: str = 'RUNNING'
    executor: str | None = None
    attempts: int = 0
    is_importer: bool = False


def run(
    state: str,
    steps: Sequence[Step],
    end: int | None = None,
    names: Sequence[str] = (),
    run_id: str = RUN,
) -> dict[str, Any]:
    """A run as the API gives it.

    Args:
      state: of the run.
      steps: what the workflow has of them.
      end: when it ended.
      names: the steps that the pipeline names; none where the run refers to a stored pipeline.
      run_id: of the run.
    """
    tasks = [
        _task(WORKFLOW, 'RUNNING', 0, end, [f'{WORKFLOW}.root-driver']),
        _task('root-driver', 'SUCCEEDED', 0, 3, [f'{WORKFLOW}.root']),
        _task('root', 'RUNNING', 3, end, [f'{WORKFLOW}.root.{step.name}-driver' for step in steps]),
    ]
    for step in steps:
        tasks += _tasks(step)
    body: dict[str, Any] = {
        'run_id': run_id,
        'display_name': 'digits',
        'state': state,
        'created_at': _text(0),
        'finished_at': _text(end),
        'run_details': {'task_details': tasks},
    }
    if names:
        spec = {'root': {'dag': {'tasks': {name: {} for name in names}}}}
        body['pipeline_spec'] = {'pipeline_spec': spec, 'platform_spec': {}}
    return body


def pod(name: str, template: str = 'system-container-impl') -> str:
    """What Argo calls the pod of a node, such as 'Trainer.executor'."""
    return f'{WORKFLOW}-{template}-{_number(f"{WORKFLOW}.root.{name}")}'


def driver_failed(name: str, end: int) -> list[dict[str, Any]]:
    """The tasks of a step whose driver failed."""
    place = f'{WORKFLOW}.root.{name}'
    return [
        _task('root', 'FAILED', 3, end, [f'{place}-driver']),
        _task(f'{name}-driver', 'FAILED', 3, end, [place]),
        _task(name, '', end, end, []),
    ]


def _tasks(step: Step) -> list[dict[str, Any]]:
    place = f'{WORKFLOW}.root.{step.name}'
    if step.is_importer:
        return [_task(step.name, step.state, step.start, step.end, [])]
    if step.start is None:
        return [_task(f'{step.name}-driver', 'RUNNING', 3, None, [])]
    tasks = [_task(f'{step.name}-driver', 'SUCCEEDED', step.start - 1, step.start, [place])]
    if step.state == '':
        return [*tasks, _task(step.name, '', step.start, step.end, [])]
    tasks.append(_task(step.name, step.state, step.start, step.end, [f'{place}.executor']))
    attempts = [f'{place}.executor({number})' for number in range(step.attempts)]
    state = step.executor or step.state
    ended = step.start if state == 'SKIPPED' else step.end
    tasks.append(_task('executor', state, step.start, ended, attempts))
    for number in range(step.attempts):
        last = number == step.attempts - 1
        tasks.append(_task(f'executor({number})', state if last else 'FAILED', step.start, step.end, []))
    return tasks


def _task(
    name: str, state: str, start: int | None, end: int | None, following: Sequence[str]
) -> dict[str, Any]:
    task: dict[str, Any] = {
        'run_id': RUN,
        'display_name': name,
        'start_time': _text(start),
        'end_time': _text(end),
    }
    if state:
        task['state'] = state
    if following:
        task['child_tasks'] = [{'pod_name': f'{WORKFLOW}-{_number(node)}'} for node in following]
    return task


def _text(seconds: int | None) -> str:
    # Go's time that stands for none.
    if seconds is None:
        return '0001-01-01T00:00:00Z'
    return f'{BEGAN + datetime.timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}'


def _number(text: str) -> int:
    """The 32-bit FNV-1a hash, as Go's hash/fnv has it."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) % 2**32
    return value


# The pod of the driver of the whole run.
ROOT_DRIVER = f'{WORKFLOW}-system-dag-driver-{_number(f"{WORKFLOW}.root-driver")}'


class Server:
    """What a test tells the server, and what the server was asked.

    Attributes:
      runs: what each question for the run is answered with, in turn; the last one stays. A number is a status, and
        None a connection that is closed without an answer.
      logs: of pods, by name.
      gives_logs: 'page', 'api server' or 'nobody'.
      health: status of the answer about the server's health.
      shows_login: whether every address gives a page to log in.
      token: that every request must bring, if any.
      profiles: in a Kubeflow of several users, the token of each user by the namespace that is the user's own.
      created: the bodies of runs that were made.
      asked: method and path of all requests.
      terminated: whether the run was to be ended.
    """

    def __init__(self) -> None:
        self.runs: list[Mapping[str, Any] | int | None] = [run('SUCCEEDED', [])]
        self.logs: dict[str, str] = {}
        self.gives_logs = 'page'
        self.health = 200
        self.shows_login = False
        self.token = ''
        self.profiles: dict[str, str] = {}
        self._namespaces: dict[str, str] = {}
        self.created: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.terminated = False
        self.host = ''

    def why_not(self, namespace: str, token: str) -> tuple[int, str] | None:
        """Status and message by which a user is refused who asks for something of a namespace (canAccessExperiment in
        backend/src/apiserver/server/experiment_server.go)."""
        if not self.profiles:
            return None
        if not namespace:
            return 400, 'An experiment cannot have an empty namespace in multi-user mode'
        if self.profiles.get(namespace) == token:
            return None
        (user,) = [name for name, known in self.profiles.items() if known == token]
        return 403, (
            f"Failed to authorize with API: PermissionDenied: User '{user}@example.com' is not authorized with reason: "
            f'(request: &ResourceAttributes{{Namespace:{namespace},Verb:list,Resource:experiments,}}): Unauthorized'
        )

    def started_in(self, run_id: str, namespace: str) -> None:
        """Remembers whose a run is."""
        self._namespaces[run_id] = namespace

    def namespace_of(self, run_id: str) -> str:
        """Whose a run is; '' where all belong to everybody."""
        return self._namespaces.get(run_id, next(iter(self.profiles), ''))

    def start(self, body: dict[str, Any]) -> str:
        """Makes a run; returns its id."""
        self.created.append(body)
        return RUN

    def knows(self, run_id: str) -> bool:
        """Whether there is such a run."""
        return run_id == RUN

    def next_run(self, run_id: str) -> Mapping[str, Any] | int | None:
        """The answer to a question for the run."""
        if self.terminated:
            return run('CANCELED', [], 9)
        return self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]


_AnyServer = TypeVar('_AnyServer', bound=Server)


@contextlib.contextmanager
def serving(state: _AnyServer) -> Iterator[_AnyServer]:
    """A server on loopback, in a thread of its own."""

    class Handler(_Handler):
        server_state = state

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    state.host = f'http://127.0.0.1:{server.server_address[1]}'
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        state, url = self.server_state, urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if not self._is_let_in():
            return
        run_id = url.path.removeprefix('/apis/v2beta1/runs/')
        if url.path == '/apis/v2beta1/healthz':
            self._json({'multi_user': bool(state.profiles)}, state.health)
        elif url.path == '/apis/v2beta1/experiments':
            # Nothing is found, so that the client makes one.
            self._if_let_into(query.get('namespace', ''), lambda: self._json({}))
        elif state.knows(run_id):
            self._if_let_into(state.namespace_of(run_id), lambda: self._run(state.next_run(run_id)))
        elif url.path == '/k8s/pod/logs' and state.gives_logs == 'page':
            # Of pods of its own namespace, where none is named.
            if state.namespace_of(query['runid']) in ('', query.get('podnamespace', 'kubeflow')):
                self._log(query['podname'])
            else:
                self._answer(b'Could not get main container logs', 500, 'text/plain')
        elif url.path.startswith('/apis/v1alpha1/') and state.gives_logs == 'api server':
            self._log(url.path.split('/')[-2])
        elif url.path.startswith('/apis/v2beta1/'):
            self._json({'code': 5, 'message': 'Run not found'}, 404)
        else:
            # The page's server answers so at addresses that it does not know.
            self._answer(b'<!doctype html><title>Kubeflow Pipelines</title>', 200, 'text/html')

    def do_POST(self) -> None:
        state = self.server_state
        length = int(self.headers.get('Content-Length') or 0)
        body = json.loads(self.rfile.read(length) or b'{}')
        if not self._is_let_in():
            return
        if self.path == '/apis/v2beta1/experiments':
            namespace = body.get('namespace', '')
            made = {**body, 'experiment_id': f'experiment of {namespace}'}
            self._if_let_into(namespace, lambda: self._json(made))
        elif self.path == '/apis/v2beta1/runs':
            namespace = body['experiment_id'].removeprefix('experiment of ')
            self._if_let_into(namespace, lambda: self._start(body, namespace))
        elif self.path == f'/apis/v2beta1/runs/{RUN}:terminate':
            state.terminated = True
            self._json({})
        else:
            self._json({'code': 5, 'message': 'no such address'}, 404)

    def _is_let_in(self) -> bool:
        state = self.server_state
        state.asked.append(f'{self.command} {self.path}')
        if state.shows_login:
            self._answer(b'<!DOCTYPE html><title>Log in</title>', 200, 'text/html')
            return False
        known = {state.token, *state.profiles.values()} - {''}
        if known and self._token() not in known:
            self._json({'code': 16, 'message': 'no user'}, 401)
            return False
        return True

    def _token(self) -> str:
        return self.headers.get('Authorization', '').removeprefix('Bearer ')

    def _if_let_into(self, namespace: str, answer: Callable[[], None]) -> None:
        if refusal := self.server_state.why_not(namespace, self._token()):
            status, message = refusal
            self._json({'code': 7 if status == 403 else 3, 'message': message}, status)
        else:
            answer()

    def _start(self, body: dict[str, Any], namespace: str) -> None:
        run_id = self.server_state.start(body)
        self.server_state.started_in(run_id, namespace)
        self._json({**body, 'run_id': run_id})

    def _run(self, answer: Mapping[str, Any] | int | None) -> None:
        if answer is None:
            self.close_connection = True
        elif isinstance(answer, int):
            self._answer(b'', answer, 'text/plain')
        else:
            self._json(answer)

    def _log(self, name: str) -> None:
        if name in self.server_state.logs:
            self._answer(self.server_state.logs[name].encode(), 200, 'text/plain')
        else:
            self._answer(b'Could not get main container logs', 500, 'text/plain')

    def _json(self, body: Mapping[str, Any], status: int = 200) -> None:
        self._answer(json.dumps(body).encode(), status, 'application/json')

    def _answer(self, body: bytes, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The test says what it wants to know."""
