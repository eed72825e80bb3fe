"""What an editor needs to follow our imports: the environment's path has each module, without an import hook."""

from __future__ import annotations

import importlib.machinery
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = {
    'tfx_edge': 'components/package',
    'tfx_edge.components': 'components',
    'tfx_edge.pipelines': 'pipelines',
    'tfx_edge.proto': 'proto/messages',
}


def _found_on_the_path(module: str) -> pathlib.Path | None:
    """The file of a module as editors find it: by folders alone. Nothing is imported."""
    path = sys.path
    name = ''
    for part in module.split('.'):
        name = f'{name}.{part}' if name else part
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is None or found.origin is None:
            return None
        path = list(found.submodule_search_locations or ())
    return pathlib.Path(found.origin).resolve()


@pytest.mark.parametrize('package', FOLDERS)
def test_every_module_is_on_the_path_and_is_the_file_of_the_checkout(package: str) -> None:
    folder = ROOT / FOLDERS[package]
    wrong = {}
    for file in folder.rglob('*.py'):
        parts = file.relative_to(folder).with_suffix('').parts
        if package == 'tfx_edge.components' and parts[0] == 'package':
            continue
        module = '.'.join([package, *(part for part in parts if part != '__init__')])
        if (found := _found_on_the_path(module)) != file:
            wrong[module] = found
    assert not wrong
