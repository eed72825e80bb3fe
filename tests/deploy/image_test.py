"""The image: its steps are run as far as a machine without a container engine can, without fetching anything."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[2]
DOCKERFILE = ROOT / 'deploy' / 'Dockerfile'
ENVIRONMENT = '/opt/tfx-edge'
# pip reads these as its options; the environment of the tests has what the build needs.
OFFLINE = {'PIP_NO_INDEX': '1', 'PIP_NO_DEPS': '1', 'PIP_NO_BUILD_ISOLATION': '0'}


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith('#')]
    return [(line.partition(' ')[0], line.partition(' ')[2]) for line in lines]


def stages() -> list[list[tuple[str, str]]]:
    made: list[list[tuple[str, str]]] = []
    for instruction in instructions():
        if instruction[0] == 'FROM':
            made.append([])
        made[-1].append(instruction)
    return made


@pytest.fixture(scope='module')
def built() -> Iterator[pathlib.Path]:
    """The folder of the first stage, in a place that every user may read: its COPY and RUN instructions, executed."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        source = folder / 'source'
        source.mkdir()
        for keyword, text in stages()[0]:
            if keyword == 'COPY':
                *places, target = text.split()
                for place in places:
                    _copy(ROOT / place, source / target)
            elif keyword == 'RUN':
                command = text.replace('/wheels', f'{folder}/wheels').replace(ENVIRONMENT, f'{folder}/image')
                command = re.sub(r'^python(?= )', sys.executable, command)
                # In a new environment pip runs with what came with Python, and builds nothing.
                done = subprocess.run(
                    command,
                    shell=True,
                    cwd=source,
                    env={**os.environ, **OFFLINE},
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, f'{command}\n{done.stderr}'
        yield folder


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
    else:
        path = target / source.name if target.is_dir() else target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)


def as_nobody() -> list[str]:
    """What starts a command as a user who may write nothing; nothing where the tests run as such a one already."""
    if os.geteuid() != 0:
        return []
    user = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
    # The interpreter may lie in root's home: this user may read there, as nobody can in an image of its own.
    reads = [*user, '--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search']
    allowed = subprocess.run([*reads, 'true'], capture_output=True).returncode == 0
    return reads if allowed else user


def in_image(built: pathlib.Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command with no variable but the image's PATH, as a user without rights."""
    return subprocess.run(
        [*as_nobody(), str(built / 'image' / 'bin' / command[0]), *command[1:]],
        cwd='/',
        env={'PATH': f'{built}/image/bin:/usr/bin:/bin'},
        capture_output=True,
        text=True,
    )


def test_command_answers_in_the_image_as_a_user_without_rights(built: pathlib.Path) -> None:
    done = in_image(built, 'tfx-edge', '--help')
    assert done.returncode == 0, done.stderr
    assert 'compile' in done.stdout


def test_step_answers_in_the_image(built: pathlib.Path) -> None:
    done = in_image(built, 'python', '-m', 'tfx_edge.pipelines.kubeflow.step', '--help')
    assert done.returncode == 0, done.stderr
    assert '--json_serialized_invocation_args' in done.stdout
    where = in_image(built, 'python', '-c', 'import tfx_edge; print(tfx_edge.__file__)')
    assert where.stdout.startswith(str(built / 'image'))
    code = f'import os, sys; sys.exit(os.getuid() == 0 or os.access({str(built / "image")!r}, os.W_OK))'
    assert os.geteuid() != 0 or in_image(built, 'python', '-c', code).returncode == 0


def test_image_runs_as_a_user_without_rights_on_the_newest_line_of_tfx() -> None:
    first, last = stages()
    assert {first[0][1].split()[0], last[0][1]} == {'python:3.12-slim-trixie'}
    settings = dict(last)
    assert settings['USER'] == '1000'
    assert settings['ENV'].startswith(f'PATH={ENVIRONMENT}/bin:')
    assert any(text.startswith('useradd --uid 1000 ') for keyword, text in last if keyword == 'RUN')


def test_what_is_copied_is_sent_to_the_builder() -> None:
    sent = (DOCKERFILE.parent / 'Dockerfile.dockerignore').read_text().splitlines()
    copied = {
        place
        for keyword, text in instructions()
        if keyword == 'COPY' and not text.startswith('--from')
        for place in text.split()[:-1]
    }
    assert {f'!{place}' for place in copied} == {line for line in sent if line.startswith('!')}


def test_constraints_name_one_version_of_all_that_the_image_installs() -> None:
    """Found by following the dependencies in the lock, for Python 3.12 on Linux."""
    target = {
        'python_version': '3.12',
        'python_full_version': '3.12.11',
        'sys_platform': 'linux',
        'platform_system': 'Linux',
        'platform_machine': 'x86_64',
        'platform_python_implementation': 'CPython',
        'implementation_name': 'cpython',
        'os_name': 'posix',
        'extra': '',
    }
    lines = (ROOT / 'deploy' / 'constraints.txt').read_text().splitlines()
    pins: dict[str, list[str]] = {}
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate(target):
            pins.setdefault(requirement.name, []).append(str(requirement.specifier))
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}
    assert pins['tfx'][0].startswith('==1.21.')
    assert {'s3fs', 'aiobotocore', 'apache-beam', 'kfp', 'tensorflow', 'pip'} <= pins.keys()
    install = next(text for keyword, text in stages()[0] if keyword == 'RUN' and '[s3]' in text)
    assert '-c deploy/constraints.txt' in install
