"""The command: quick help, one line for an error, status 0 only on success."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time

import pytest

COMMAND = [str(pathlib.Path(sys.executable).with_name('tfx-edge'))]


def run(*arguments: str, cwd: pathlib.Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True)


def test_help_lists_the_commands_within_a_second() -> None:
    start = time.monotonic()
    done = run('--help')
    assert time.monotonic() - start < 1
    assert done.returncode == 0
    for command in ('demo', 'run', 'search', 'compile', 'submit', 'inspect'):
        assert command in done.stdout


@pytest.mark.parametrize('command', ['demo', 'run', 'search', 'compile', 'submit', 'inspect'])
def test_help_of_a_command_succeeds(command: str) -> None:
    assert run(command, '--help').returncode == 0


@pytest.mark.parametrize('arguments', [[], ['compile'], ['inspect'], ['demo', '--no-such-option']])
def test_wrong_arguments_end_with_status_2_and_the_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: tfx-edge')


def test_error_is_one_line_on_stderr(tmp_path: pathlib.Path) -> None:
    done = run('inspect', 'absent.tflite', cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ''
    assert done.stderr == (
        'tfx-edge: absent.tflite cannot be read (No such file or directory); name a .tflite file.\n'
    )


def test_verbose_shows_the_trace_before_the_line(tmp_path: pathlib.Path) -> None:
    done = run('inspect', 'absent.tflite', '--verbose', cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith('Traceback')
    assert done.stderr.splitlines()[-1].startswith('tfx-edge: absent.tflite cannot be read')


@pytest.mark.parametrize(
    ('arguments', 'file', 'option'),
    [
        (['demo'], '/proc/demo-output/log.txt', '--output DIR'),
        (['compile', 'p.py', '--image', 'i', '--pipeline-root', 'gs://b'], 'tfx-edge.log', '--log FILE'),
        (['run', 'p.py'], 'tfx-edge.log', '--log FILE'),
    ],
    ids=['demo', 'compile', 'run'],
)
def test_working_folder_that_cannot_be_written_is_reported_in_one_line(
    arguments: list[str], file: str, option: str
) -> None:
    done = run(*arguments, cwd=pathlib.Path('/proc'))
    assert done.returncode == 1
    assert done.stderr == (
        f'tfx-edge: {file} cannot be written (No such file or directory); name a place that can be, by {option}.\n'
    )


@pytest.mark.parametrize(
    ('arguments', 'line'),
    [
        (['--image', 'i'], '--image is for a cluster; add --on-kubeflow URL, or leave it out.'),
        (['--env', 'A=b'], '--env is for a cluster; add --on-kubeflow URL, or leave it out.'),
        (['--patience', '3'], '--patience is for a cluster; add --on-kubeflow URL, or leave it out.'),
        (
            ['--on-kubeflow', 'http://x', '--tree'],
            '--tree is for this machine; leave it or --on-kubeflow out.',
        ),
        (['--on-kubeflow', 'http://x', '--run', ''], '--run has no id; give the one'),
        (
            ['--on-kubeflow', 'http://x', '--run', '1', '--image', 'i'],
            'the run has begun; with --run leave --image out.',
        ),
        (
            ['--on-kubeflow', 'http://x', '--run', '1', '--beam-arg=--a'],
            'the run has begun; with --run leave --beam-arg out.',
        ),
    ],
)
def test_options_of_the_demo_that_do_nothing_are_refused(arguments: list[str], line: str) -> None:
    done = run('demo', *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f'tfx-edge: {line}')
