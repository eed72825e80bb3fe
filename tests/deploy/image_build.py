"""The image, built and run for real: `make test-image`, a quarter of an hour.

Needs root and buildah. TFX_EDGE_IMAGE_STORAGE names a folder that keeps the layers for the next run; otherwise they
lie in a temporary folder.
"""

from __future__ import annotations

import collections
import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests import processes
from tests.deploy import python_base
from tests.deploy.buildah import Buildah, Opened
from tests.fresh.machine import clone
from tests.worker_pool import free_port, is_mapped, start_worker, worker_below

ROOT = pathlib.Path(__file__).parents[2]
# The name that deploy/README.md gives it, and the derived one.
NAME = 'registry.example/tfx-edge:0.1.0'
LIMIT = 1_900_000_000
USER = 2000
PACKAGES = 'opt/tfx-edge/lib/python3.12/site-packages'

# `make test` does not take this module: its name is not that of a test.
pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason='building and running an image here needs root'),
    pytest.mark.skipif(shutil.which('buildah') is None, reason='buildah is missing: apt-get install buildah'),
]


def say(text: str) -> None:
    print(text, flush=True)


@pytest.fixture(scope='session')
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    kept = os.environ.get('TFX_EDGE_IMAGE_STORAGE')
    folder = pathlib.Path(kept) if kept else tmp_path_factory.mktemp('buildah')
    made = Buildah(folder)
    if not made.has(python_base.NAME) and not made.pull(python_base.NAME):
        try:
            root = python_base.make(tmp_path_factory.mktemp('base') / 'root')
        except python_base.NoBase as error:
            pytest.skip(str(error))
        made.commit_folder(root, python_base.NAME)
        shutil.rmtree(root)
        say(
            f'{python_base.NAME} is made of Debian packages and the Python of this machine: no registry is reached'
        )
    yield made
    made.close_all()
    if not kept:
        shutil.rmtree(folder)


@pytest.fixture(scope='session')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What is tracked here, as it lies here."""
    folder = tmp_path_factory.mktemp('checkout') / 'tfx-edge'
    clone(folder)
    return folder


@pytest.fixture(scope='session')
def image(buildah: Buildah, checkout: pathlib.Path) -> Opened:
    """Built of the unchanged Dockerfile, with the command that deploy/README.md gives."""
    start = time.monotonic()
    buildah.build(checkout, '-f', 'deploy/Dockerfile', '-t', NAME)
    say(f'deploy/Dockerfile was built with buildah in {time.monotonic() - start:.0f} s')
    return buildah.open(NAME)


def test_image_is_not_larger_than_its_limit(image: Opened, buildah: Buildah) -> None:
    parts: collections.Counter[str] = collections.Counter()
    for path in image.root.rglob('*'):
        if path.is_file() and not path.is_symlink():
            place = path.relative_to(image.root).as_posix()
            inside = place.removeprefix(f'{PACKAGES}/')
            parts[inside.split('/')[0] if inside != place else f'/{place.split("/")[0]}'] += (
                path.stat().st_size
            )
    total = parts.total()
    largest = ', '.join(f'{name} {size / 1e6:.0f}' for name, size in parts.most_common(12))
    say(f'the image has {total / 1e9:.3f} GB of files; MB of the largest parts: {largest}')
    layers = ', '.join(f'{layer.size / 1e6:.1f} ({layer.digest[7:19]})' for layer in buildah.layers(NAME))
    say(f'MB of its layers as they are packed, from the base up: {layers}')
    assert total <= LIMIT


def test_image_has_no_compilers_headers_or_tests(image: Opened) -> None:
    packages = image.root / PACKAGES
    for pattern in ('tensorflow/include', '*/tests', '*/include', 'tensorflow/**/*.h', '**/libclang.so*'):
        assert not [*packages.glob(pattern)], pattern
    for program in ('gcc', 'g++', 'cc', 'strip', 'uv'):
        assert not [*image.root.glob(f'*/bin/{program}'), *image.root.glob(f'*/*/bin/{program}')], program
    sources = {path for path in packages.rglob('*.py') if 'lib2to3' not in path.parts}
    compiled = {
        path.parent.parent / f'{path.name.split(".")[0]}.py' for path in packages.rglob('*.cpython-312.pyc')
    }
    assert not sources - compiled


def test_edits_of_our_files_make_only_our_own_layer_anew(
    image: Opened, buildah: Buildah, checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    edited = tmp_path / 'edited'
    shutil.copytree(checkout, edited)
    for name, text in {
        'README.md': '\nOne more line.\n',
        'pipelines/model_measurements.py': '\n# One more line.\n',
        'pyproject.toml': '\n# One more line.\n',
    }.items():
        with (edited / name).open('a') as file:
            file.write(text)
    start = time.monotonic()
    buildah.build(edited, '-f', 'deploy/Dockerfile', '-t', 'localhost/edited')
    seconds = time.monotonic() - start
    before, after = buildah.layers(NAME), buildah.layers('localhost/edited')
    assert len(before) == len(after)
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old.digest != new.digest]
    sizes = ', '.join(f'{new.digest[7:19]} of {new.size / 1e6:.1f} MB' for _, new in changed)
    kept = sum(layer.size for layer in set(before) & set(after))
    say(
        f'after edits of README.md, pyproject.toml and a module: new {sizes}; kept {kept / 1e6:.1f} MB; '
        f'{seconds:.0f} s'
    )
    assert len(changed) == 1
    assert changed[0][1].size < 10_000_000


def run(image: Opened, work: pathlib.Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the image as a user that it does not know."""
    return subprocess.run(image.command(work, command, USER), capture_output=True, text=True)


@pytest.fixture
def work(tmp_path: pathlib.Path) -> pathlib.Path:
    """A working folder that the user may write."""
    folder = tmp_path / 'work'
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


def test_root_cannot_be_written_and_the_user_has_no_rights(image: Opened, work: pathlib.Path) -> None:
    code = (
        'import getpass, os, pathlib; print(os.getuid(), os.getgid(), os.access("/opt/tfx-edge", os.W_OK), '
        'os.statvfs("/opt").f_flag & os.ST_RDONLY, os.access(".", os.W_OK), getpass.getuser(), pathlib.Path.home())\n'
        'print([line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")])'
    )
    done = run(image, work, 'python', '-c', code)
    assert done.stdout == (
        f"{USER} {USER} False {os.ST_RDONLY} True tfx-edge /home/tfx-edge\n['0000000000000000']\n"
    ), done.stderr


def test_demo_is_blessed_as_any_user_on_a_read_only_root(image: Opened, work: pathlib.Path) -> None:
    start = time.monotonic()
    done = run(image, work, 'tfx-edge', 'demo')
    say(f'the demo as user {USER} on a read-only root, {time.monotonic() - start:.0f} s:')
    shown = [line for line in done.stdout.splitlines() if re.search(r'%|verdict|pushed', line)]
    say('\n'.join(f'  {line}' for line in shown))
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'verdict: BLESSED' in done.stdout.splitlines()
    (pushed,) = (work / 'demo-output' / 'serving').rglob('tflite')
    say(f'  sha256 of the pushed file: {hashlib.sha256(pushed.read_bytes()).hexdigest()}')


def test_step_answers_as_any_user_on_a_read_only_root(image: Opened, work: pathlib.Path) -> None:
    done = run(image, work, 'python', '-m', 'tfx_edge.pipelines.kubeflow.container_step', '--help')
    assert '--json_serialized_invocation_args' in done.stdout, done.stderr


def test_sigterm_ends_the_pool_with_a_worker_as_process_1(image: Opened, work: pathlib.Path) -> None:
    port = free_port()
    pool = ['python', '-m', 'tfx_edge.pipelines.kubeflow.worker_pool', f'--service_port={port}']
    with socket.create_server(('localhost', 0)) as silent:
        started = subprocess.Popen(
            image.command(work, pool, USER, entrypoint=False), stderr=subprocess.PIPE, text=True
        )
        try:
            start_worker(port, f'localhost:{silent.getsockname()[1]}')
            worker = worker_below(started.pid)
            while not is_mapped(worker, 'cygrpc'):
                time.sleep(0.1)
            (first,) = (
                pid for pid in processes.below(started.pid) if 'worker_pool' in processes.command(pid)
            )
            sent = time.monotonic()
            os.kill(first, signal.SIGTERM)
            status = started.wait(20)
            seconds = time.monotonic() - sent
        finally:
            started.kill()
    say(f'SIGTERM ended the worker pool as process 1, with a worker, in {seconds:.2f} s')
    assert status == 143
    processes.wait_for_end([worker], 2)
    assert seconds < 2


def test_derived_image_as_documented_keeps_the_packages(
    image: Opened, buildah: Buildah, tmp_path: pathlib.Path, work: pathlib.Path
) -> None:
    """The lines of deploy/README.md, with a user's package that requires tfx-edge and a module in it."""
    readme = (ROOT / 'deploy' / 'README.md').read_text()
    (block,) = re.findall(
        r'^    FROM registry\.example/tfx-edge.*?^    USER 1000\n', readme, re.DOTALL | re.MULTILINE
    )
    code = tmp_path / 'code'
    code.mkdir()
    (code / 'Dockerfile').write_text(re.sub('^    ', '', block, flags=re.MULTILINE))
    (code / 'my_module.py').write_text('ANSWER = 42\n')
    (code / 'pyproject.toml').write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "my-code"\nversion = "1"\ndependencies = ["tfx-edge", "tensorflow", "tfx"]\n'
        '[tool.setuptools]\npy-modules = ["my_module"]\n'
    )
    buildah.build(code, '-t', 'localhost/derived')
    layer = buildah.layers('localhost/derived')[-1]
    say(f'the derived image of deploy/README.md adds a layer of {layer.size / 1e3:.0f} kB')
    derived = buildah.open('localhost/derived')
    assert derived.config['User'] == '1000'
    done = run(derived, work, 'python', '-c', 'import my_module; print(my_module.ANSWER)')
    assert done.stdout == '42\n', done.stderr
    done = run(derived, work, 'python', '-m', 'pip', 'check')
    assert done.stdout == 'No broken requirements found.\n'
    # With the requirements, pip finds all of them there.
    install = ['python', '-m', 'pip', 'install', '--dry-run', '-c', '/opt/tfx-edge/constraints.txt']
    resolved = run(derived, work, *install, 'my-code', 'tfx-edge[s3]')
    assert resolved.returncode == 0, resolved.stderr
    assert 'Would install' not in resolved.stdout


@pytest.mark.parametrize('device', ['cpu', 'gpu'])
def test_tensorflow_is_that_of_the_device(device: str, buildah: Buildah, checkout: pathlib.Path) -> None:
    """As far as the list of what is installed: CUDA's packages are gigabytes."""
    buildah.build(
        *(checkout, '-f', 'deploy/Dockerfile', '--target', 'requirements', '--build-arg', f'DEVICE={device}'),
        *('-t', f'localhost/{device}'),
    )
    listed = (buildah.open(f'localhost/{device}').root / 'requirements' / 'packages.txt').read_text()
    names = set(re.findall(r'^([a-z][^=\[ ]+)(?:\[.*\])?==', listed, re.MULTILINE))
    assert ('tensorflow' in names, 'tensorflow-cpu' in names) == (device == 'gpu', device == 'cpu')
    assert ('nvidia-cudnn-cu12' in names) == (device == 'gpu')
    pins = re.findall(r'^[a-z].*?(?=^[a-z]|\Z)', listed, re.MULTILINE | re.DOTALL)
    assert len(pins) > 200
    assert all('--hash=sha256:' in pin for pin in pins)


def test_unknown_device_ends_the_build_with_a_line(buildah: Buildah, checkout: pathlib.Path) -> None:
    with pytest.raises(AssertionError, match="DEVICE is 'tpu'; give --build-arg DEVICE=cpu or"):
        buildah.build(
            *(checkout, '-f', 'deploy/Dockerfile', '--target', 'requirements', '--build-arg', 'DEVICE=tpu')
        )
