"""Finds the packages of the wheel: pyproject.toml cannot say that folders of the checkout become packages of tfx_edge.

Everything else about the distribution stands in pyproject.toml.
"""

from __future__ import annotations

from collections.abc import Iterator

from setuptools import find_packages, setup

# The packages, and the folders that they are made of. The Makefile links the same ones in .packages/, for editors.
# Not `proto` itself: Python started in the checkout would take it for proto-plus, which google-cloud imports.
FOLDERS = {
    'tfx_edge': 'components/package',
    'tfx_edge.components': 'components',
    'tfx_edge.pipelines': 'pipelines',
    'tfx_edge.proto': 'proto/messages',
}


def packages() -> Iterator[str]:
    """The name of every folder that has an `__init__.py`; components/package is tfx_edge itself."""
    for package, folder in FOLDERS.items():
        yield package
        for inner in find_packages(folder, exclude=['package']):
            yield f'{package}.{inner}'


setup(packages=list(packages()), package_dir=FOLDERS)
