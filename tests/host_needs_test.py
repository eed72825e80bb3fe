"""What a machine must have: where it is missing make stops in one line; else it takes the newest line of TFX."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# What make and its recipes call on any machine; neither a compiler nor uv nor Python.
ALWAYS_THERE = ('awk', 'bash', 'cut', 'make', 'mkdir', 'rm', 'sort', 'touch')


class Machine:
    """A checkout, and a PATH with nothing but the programs that are given."""

    def __init__(self, folder: pathlib.Path, glibc: str) -> None:
        self.checkout = folder / 'checkout'
        self.checkout.mkdir()
        for name in ('Makefile', 'pyproject.toml', 'uv.lock'):
            shutil.copy(ROOT / name, self.checkout)
        self._programs = folder / 'bin'
        self._programs.mkdir()
        for name in ALWAYS_THERE:
            found = shutil.which(name)
            assert found is not None, name
            (self._programs / name).symlink_to(found)
        self.add('getconf', f'echo glibc {glibc}')

    def add(self, name: str, script: str = 'exit 1') -> None:
        path = self._programs / name
        path.write_text(f'#!{shutil.which("bash")}\n{script}\n')
        path.chmod(0o755)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._programs / 'make'), *arguments],
            cwd=self.checkout,
            env={'PATH': str(self._programs), 'HOME': str(self.checkout.parent)},
            capture_output=True,
            text=True,
        )

    def assert_stops_at_once(self, *arguments: str, line: str) -> None:
        before = sorted(os.listdir(self.checkout))
        start = time.monotonic()
        done = self.make(*arguments)
        assert time.monotonic() - start < 5
        assert done.returncode == 2
        assert (done.stdout, done.stderr.count('\n')) == ('', 1), done.stdout + done.stderr
        assert line in done.stderr
        assert sorted(os.listdir(self.checkout)) == before


@pytest.fixture
def old_machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path, '2.36')


@pytest.fixture
def new_machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path, '2.41')


@pytest.mark.parametrize('target', ['demo', 'test', 'test-fast', 'lint'])
def test_missing_compiler_is_named_before_anything_is_fetched(old_machine: Machine, target: str) -> None:
    old_machine.add('apt-get')
    old_machine.add('python3')
    old_machine.assert_stops_at_once(target, line="there is no g++: 'apt-get install g++'")


def test_missing_compiler_is_named_on_a_new_machine_that_is_asked_for_the_old_line(
    new_machine: Machine,
) -> None:
    new_machine.add('dnf')
    new_machine.assert_stops_at_once('demo', 'PYTHON=3.10', line="there is no g++: 'dnf install gcc-c++'")


def test_compiler_of_the_variable_is_the_one_that_is_looked_for(old_machine: Machine) -> None:
    old_machine.add('g++')
    old_machine.assert_stops_at_once('demo', 'CXX=no-such-compiler -O1', line='there is no no-such-compiler:')


@pytest.mark.parametrize('has_python', [True, False])
def test_python_without_venv_is_named_before_anything_is_fetched(
    new_machine: Machine, has_python: bool
) -> None:
    new_machine.add('apt-get')
    if has_python:
        new_machine.add('python3', 'echo "No module named ensurepip" >&2; exit 1')
    new_machine.assert_stops_at_once('demo', line="there is none: 'apt-get install python3-venv'")


def test_uv_of_the_machine_needs_no_python_with_venv(new_machine: Machine) -> None:
    """It is asked for the Pythons of TFX 1.21, the tested one first, and fetches that one where none is there."""
    new_machine.add('uv', 'if [ "$1" = --version ]; then echo uv 99.0; else echo "$@" >&2; exit 1; fi')
    done = new_machine.make('demo')
    assert done.stderr.splitlines()[0] == 'sync --locked --quiet --python 3.12 --dry-run'
    assert not (new_machine.checkout / '.uv').exists()


@pytest.mark.parametrize(
    ('glibc', 'pythons', 'taken'),
    [
        ('2.41', ['3.10', '3.13'], '3.13'),
        ('2.39', ['3.10', '3.11', '3.12', '3.13'], '3.12'),
        ('2.39', ['3.10'], '3.12'),
        ('2.38', ['3.10', '3.12'], '3.10'),
        ('2.17', [], '3.10'),
    ],
)
def test_newest_tested_python_that_the_machine_can_run_is_taken(
    tmp_path: pathlib.Path, glibc: str, pythons: list[str], taken: str
) -> None:
    machine = Machine(tmp_path, glibc)
    machine.add('g++')
    machine.add(
        'uv',
        f"""
        case "$1 $2" in
          '--version ') echo uv 99.0;;
          'python find') [[ ' {' '.join(pythons)} ' == *" ${{@: -1}} "* ]] && echo "${{@: -1}}";;
          *) echo "$@" >&2; exit 1;;
        esac""",
    )
    # The interpreter itself, which has headers.
    for version in pythons:
        machine.add(version, 'exit 0')
    done = machine.make('demo')
    assert f'--python {taken} ' in done.stderr.splitlines()[0]
