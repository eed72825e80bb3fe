"""A console for progress only: everything else goes to the log, whoever writes it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

PROGRAM = """
import logging, os, subprocess, sys
from tfx_edge.pipelines.failure import CommandError
from tfx_edge.pipelines.console import quiet

try:
    with quiet('logs/run.txt') as progress:
        progress.line('started')
        print('python prints')
        os.write(2, b'C++ writes\\n')
        subprocess.run([sys.executable, '-c', 'print("a child prints")'])
        logging.getLogger('beam').info('a library logs')
        logging.getLogger('tfx_edge.components.x').info('step %d of 10', 5)
        logging.getLogger('tfx_edge.components.x').debug('detail')
        {body}
except CommandError as error:
    print('caught:', error, error.log)
print('after')
"""


def run(tmp_path: pathlib.Path, body: str = 'pass') -> tuple[list[str], str]:
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM.format(body=body)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ''
    return done.stdout.splitlines(), (tmp_path / 'logs' / 'run.txt').read_text()


def test_console_shows_progress_and_lines_of_tfx_edge_alone(tmp_path: pathlib.Path) -> None:
    lines, _ = run(tmp_path)
    assert lines == [' 0:00  started', ' 0:00    step 5 of 10', 'after']


def test_log_holds_what_anyone_writes(tmp_path: pathlib.Path) -> None:
    _, log = run(tmp_path)
    for text in ('python prints', 'C++ writes', 'a child prints', 'a library logs', 'step 5 of 10'):
        assert text in log


def test_failure_is_reported_with_the_log_that_holds_its_trace(tmp_path: pathlib.Path) -> None:
    lines, log = run(tmp_path, 'raise ValueError("no such split")')
    assert lines[-2:] == ['caught: ValueError: no such split logs/run.txt', 'after']
    assert 'Traceback (most recent call last)' in log


def test_closed_console_does_not_end_the_run(tmp_path: pathlib.Path) -> None:
    program = PROGRAM.format(body='[progress.line("more") for _ in range(9999)]; print("the end")')
    with subprocess.Popen(
        [sys.executable, '-c', program.replace("print('after')", '')],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 0
    assert 'the end' in (tmp_path / 'logs' / 'run.txt').read_text()
