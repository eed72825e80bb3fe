"""The image, as far as it is known without building it: `make test-image` builds and runs it."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import venv

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[2]
DOCKERFILE = ROOT / 'deploy' / 'Dockerfile'
SLIM = ROOT / 'deploy' / 'image' / 'slim.py'
BASE = 'docker.io/library/python:3.12-slim-trixie'
TIME = 946684800


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r'\\\n', '', DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith('#')]
    return [(line.partition(' ')[0], line.partition(' ')[2]) for line in lines]


def stages() -> dict[str, list[tuple[str, str]]]:
    made: dict[str, list[tuple[str, str]]] = {}
    for keyword, text in instructions():
        if keyword == 'FROM':
            made[text.rpartition(' AS ')[2]] = body = []
        body.append((keyword, text))
    return made


def locked() -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(
        r'^\[\[package\]\]\nname = "(.+)"\nversion = "(.+)"', (ROOT / 'uv.lock').read_text(), re.M
    ):
        versions.setdefault(name, set()).add(version)
    return versions


def test_image_runs_as_a_user_without_rights_on_the_newest_line_of_tfx() -> None:
    made = stages()
    last = dict(made[BASE])
    assert made['tools'][0][1] == f'{BASE} AS tools'
    assert last['USER'] == '1000'
    assert last['ENV'].startswith('PATH=/opt/tfx-edge/bin:')
    assert last['ENTRYPOINT'] == '["dumb-init", "--"]'
    assert 'useradd --uid 1000 ' in last['RUN']


def test_every_builder_reads_the_dockerfile() -> None:
    """No syntax of BuildKit alone, and no stage that is built in vain: buildah 1.28 builds each."""
    text = DOCKERFILE.read_text()
    assert not re.search(r'--mount|--chmod|--link|<<|^# *syntax', text, re.MULTILINE)
    made = stages()
    used = {name for keyword, rest in instructions() for name in re.findall(r'--from=(\S+)', rest)}
    used |= {rest.split()[0] for keyword, rest in instructions() if keyword == 'FROM'}
    assert set(made) <= used | {BASE}


def test_what_our_files_say_is_not_part_of_what_the_packages_are_made_of() -> None:
    """Else an edit of them makes the layer of all packages anew."""
    copied = [text for keyword, text in stages()['packages'] if keyword == 'COPY']
    assert copied == [
        'deploy/image/slim.py /build/slim.py',
        '--from=requirements /requirements/packages.txt /build/packages.txt',
    ]


def test_what_is_copied_is_sent_to_the_builder() -> None:
    sent = (DOCKERFILE.parent / 'Dockerfile.dockerignore').read_text().splitlines()
    copied = {
        place
        for keyword, text in instructions()
        if keyword == 'COPY' and not text.startswith('--from')
        for place in text.split()[:-1]
    }
    folders = {line[1:] for line in sent if line.startswith('!')}
    assert {
        next((f for f in folders if f'{place}/'.startswith(f'{f}/')), place) for place in copied
    } == folders


def test_tensorflow_in_the_image_has_the_version_of_the_lock() -> None:
    versions = locked()
    assert versions['tensorflow-cpu'] <= versions['tensorflow']
    assert len(versions['tensorflow-cpu']) == 1


def test_uv_in_the_image_is_that_of_make_and_its_hashes_are_checked() -> None:
    (version,) = re.findall(r'^UV_VERSION := (.+)$', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    assert (
        (ROOT / 'deploy' / 'image' / 'uv.txt').read_text().startswith(f'uv=={version} \\\n    --hash=sha256:')
    )
    installs = [text for keyword, text in instructions() if keyword == 'RUN' and ' -r ' in text]
    assert len(installs) == 3
    assert all('--require-hashes' in text for text in installs)


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
    # Users of the image who are not on a GPU get none of its libraries.
    assert not [name for name in pins if name.startswith('nvidia-')]


@pytest.fixture
def packages(tmp_path: pathlib.Path) -> pathlib.Path:
    """The site-packages of an environment with a few packages in the form of those of the image."""
    venv.create(tmp_path / 'env', symlinks=True)
    (folder,) = (tmp_path / 'env').glob('lib/python3*/site-packages')
    for name, text in {
        'tensorflow/__init__.py': '"""Text."""\n',
        'tensorflow/_api/v2/test/__init__.py': '',
        'tensorflow/include/eigen.h': '',
        'some/tests/some_test.py': 'assert False\n',
        'some/code.py': '"""Text."""\nassert True\n',
        'some/paired_test.py': '',
        'tfx/code_test.py': '',
        'tfx_edge/tests/code.py': '',
        'some/stubs.pyi': '',
        'google/cloud/client.py': '"""Text."""\n',
        'tensorflow_cpu-2.21.0.dist-info/METADATA': 'Name: tensorflow_cpu\nVersion: 2.21.0\n',
        'tensorflow_data_validation-1.21.0.dist-info/METADATA': (
            'Metadata-Version: 2.1\nName: tensorflow-data-validation\nVersion: 1.21.0\n'
            'Requires-Dist: numpy>=1\nRequires-Dist: pyfarmhash<0.4,>=0.2.2\n\nText\n'
        ),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def slim(packages: pathlib.Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-W', 'ignore', str(SLIM), str(packages.parents[2])]
    return subprocess.run(command, capture_output=True, text=True)


def test_only_what_runs_stays(packages: pathlib.Path) -> None:
    done = slim(packages)
    assert done.returncode == 0, done.stderr
    kept = {
        path.relative_to(packages).as_posix() for path in packages.rglob('*.py*') if path.suffix != '.pyc'
    }
    assert kept == {
        'tensorflow/__init__.py',
        'tensorflow/_api/v2/test/__init__.py',
        'some/code.py',
        'some/paired_test.py',
        'tfx_edge/tests/code.py',
        'google/cloud/client.py',
    }
    assert not (packages / 'tensorflow' / 'include').exists()


def test_all_modules_have_byte_code_that_an_edit_replaces(packages: pathlib.Path) -> None:
    slim(packages)
    code = packages / 'some' / 'code.py'
    texts = 'import some.code, google.cloud.client as c; print(some.code.__cached__, some.code.__doc__, c.__doc__)'

    def printed() -> list[str]:
        environment = {**os.environ, 'PYTHONPATH': str(packages), 'PYTHONDONTWRITEBYTECODE': '1'}
        return subprocess.check_output(
            [sys.executable, '-c', texts], env=environment, text=True, cwd=packages
        ).split()

    cached, *documents = printed()
    assert pathlib.Path(cached).exists()
    # A generated client's text is left out of its byte code alone.
    assert documents == ['Text.', 'None']
    code.write_text('"""Other."""\n')
    assert printed()[1] == 'Other.'


def test_times_are_the_same_each_time(packages: pathlib.Path) -> None:
    slim(packages)
    environment = packages.parents[2]
    assert {os.lstat(path).st_mtime for path in (environment, *environment.rglob('*'))} == {TIME}


def test_pip_finds_tensorflow_and_the_overridden_requirement(packages: pathlib.Path) -> None:
    slim(packages)
    found = {d.metadata['Name']: d for d in importlib.metadata.distributions(path=[str(packages)])}
    assert found['tensorflow'].version == '2.21.0'
    assert found['tensorflow'].requires == ['tensorflow-cpu==2.21.0']
    assert found['tensorflow-data-validation'].requires == ['numpy>=1', 'pyfarmhash>=0.2.2']


def test_an_override_without_use_is_reported(packages: pathlib.Path) -> None:
    (metadata,) = packages.glob('tensorflow_data_validation-*/METADATA')
    metadata.write_text('Name: tensorflow-data-validation\nVersion: 1.21.0\n')
    done = slim(packages)
    assert done.returncode == 1
    assert done.stderr.endswith('does not require pyfarmhash; remove it from OVERRIDDEN.\n')
