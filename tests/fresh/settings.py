"""What this machine hands to a bare one: how the registries are reached, and a Python where uv cannot fetch one."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import urllib.error
import urllib.request

# Certificates in a file; the file is copied.
_CERTIFICATES = ('SSL_CERT_FILE', 'PIP_CERT', 'REQUESTS_CA_BUNDLE')
_REGISTRIES = (
    *('PIP_INDEX_URL', 'PIP_EXTRA_INDEX_URL', 'PIP_TRUSTED_HOST', 'PIP_DEFAULT_TIMEOUT'),
    *('UV_DEFAULT_INDEX', 'UV_INDEX', 'UV_INDEX_URL', 'UV_HTTP_TIMEOUT', 'UV_PYTHON_INSTALL_MIRROR'),
    *(
        'http_proxy',
        'https_proxy',
        'no_proxy',
        'HTTP_PROXY',
        'HTTPS_PROXY',
        'NO_PROXY',
        'ALL_PROXY',
        'all_proxy',
    ),
)
_COPY = '/etc/certificates-of-the-host.crt'


def hand_in(root: pathlib.Path) -> dict[str, str]:
    """Copies the file of certificates into the root, and returns the variables that hold there."""
    handed = {name: os.environ[name] for name in _REGISTRIES if name in os.environ}
    for name in _CERTIFICATES:
        if name in os.environ:
            shutil.copy(os.environ[name], f'{root}{_COPY}')
            handed[name] = _COPY
    return handed


def uv_reaches_its_pythons() -> bool:
    """Whether uv could download an interpreter: it does from GitHub, or from the mirror that is set."""
    address = os.environ.get('UV_PYTHON_INSTALL_MIRROR', 'https://github.com')
    try:
        with urllib.request.urlopen(address, timeout=10):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def python_of_the_host(version: str) -> pathlib.Path | None:
    """The folder of an interpreter of this machine that has a folder to itself, as pyenv's have."""
    command = [f'python{version}', '-c', 'import sys; print(sys.base_prefix)']
    try:
        done = subprocess.run(
            command, env={**os.environ, 'PYENV_VERSION': version}, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    folder = pathlib.Path(done.stdout.strip())
    return None if folder == pathlib.Path('/usr') else folder
