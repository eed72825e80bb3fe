"""`tfx-edge submit`: kfp's own client against a server that plays runs; what is sent, printed and returned."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import IO, Any

import pytest
import yaml

from tests.pipelines.kubeflow import kfp_server
from tests.pipelines.kubeflow.golden.make_golden import FOLDER
from tests.pipelines.kubeflow.kfp_server import RUN, Server, Step, pod, run
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.failure import CommandError
from tfx_edge.pipelines.kubeflow import run_progress, submission
from tfx_edge.pipelines.kubeflow.kfp_connection import Access, Connection
from tfx_edge.pipelines.kubeflow.run_steps import node_id
from tfx_edge.pipelines.kubeflow.submission import RunOptions

pytestmark = pytest.mark.slow

COMMAND = str(pathlib.Path(sys.executable).with_name('tfx-edge'))
DIGITS = str(FOLDER / 'digits.yaml')
ROOT = 'minio://mlpipeline/v2/artifacts'
SECRET = 'eyJhbGciOi.secret.token'
LINE = 'tfx-edge: tfx_edge.components.pruner.executor.Executor failed: the examples hold no label; name one.'
LAUNCHER = '\nI1005 08:00:31.1 launcher.go:123] publish failed\nF1005 08:00:31.2 main.go:56] exit status 1\n'


@pytest.fixture
def server() -> Iterator[Server]:
    with kfp_server.serving(Server()) as started:
        yield started


def submitted(server: Server, options: RunOptions = RunOptions(), file: str = DIGITS) -> dict[str, Any]:  # noqa: B008
    """The body with which a run was made."""
    assert submission.submit(file, Access(server.host), options)[0] == RUN
    (body,) = server.created
    return body


def followed(server: Server, minutes: float = 1, **access: str) -> int:
    return submission.follow(RUN, Connection(Access(server.host, **access)), minutes, poll_seconds=0.01)


def command(
    server: Server,
    *arguments: str,
    home: pathlib.Path,
    environment: Mapping[str, str] | None = None,
    stream: IO[str] | None = None,
) -> subprocess.Popen[str]:
    """The command, which reads and writes at a terminal if one is given."""
    return subprocess.Popen(
        [COMMAND, 'submit', *arguments, '--host', server.host],
        stdin=stream or subprocess.DEVNULL,
        stdout=stream or subprocess.PIPE,
        stderr=stream or subprocess.PIPE,
        text=True,
        env={**os.environ, 'HOME': str(home), **(environment or {})},
        # A shell that starts tests in the background has SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(started: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, errors = started.communicate(timeout=60)
    finally:
        started.kill()
        started.wait()
    return started.returncode, out, errors


def test_pipeline_is_sent_whole_with_its_root_and_its_cache(server: Server) -> None:
    body = submitted(server)
    spec = body['pipeline_spec']
    assert len(spec['root']['dag']['tasks']) == 9
    assert spec['root']['dag']['tasks']['Pruner']['cachingOptions'] == {'enableCache': True}
    assert body['runtime_config']['pipeline_root'] == ROOT
    assert not body['runtime_config'].get('parameters')


def test_second_document_is_sent_as_the_platform_spec(server: Server, tmp_path: pathlib.Path) -> None:
    mounts = {'pvcMount': [{'constant': 'data', 'mountPath': '/data'}]}
    platform = {'platforms': {'kubernetes': {'deploymentSpec': {'executors': {'Pruner_executor': mounts}}}}}
    file = tmp_path / 'with_volume.yaml'
    file.write_text(pathlib.Path(DIGITS).read_text() + '---\n' + yaml.safe_dump(platform))
    body = submitted(server, file=str(file))
    assert body['pipeline_spec']['platform_spec'] == platform
    assert 'Pruner' in body['pipeline_spec']['pipeline_spec']['components']


def test_options_of_a_run_are_sent(server: Server) -> None:
    options = RunOptions(
        parameters=('pruning={"target_sparsity": 0.5}', 'fine_tuning="{}"'),
        pipeline_root='s3://mine/root',
        experiment='half',
        run_name='half of the weights',
        use_cache=False,
    )
    body = submitted(server, options)
    assert body['display_name'] == 'half of the weights'
    assert body['runtime_config'] == {
        'parameters': {'pruning': '{"target_sparsity": 0.5}', 'fine_tuning': '{}'},
        'pipeline_root': 's3://mine/root',
    }
    tasks = body['pipeline_spec']['root']['dag']['tasks'].values()
    assert not any(task['cachingOptions'].get('enableCache') for task in tasks)
    assert any('experiments?' in asked and 'half' in asked for asked in server.asked)


@pytest.mark.parametrize(
    ('given', 'line'),
    [
        ('prunning={}', "has no parameter 'prunning'; it has: count, pruning, rate"),
        ('pruning', '--parameter pruning has no value; write --parameter pruning=VALUE'),
        ('count=three', '--parameter count=three does not fit; expected JSON of type NUMBER_INTEGER'),
        ('pruning={}', "needs a value for 'rate'; give --parameter rate=VALUE"),
    ],
)
def test_parameters_are_checked_before_anything_is_sent(
    server: Server, tmp_path: pathlib.Path, given: str, line: str
) -> None:
    parameters = {
        'pruning': {'parameterType': 'STRING', 'isOptional': True},
        'count': {'parameterType': 'NUMBER_INTEGER', 'defaultValue': 1},
        'rate': {'parameterType': 'NUMBER_DOUBLE'},
    }
    spec = {'pipelineInfo': {'name': 'p'}, 'root': {'inputDefinitions': {'parameters': parameters}}}
    file = tmp_path / 'p.yaml'
    file.write_text(yaml.safe_dump(spec))
    with pytest.raises(EdgeError, match=line):
        submission.submit(str(file), Access(server.host), RunOptions((given,)))
    assert not server.asked


@pytest.mark.parametrize(
    ('name', 'text', 'line'),
    [
        ('absent.yaml', None, r'absent.yaml cannot be read \(No such file or directory\)'),
        ('digits.json', '{}', 'digits.json is no YAML file by its name'),
        ('a.yaml', 'a: [', 'a.yaml is no YAML;'),
        ('a.yaml', 'a: 1', 'a.yaml holds no pipeline; give what `tfx-edge compile` wrote'),
        ('a.yaml', 'pipelineSpec: {}', 'a.yaml is a job of Vertex AI; compile it with --format kfp'),
    ],
)
def test_other_files_are_refused(tmp_path: pathlib.Path, name: str, text: str | None, line: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(EdgeError, match=line):
        submission.submit(str(tmp_path / name), Access('http://localhost:1'), RunOptions())


def test_run_is_followed_to_its_end(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    names = ['Data', 'Trainer', 'Pusher']
    server.runs = [
        run('PENDING', []),
        run('RUNNING', [Step('Trainer')], names=names),
        run('RUNNING', [Step('Data', 10, is_importer=True), Step('Trainer', 12)], names=names),
        run(
            'SUCCEEDED',
            [
                Step('Data', 10, 12, 'SUCCEEDED', is_importer=True),
                Step('Trainer', 12, 75, 'SUCCEEDED'),
                Step('Pusher', 80, 130, 'SUCCEEDED'),
            ],
            131,
            names,
        ),
    ]
    assert followed(server) == 0
    assert capsys.readouterr().out.splitlines() == [
        ' 0:10  Data: started',
        ' 0:12  Trainer: started',
        ' 0:12  Data: finished in 2 s',
        ' 1:15  Trainer: finished in 63 s',
        ' 1:20  Pusher: started',
        ' 2:10  Pusher: finished in 50 s',
        ' 2:11  the run succeeded',
        f'what it made, with the page of an EdgeEvaluator: {server.host}/#/runs/details/{RUN}',
    ]


def test_cached_steps_are_told_from_those_that_work(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both begin in the same second, and neither task says which executor is its own."""
    server.runs = [
        run('RUNNING', [Step('A', 10, executor='SKIPPED')]),
        run('RUNNING', [Step('A', 10, 11, 'SUCCEEDED', 'SKIPPED'), Step('B', 10)]),
        run('SUCCEEDED', [Step('A', 10, 11, 'SUCCEEDED', 'SKIPPED'), Step('B', 10, 40, 'SUCCEEDED')], 41),
    ]
    assert followed(server) == 0
    assert capsys.readouterr().out.splitlines()[:-2] == [
        ' 0:10  B: started',
        ' 0:11  A: cached',
        ' 0:40  B: finished in 30 s',
    ]


def test_a_step_refused_within_a_second_is_told_from_one_that_was_cached(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """The executor that failed begins and ends when the cached step does."""
    steps = [
        Step('Cached', 10, 11, 'SUCCEEDED', 'SKIPPED'),
        Step('Failing', 10, 11, 'FAILED'),
        Step('Late', 10, 11, 'SUCCEEDED', 'SKIPPED'),
    ]
    server.runs = [run('FAILED', steps, 12)]
    server.logs[pod('Failing.executor')] = f'{LINE}\n'
    assert followed(server) == 1
    assert capsys.readouterr().out.splitlines()[:-1] == [
        ' 0:10  Failing: started',
        ' 0:11  Cached: cached',
        ' 0:11  Failing: failed after 1 s',
        f'       {LINE}',
        ' 0:11  Late: cached',
    ]


def test_what_a_step_found_is_printed_from_its_log(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluator, pusher = pod('EdgeEvaluator.executor'), pod('Pusher.executor')
    server.logs[evaluator] = (
        f'loading\ntfx-edge result: verdict: BLESSED\ntfx-edge result:   max_zip: 1\n{LAUNCHER}'
    )
    steps = [Step(name, 10, 20, 'SUCCEEDED') for name in ('EdgeEvaluator', 'Pusher', 'Trainer')]
    spec = yaml.safe_load(pathlib.Path(DIGITS).read_text())
    server.runs = [{**run('SUCCEEDED', steps, 21), 'pipeline_spec': spec}]
    assert followed(server) == 0
    assert capsys.readouterr().out.splitlines()[:-2] == [
        ' 0:10  EdgeEvaluator: started',
        ' 0:10  Pusher: started',
        ' 0:10  Trainer: started',
        ' 0:20  EdgeEvaluator: finished in 10 s',
        '       verdict: BLESSED',
        '         max_zip: 1',
        ' 0:20  Pusher: finished in 10 s',
        '       its log cannot be had',
        ' 0:20  Trainer: finished in 10 s',
    ]
    asked = [line for line in server.asked if 'logs' in line]
    assert any(evaluator in line for line in asked)
    assert any(pusher in line for line in asked)
    # Logs are long; a Trainer finds nothing out.
    assert not any(pod('Trainer.executor') in line for line in asked)


def test_what_steps_of_a_stored_pipeline_found_is_printed_too(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server does not tell what such a run consists of; steps without results say nothing."""
    server.logs[pod('Judge.executor')] = 'tfx-edge result: verdict: BLESSED\n'
    server.logs[pod('Trainer.executor')] = 'trained\n'
    steps = [Step(name, 10, 20, 'SUCCEEDED') for name in ('Gone', 'Judge', 'Trainer')]
    server.runs = [run('SUCCEEDED', steps, 21)]
    assert followed(server) == 0
    assert capsys.readouterr().out.splitlines()[3:-2] == [
        ' 0:20  Gone: finished in 10 s',
        ' 0:20  Judge: finished in 10 s',
        '       verdict: BLESSED',
        ' 0:20  Trainer: finished in 10 s',
    ]


@pytest.mark.parametrize('gives_logs', ['page', 'api server'])
def test_line_of_a_failed_step_is_printed(
    server: Server, capsys: pytest.CaptureFixture[str], gives_logs: str
) -> None:
    server.gives_logs = gives_logs
    server.logs[pod('Pruner.executor')] = f'Traceback\n  tfx-edge: no\ntfx-edge: image 1\n{LINE}{LAUNCHER}'
    server.runs = [
        run('RUNNING', [Step('Pruner', 10)]),
        run('FAILED', [Step('Pruner', 10, 31, 'FAILED'), Step('Pusher', 31, 31, '')], 32),
    ]
    assert followed(server) == 1
    assert capsys.readouterr().out.splitlines() == [
        ' 0:10  Pruner: started',
        ' 0:31  Pruner: failed after 21 s',
        f'       {LINE}',
        ' 0:31  Pusher: not run',
        ' 0:32  the run failed',
    ]


def test_each_failed_step_and_each_attempt_has_its_line(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (0, 1):
        name = pod(f'Pruner.executor({number})', 'retry-system-container-impl')
        server.logs[name] = f'tfx-edge: Pruner failed: {number}\n'
    server.logs[pod('Other.executor')] = 'tfx-edge: Other failed: memory\n'
    other = Step('Other', 12, 20, 'FAILED')
    server.runs = [
        run('RUNNING', [Step('Pruner', 10, attempts=1), other]),
        run('RUNNING', [Step('Pruner', 10, attempts=2), other]),
        run('FAILED', [Step('Pruner', 10, 60, 'FAILED', attempts=2), other], 61),
    ]
    assert followed(server) == 1
    lines = capsys.readouterr().out.splitlines()
    # The API does not tell when the first attempt failed.
    assert lines.pop(4).endswith('  Pruner: an attempt failed; it is repeated')
    assert lines == [
        ' 0:10  Pruner: started',
        ' 0:12  Other: started',
        ' 0:20  Other: failed after 8 s',
        '       tfx-edge: Other failed: memory',
        '       tfx-edge: Pruner failed: 0',
        ' 1:00  Pruner: failed after 50 s',
        '       attempt 2: tfx-edge: Pruner failed: 1',
        ' 1:01  the run failed',
    ]


def test_step_whose_driver_failed_has_the_last_line_of_its_log(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    name = pod('Pruner-driver', 'system-container-driver')
    server.logs[name] = 'I1005 main.go:1] start\nF1005 main.go:79] no route to seaweedfs\n'
    failed = run('FAILED', [], 20)
    failed['run_details']['task_details'] = kfp_server.driver_failed('Pruner', 14)
    server.runs = [failed]
    assert followed(server) == 1
    assert capsys.readouterr().out.splitlines() == [
        ' 0:14  Pruner: failed before it started',
        "       its log ends with 'F1005 main.go:79] no route to seaweedfs'; see: "
        f'kubectl logs -n kubeflow {name} -c main',
        ' 0:20  the run failed',
    ]


def test_run_that_failed_before_its_first_step_says_why(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.logs[kfp_server.ROOT_DRIVER] = 'F1005 main.go:79] the pipeline root is no URI\n'
    failed = run('FAILED', [], 5)
    failed['error'] = {'code': 13, 'message': 'child failed\nnode 1'}
    failed['run_details']['task_details'][1]['state'] = 'FAILED'
    server.runs = [failed]
    assert followed(server) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ' 0:03  the run: failed before its first step'
    assert lines[1].startswith(
        "       its log ends with 'F1005 main.go:79] the pipeline root is no URI'; see: kubectl"
    )
    assert lines[2:] == [' 0:05  the run failed: child failed']


def test_without_a_log_the_line_says_how_to_see_it(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.gives_logs = 'nobody'
    server.runs = [run('FAILED', [Step('Pruner', 10, 31, 'FAILED')], 32)]
    assert followed(server, namespace='me') == 1
    line = f'does not give its log; see: kubectl logs -n me {pod("Pruner.executor")} -c main'
    assert f'       {server.host} {line}' in capsys.readouterr().out.splitlines()


def test_nodes_have_the_ids_that_argo_gave_them() -> None:
    """From a workflow on a cluster: what is computed here is what the API names."""
    workflow = 'general-cpu-rnggt'
    assert node_id(workflow, f'{workflow}.root-driver') == f'{workflow}-3519902132'
    assert node_id(workflow, f'{workflow}.root.workspace-name.executor') == f'{workflow}-807657059'


def test_lost_connection_is_tried_again(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    begun, done = run('RUNNING', [Step('A', 10)]), run('SUCCEEDED', [Step('A', 10, 20, 'SUCCEEDED')], 21)
    server.runs = [begun, 503, 503, 502, 504, begun, *[None] * 5, done]
    assert followed(server) == 0
    lines = [line.partition('  ')[2] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert lines[0] == 'A: started'
    # One line for each time that the connection was lost, not one for each attempt.
    assert lines[1] == f'no answer from {server.host} (503 Service Unavailable); trying again'
    assert lines[2].startswith(f'no answer from {server.host} (')
    assert lines[3:] == ['A: finished in 10 s', 'the run succeeded']


def test_patience_ends(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_progress, '_LINE_SECONDS', 0.2)
    server.runs = [503]
    with pytest.raises(CommandError, match=r'for 0\.01 minutes \(503 .*\); the run is left as it is'):
        followed(server, minutes=0.01)
    assert 2 <= capsys.readouterr().out.count('trying again') <= 3


def test_server_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        host = f'http://127.0.0.1:{free.getsockname()[1]}'
        line = rf'{host} does not answer \(.*Connection refused.*\); start `kubectl port-forward'
        with pytest.raises(EdgeError, match=line):
            submission.submit(DIGITS, Access(host), RunOptions())


@pytest.mark.parametrize(
    ('host', 'line'),
    [
        ('localhost:8080', "--host is 'localhost:8080'; expected a URL such as http://localhost:8080"),
        ('https://me:pa55@kubeflow', 'secrets do not belong into arguments: use --token-file FILE'),
    ],
)
def test_other_hosts_are_refused(host: str, line: str) -> None:
    with pytest.raises(EdgeError, match=line) as caught:
        Connection(Access(host))
    assert 'pa55' not in str(caught.value)


def test_page_to_log_in_is_no_server(server: Server) -> None:
    server.shows_login = True
    with pytest.raises(
        EdgeError, match='does not answer as Kubeflow Pipelines does; if it shows a page to log in'
    ):
        Connection(Access(server.host))


@pytest.mark.parametrize(
    ('status', 'line'),
    [(403, r'refuses the request \(403 .*\); give a token'), (503, r'does not answer \(503 .*\); start')],
)
def test_reason_why_kfp_gives_up_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, status: int, line: str
) -> None:
    """kfp asks five times for the server's health, and then only says that it failed."""
    server.health = status
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with pytest.raises(EdgeError, match=line):
        Connection(Access(server.host))


def test_namespace_goes_to_the_server_and_its_logs(server: Server) -> None:
    submission.submit(DIGITS, Access(server.host, namespace='me'), RunOptions())
    server.runs = [run('FAILED', [Step('Pruner', 10, 31, 'FAILED')], 32)]
    assert followed(server, namespace='me') == 1
    (experiments,) = [asked for asked in server.asked if 'experiments?' in asked]
    logs = [asked for asked in server.asked if '/k8s/pod/logs?' in asked]
    assert 'namespace=me' in experiments
    assert logs
    assert all('podnamespace=me' in asked and 'createdat=2026-10-05' in asked for asked in logs)


def test_unknown_run_is_named(server: Server) -> None:
    with pytest.raises(EdgeError, match=r'has not found it \(Run not found\); see that --host and the id'):
        submission.follow('another', Connection(Access(server.host)), 1)


def test_token_of_a_file_lets_in_and_is_never_shown(server: Server, tmp_path: pathlib.Path) -> None:
    server.token = SECRET
    token = tmp_path / 'token'
    token.write_text(SECRET + '\n')
    asked = [DIGITS, '--wait', '--namespace', 'me']
    status, out, errors = ended(command(server, *asked, '--token-file', str(token), home=tmp_path))
    assert (status, errors) == (0, '')
    assert out.splitlines()[0] == f"run {RUN} of pipeline 'digits': {server.host}/#/runs/details/{RUN}"
    assert '  the run succeeded\n' in out
    assert SECRET not in out
    # The environment variable of kfp names a file too.
    variable = {'KF_PIPELINES_SA_TOKEN_PATH': str(token)}
    status, out, errors = ended(command(server, *asked, home=tmp_path, environment=variable))
    assert status == 0
    assert len(server.created) == 2
    token.write_text('another')
    status, out, errors = ended(
        command(server, *asked, '--token-file', str(token), '--verbose', home=tmp_path)
    )
    assert status == 1
    assert errors.splitlines()[-1] == (
        f'tfx-edge: {server.host} refuses the request (401 no user); give a token by --token-file FILE, and your '
        'namespace by --namespace.'
    )
    assert 'another' not in out + errors


@pytest.mark.parametrize(
    ('sent', 'ends', 'line'),
    [(signal.SIGINT, 130, ''), (signal.SIGTERM, 143, 'tfx-edge: terminated\n')],
)
def test_signal_leaves_the_run_which_can_be_taken_up_again(
    server: Server, tmp_path: pathlib.Path, sent: signal.Signals, ends: int, line: str
) -> None:
    server.runs = [run('RUNNING', [Step('Trainer', 12)])]
    started = command(server, DIGITS, '--wait', home=tmp_path)
    assert started.stdout is not None
    lines = [started.stdout.readline() for _ in range(3)]
    started.send_signal(sent)
    status, out, errors = ended(started)
    again = f'tfx-edge submit --run {RUN} --host {server.host}'
    assert lines[1:] == [f'  follow it: {again}\n', ' 0:12  Trainer: started\n']
    assert (status, errors) == (ends, line)
    assert out == f'the run goes on; follow it again: {again}\n'
    assert not server.terminated
    server.runs = [run('SUCCEEDED', [Step('Trainer', 12, 20, 'SUCCEEDED')], 21)]
    status, out, _ = ended(command(server, '--run', RUN, home=tmp_path))
    assert status == 0
    assert out.splitlines()[:2] == [' 0:12  Trainer: started', ' 0:20  Trainer: finished in 8 s']
    assert len(server.created) == 1


@pytest.mark.parametrize(('answer', 'status'), [('y', 1), ('', 130)])
def test_ctrl_c_on_a_terminal_asks_whether_to_terminate_the_run(
    server: Server, tmp_path: pathlib.Path, answer: str, status: int
) -> None:
    server.runs = [run('RUNNING', [Step('Trainer', 12)])]
    terminal, end = os.openpty()
    with os.fdopen(end, 'w') as stream:
        started = command(server, '--run', RUN, home=tmp_path, stream=stream)
    shown = _until(terminal, 'Trainer: started')
    started.send_signal(signal.SIGINT)
    shown += _until(terminal, 'terminate the run? [y/N] ')
    os.write(terminal, f'{answer}\n'.encode())
    shown += _until(terminal, None)
    os.close(terminal)
    assert ended(started)[0] == status
    assert server.terminated is bool(answer)
    assert ('the run was terminated' if answer else 'the run goes on; follow it again: ') in shown


def _until(terminal: int, text: str | None) -> str:
    """What a terminal shows until a text, or until the program has ended."""
    shown = ''
    while text is None or text not in shown:
        try:
            read = os.read(terminal, 4096)
        except OSError:
            read = b''
        if not read:
            assert text is None, shown
            break
        shown += read.decode()
    return shown


def test_run_takes_no_options_of_a_new_one(server: Server, tmp_path: pathlib.Path) -> None:
    status, _, errors = ended(command(server, '--run', RUN, '--no-cache', home=tmp_path))
    assert status == 1
    assert errors == 'tfx-edge: the run has begun; with --run leave out what a new run is given.\n'
    assert not server.asked
