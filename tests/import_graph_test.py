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
    'tfx_edge.components.core.litert.process_server',
    'tfx_edge.pipelines.cli',
    'tfx_edge.pipelines.digits.kubeflow_pipeline',
    'tfx_edge.pipelines.digits.trainer_module',
    'tfx_edge.pipelines.kubeflow.step',
    'tfx_edge.pipelines.kubeflow.worker_pool',
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


def _room(module: str) -> str:
    parts = module.split('.')[1:]
    if parts[:2] != ['components', 'core']:
        return parts[0]
    return f'core.{parts[2]}' if len(parts) > 2 and _is_folder(parts) else 'core'


def _is_folder(parts: list[str]) -> bool:
    return (ROOT / 'components' / 'core' / parts[2]).is_dir()


def _plan() -> dict[str, set[str]]:
    """The rooms that each room may import, as CONTRIBUTING.md has them."""
    rows = re.findall(
        r'^\| `([\w.]+)` \|.*\|([^|]*)\|$', (ROOT / 'CONTRIBUTING.md').read_text(), re.MULTILINE
    )
    rooms = [room for room, _ in rows]
    plan = {}
    for room, allowed in rows:
        plan[room] = set(re.findall(r'`([\w.]+)`', allowed))
        if '`core` and its rooms' in allowed:
            plan[room].update(name for name in rooms if name.startswith('core'))
    return plan


def test_the_ground_plan_has_every_room() -> None:
    assert set(_plan()) == {_room(module) for module in MODULES if module.count('.') > 1 or 'proto' in module}


def test_imports_follow_the_ground_plan(graph: dict[str, set[str]]) -> None:
    plan = _plan()
    against = [
        f'{module} imports {other}'
        for module, others in graph.items()
        for other in others
        if _room(other) != _room(module) and _room(other) not in plan[_room(module)]
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
