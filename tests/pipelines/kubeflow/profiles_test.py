"""A Kubeflow of several users: each has a namespace, a token that opens it, and no other."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.pipelines.kubeflow import kfp_server
from tests.pipelines.kubeflow.golden.make_golden import FOLDER
from tests.pipelines.kubeflow.kfp_server import RUN, Server, Step, pod, run
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.cli import main
from tfx_edge.pipelines.kubeflow import submission
from tfx_edge.pipelines.kubeflow.kfp_connection import Access, Connection
from tfx_edge.pipelines.kubeflow.submission import RunOptions

pytestmark = pytest.mark.slow

COMMAND = str(pathlib.Path(sys.executable).with_name('tfx-edge'))
DIGITS = str(FOLDER / 'digits.yaml')
SECRET = 'eyJhbGciOi.secret.token'
NO_NAMESPACE = 'is a Kubeflow of several users; give the namespace of your profile by --namespace NAME.'


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    state.profiles = {'me': SECRET, 'another': 'of another'}
    with kfp_server.serving(state) as started:
        yield started


@pytest.fixture
def token(tmp_path: pathlib.Path) -> str:
    file = tmp_path / 'token'
    file.write_text(SECRET)
    return str(file)


@pytest.fixture
def context(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Where kfp keeps its settings; there are none."""
    from kfp import client

    file = tmp_path / '.config' / 'kfp' / 'context.json'
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setattr(client.Client, '_LOCAL_KFP_CONTEXT', str(file))
    return file


def refusal(access: Access) -> str:
    with pytest.raises(EdgeError) as caught:
        submission.submit(DIGITS, access, RunOptions())
    assert SECRET not in str(caught.value)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_run_is_in_the_namespace_and_so_are_its_logs(
    server: Server, token: str, context: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    access = Access(server.host, namespace='me', token_file=token)
    _, connection = submission.submit(DIGITS, access, RunOptions())
    assert [body['experiment_id'] for body in server.created] == ['experiment of me']
    server.logs[pod('Pruner.executor')] = 'tfx-edge: Pruner failed: no label\n'
    server.runs = [run('FAILED', [Step('Pruner', 10, 31, 'FAILED')], 32)]
    assert submission.follow(RUN, connection, 1) == 1
    printed = capsys.readouterr().out
    assert '       tfx-edge: Pruner failed: no label\n' in printed
    assert SECRET not in printed


def test_without_a_namespace_nothing_is_started(
    server: Server,
    token: str,
    context: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refusal(Access(server.host, token_file=token)) == f'{server.host} {NO_NAMESPACE}'
    output = tmp_path / 'demo'
    arguments = ['--image=image', f'--output={output}', '--token-file', token]
    assert main(['demo', '--on-kubeflow', server.host, *arguments]) == 1
    assert capsys.readouterr().err == f'tfx-edge: {server.host} {NO_NAMESPACE}\n'
    assert not output.exists()
    assert main(['submit', '--run', RUN, '--host', server.host, '--token-file', token]) == 1
    assert capsys.readouterr().err == f'tfx-edge: {server.host} {NO_NAMESPACE}\n'
    assert not [asked for asked in server.asked if 'healthz' not in asked]


def test_namespace_of_another_user_is_refused_with_what_to_do(
    server: Server,
    token: str,
    context: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = (
        f"{server.host} refuses the request in namespace 'another' (403 User 'me@example.com' is not authorized); give "
        'the namespace of your own profile by --namespace, or a token by --token-file FILE of a user who may work in '
        'this one.'
    )
    assert refusal(Access(server.host, namespace='another', token_file=token)) == line
    output = tmp_path / 'demo'
    arguments = ['--image=image', f'--output={output}', '--namespace=another', '--token-file', token]
    assert main(['demo', '--on-kubeflow', server.host, *arguments]) == 1
    assert capsys.readouterr().err == f'tfx-edge: {line}\n'
    assert not output.exists()


def test_run_of_another_user_is_not_followed(server: Server, token: str, context: pathlib.Path) -> None:
    server.started_in(RUN, 'another')
    connection = Connection(Access(server.host, namespace='me', token_file=token))
    with pytest.raises(
        EdgeError, match=r'refuses the request in namespace .me. \(403 .*; give the namespace'
    ):
        submission.follow(RUN, connection, 1)


def test_nobody_is_let_in_without_a_token(
    server: Server, context: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    wrong = tmp_path / 'wrong'
    wrong.write_text('a wrong one')
    for file in (None, str(wrong)):
        line = refusal(Access(server.host, namespace='me', token_file=file))
        assert '(401 no user); give a token by --token-file FILE' in line
        assert 'a wrong one' not in line


def test_namespace_that_kfp_was_told_counts(server: Server, token: str, tmp_path: pathlib.Path) -> None:
    """By its `set_user_namespace`, which writes this file."""
    file = tmp_path / '.config' / 'kfp' / 'context.json'
    file.parent.mkdir(parents=True)
    file.write_text('{"namespace": "me"}')
    done = subprocess.run(
        [COMMAND, 'submit', DIGITS, '--host', server.host, '--token-file', token],
        env={**os.environ, 'HOME': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, '')
    again = f'tfx-edge submit --run {RUN} --host {server.host} --namespace me --token-file {token}'
    assert done.stdout.splitlines()[1] == f'  follow it: {again}'


@pytest.mark.parametrize('text', ['', '{}', '["me"]', '{"namespace": null}'])
def test_damaged_settings_of_kfp_are_named(
    server: Server, token: str, context: pathlib.Path, text: str
) -> None:
    context.parent.mkdir(parents=True)
    context.write_text(text)
    line = refusal(Access(server.host, namespace='me', token_file=token))
    assert line == f'{context} holds no settings of kfp; remove it, or write {{"namespace": "NAME"}} into it.'


def test_namespace_of_the_pod_counts_and_no_file_is_left_in_its_home(
    server: Server,
    token: str,
    context: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kfp alone writes it down in the home folder, which a user that no image knows does not have."""
    from kfp import client

    mounted = tmp_path / 'namespace'
    mounted.write_text('me\n')
    monkeypatch.setattr(client.Client, '_NAMESPACE_PATH', str(mounted))
    submission.submit(DIGITS, Access(server.host, token_file=token), RunOptions())
    assert [body['experiment_id'] for body in server.created] == ['experiment of me']
    assert not context.exists()
