"""The image that deploy/Dockerfile begins with, where no registry of images is reached: Debian with Python in it."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

from tests import debian_root
from tests.fresh import settings

NAME = 'docker.io/library/python:3.12-slim-trixie'
_VERSION = '3.12'
# What the official image has beside the bare system, and the libraries that Python's modules load.
_PACKAGES = [
    'ca-certificates',
    'netbase',
    'tzdata',
    'libbz2-1.0',
    'libffi8',
    'liblzma5',
    'libncursesw6',
    'libexpat1',
]
_PACKAGES += ['libreadline8t64', 'libsqlite3-0', 'libssl3t64', 'libuuid1', 'zlib1g']
_IGNORED = ('__pycache__', 'test', 'tests', '*.a', 'config-3*', '_sandboxing*')
# As in Debian's slim images.
_DOCUMENTS = ('doc', 'man', 'locale', 'info', 'lintian')


class NoBase(Exception):
    """The image cannot be made here; the message says why, in one line."""


def make(folder: pathlib.Path) -> pathlib.Path:
    """Makes the files of the base image from Debian's packages and this machine's Python.

    Args:
      folder: where to; not there yet.

    Returns:
      The folder.

    Raises:
      NoBase: this machine has no Python 3.12 in a folder of its own, or cannot make a Debian.
    """
    python = settings.python_of_the_host(_VERSION)
    if python is None:
        raise NoBase(
            f'no registry is reached, and no Python {_VERSION} is here to make its image of: pyenv install 3.12'
        )
    try:
        debian_root.debian_root('trixie', _PACKAGES, folder)
    except debian_root.DebianRootError as error:
        raise NoBase(str(error)) from error
    _add_python(python, folder / 'usr' / 'local')
    subprocess.run(['chroot', str(folder), 'ldconfig'], check=True, env=debian_root.ENVIRONMENT)
    for name in _DOCUMENTS:
        shutil.rmtree(folder / 'usr' / 'share' / name, ignore_errors=True)
    for place in ('var/cache/apt', 'var/lib/apt/lists', 'var/log'):
        shutil.rmtree(folder / place)
        (folder / place).mkdir()
    _reach_registries(folder)
    return folder


def _add_python(python: pathlib.Path, target: pathlib.Path) -> None:
    for name in ('lib', 'include'):
        shutil.copytree(
            python / name,
            target / name,
            symlinks=True,
            ignore=shutil.ignore_patterns(*_IGNORED),
            dirs_exist_ok=True,
        )
    program = target / 'bin' / f'python{_VERSION}'
    shutil.copy(python / 'bin' / program.name, program)
    for name in ('python3', 'python'):
        (target / 'bin' / name).symlink_to(program.name)
    libraries = [*target.glob('lib/libpython3.*.so.*'), *target.glob('lib/python3.*/lib-dynload/*.so')]
    subprocess.run(['strip', '--strip-unneeded', *libraries], check=True)


def _reach_registries(folder: pathlib.Path) -> None:
    """How this machine reaches PyPI, as files: variables of a build would stay in the image."""
    handed = settings.hand_in(folder)
    options = {'cert': 'PIP_CERT', 'index-url': 'PIP_INDEX_URL', 'timeout': 'PIP_DEFAULT_TIMEOUT'}
    lines = [f'{option} = {handed[name]}\n' for option, name in options.items() if name in handed]
    (folder / 'etc' / 'pip.conf').write_text('[global]\n' + ''.join(lines))
    if 'SSL_CERT_FILE' in handed:
        # uv reads the system's certificates.
        shutil.copy(
            folder / handed['SSL_CERT_FILE'][1:], folder / 'etc' / 'ssl' / 'certs' / 'ca-certificates.crt'
        )
    (folder / 'etc' / 'uv').mkdir()
    (folder / 'etc' / 'uv' / 'uv.toml').write_text('system-certs = true\n')
