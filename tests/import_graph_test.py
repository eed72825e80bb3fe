"""The ground plan of CONTRIBUTING.md against the code: its arrows, no circle, no module that nothing imports."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = {
    'components': 'tfx_edge.components',
    'pipelines': 'tfx_edge.pipelines',
    'proto/messages': 'tfx_edge.proto',
}
# Started by name: commands, processes of their own, what a pipeline or an image names.
ENTRY_POINTS = {
    'tfx_edge.components.core.isolation.process_server',
    'tfx_edge.pipelines.cli',
    'tfx_edge.pipelines.digits.kubeflow_pipeline',
    'tfx_edge.pipelines.digits.trainer_module',
    'tfx_edge.pipelines.kubeflow.container_step',
    'tfx_edge.pipelines.kubeflow.worker_pool',
    'tfx_edge.pipelines.kubeflow.worker_server',
}


def _modules() -> dict[str, pathlib.Path]:
    found = {}
    for folder, package in PACKAGES.items():
        for path in (ROOT / folder).rglob('*.py'):
            parts = path.relative_to(ROOT / folder).with_suffix('').parts
            found['.'.join([package, *(part for part in parts if part != '__init__')])] = path
    return found


MODULES = _modules()


def _imports(path: pathlib.Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f'{node.module}.{alias.name}'
                yield whole if whole in MODULES else node.module


@pytest.fixture(scope='module')
def graph() -> dict[str, set[str]]:
    """Which modules of the project each module imports, wherever it does."""
    return {name: {other for other in _imports(path) if other in MODULES} for name, path in MODULES.items()}


def _package(module: str) -> str:
    name = module if MODULES[module].name == '__init__.py' else module.rpartition('.')[0]
    return re.sub(r'^components\.core\b', 'core', name.removeprefix('tfx_edge.'))


def _room(module: str) -> str:
    """The innermost room of the plan in which a module lies."""
    room = _package(module)
    while room not in PLAN:
        room = room.rpartition('.')[0]
    return room


def _plan() -> dict[str, set[str]]:
    """The rooms that each room may import, as CONTRIBUTING.md has them; a room's name stands for those in it too."""
    rows = re.findall(
        r'^\| `([\w.]+)` \|.*\|([^|]*)\|$', (ROOT / 'CONTRIBUTING.md').read_text(), re.MULTILINE
    )
    rooms = [room for room, _ in rows]
    plan = {}
    for room, allowed in rows:
        names = re.findall(r'`([\w.]+)`', allowed)
        plan[room] = {
            other
            for other in rooms
            for name in names
            if other == name or (name != 'core' and other.startswith(f'{name}.'))
        }
        if '`core` and its rooms' in allowed:
            plan[room].update(other for other in rooms if other.startswith('core'))
    return plan


PLAN = _plan()


@pytest.mark.parametrize('folder', [*PACKAGES, 'tests'])
def test_every_import_of_ours_exists(folder: str) -> None:
    """Type checkers pass over a module that they do not find, as they must with libraries."""
    packages = {*MODULES, 'tfx_edge', *(name.rpartition('.')[0] for name in MODULES)}
    for path in (ROOT / folder).rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('tfx_edge'):
                assert node.module in packages, f'{path} imports {node.module}'


def test_the_ground_plan_has_every_room() -> None:
    packages = {_package(module) for module in MODULES} - {'components.package'}
    # The folders below these are rooms; others may be divided as they like.
    parents = ('core', 'core.litert', 'core.evaluation')
    rooms = {package for package in packages if package.rpartition('.')[0] in parents}
    assert rooms <= {*PLAN, *parents}
    assert {_room(module) for module in MODULES} == {*PLAN}


def test_imports_follow_the_ground_plan(graph: dict[str, set[str]]) -> None:
    against = [
        f'{module} imports {other}'
        for module, others in graph.items()
        for other in others
        if _room(other) != _room(module) and _room(other) not in PLAN[_room(module)]
    ]
    assert not against


def test_no_imports_run_in_a_circle(graph: dict[str, set[str]]) -> None:
    left = dict(graph)
    while free := [module for module, others in left.items() if not (others & left.keys()) - {module}]:
        for module in free:
            del left[module]
    assert not left


def test_every_module_is_imported_or_started(graph: dict[str, set[str]]) -> None:
    imported = set().union(*graph.values())
    alone = {name for name, path in MODULES.items() if path.name != '__init__.py' and name not in imported}
    assert alone == ENTRY_POINTS
