"""The distribution: what a wheel holds, what an import costs, and which dependencies the code needs."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement

from tfx_edge import components

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]
# The folders, and the packages that they become.
FOLDERS = {
    'components/package': 'tfx_edge',
    'components': 'tfx_edge/components',
    'pipelines': 'tfx_edge/pipelines',
    'proto/messages': 'tfx_edge/proto',
}
# A package that the wheel's source has and the checkout has not.
ADDED = 'components/core/litert/added_in_test/__init__.py'
# google is a namespace of many distributions.
DISTRIBUTION_OF = {'google.protobuf': 'protobuf'}


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Built from a copy: setuptools would pack what lies in a build/ folder of the repository."""
    source = tmp_path_factory.mktemp('source')
    for name in ('components', 'pipelines', 'proto'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('pyproject.toml', 'setup.py', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    (source / ADDED).parent.mkdir()
    (source / ADDED).write_text('')
    command = [sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', 'out', '.']
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = (source / 'out').glob('*.whl')
    return built


@pytest.fixture(scope='module')
def installed(wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    target = tmp_path_factory.mktemp('installed')
    command = [
        sys.executable,
        '-m',
        'pip',
        'install',
        '--quiet',
        '--no-deps',
        '--no-index',
        '--target',
        str(target),
    ]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    return target


def run_installed(installed: pathlib.Path, cwd: pathlib.Path, *arguments: str) -> str:
    """Runs Python in another folder, with the installed wheel before the editable one."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules() -> Iterator[tuple[pathlib.Path, str]]:
    """Every module of the repository, and where it lies in a wheel."""
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob('*.py')):
            inside = path.relative_to(ROOT / folder)
            if folder != 'components' or inside.parts[0] != 'package':
                yield path, f'{package}/{inside.as_posix()}'


def test_wheel_installs_nothing_generic_at_top_level(wheel: pathlib.Path) -> None:
    top = {name.split('/')[0] for name in zipfile.ZipFile(wheel).namelist()}
    version = importlib.metadata.version('tfx-edge')
    assert top == {'tfx_edge', f'tfx_edge-{version}.dist-info'}


def test_wheel_holds_every_module_and_no_other(wheel: pathlib.Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith('.py')}
    assert packed - {f'tfx_edge/{ADDED}'} == {name for _, name in modules()}


def test_new_package_is_in_the_wheel_without_being_listed(wheel: pathlib.Path) -> None:
    assert f'tfx_edge/{ADDED}' in zipfile.ZipFile(wheel).namelist()


def test_every_folder_with_modules_is_a_package() -> None:
    names = {name for _, name in modules()}
    for name in names:
        assert f'{name.rpartition("/")[0]}/__init__.py' in names


def test_wheel_holds_types_marker_and_proto_files_and_license_and_page(wheel: pathlib.Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert 'tfx_edge/py.typed' in names
    assert {f'tfx_edge/proto/{path.name}' for path in (ROOT / 'proto' / 'messages').glob('*.proto')} <= set(
        names
    )
    assert any(name.endswith('licenses/LICENSE') for name in names)
    parts = ['devices/web_page.html', 'page_look.css', 'histogram.html.jinja', 'selection/selection_page.js']
    parts += ['selection/selection_page.html.jinja', 'evaluation/report/report_page.html.jinja']
    assert {f'tfx_edge/components/core/{part}' for part in parts} <= set(names)


def test_installed_wheel_works_from_another_folder(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    code = (
        'import tfx_edge, tfx_edge.components as components;'
        'print(tfx_edge.__file__);'
        '[print(getattr(components, name).__module__) for name in components.__all__];'
        'print(tfx_edge.Calibration.TYPE_NAME, tfx_edge.proto.Pruning().power)'
    )
    printed = run_installed(installed, tmp_path, '-c', f'import tfx_edge.proto; {code}').splitlines()
    assert pathlib.Path(printed[0]).is_relative_to(installed)
    assert len(printed) == 2 + len(components.__all__)
    assert printed[-1] == 'tfx_edge.Calibration 3.0'


def test_installed_wheel_has_the_command(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert 'demo' in run_installed(installed, tmp_path, str(installed / 'bin' / 'tfx-edge'), '--help')


def test_importing_the_components_takes_milliseconds() -> None:
    # The best of three: what counts is what is imported, not what else the machine does.
    assert min(seconds_to_import('tfx_edge.components') for _ in range(3)) < 0.3


def seconds_to_import(module: str) -> float:
    done = subprocess.run(
        [sys.executable, '-X', 'importtime', '-c', f'import {module}'],
        check=True,
        capture_output=True,
        text=True,
    )
    # 'import time: self [us] | cumulative | imported package', where packages nest by two blanks.
    outermost = re.findall(r'^import time:\s+\d+ \|\s+(\d+) \| (tfx_edge[\w.]*)$', done.stderr, re.MULTILINE)
    assert module in [name for _, name in outermost]
    return sum(int(microseconds) for microseconds, _ in outermost) / 1e6


def test_every_third_party_import_is_a_declared_dependency() -> None:
    declared = {
        Requirement(text).name.replace('_', '-').lower()
        for text in importlib.metadata.requires('tfx-edge') or ()
    }
    distributions = distributions_of_modules()
    undeclared = {}
    for path, _ in modules():
        for module in imported(path):
            top = module.split('.')[0]
            if top in sys.stdlib_module_names or top == 'tfx_edge':
                continue
            special = DISTRIBUTION_OF.get('.'.join(module.split('.')[:2]))
            makers = {special} if special else distributions.get(top, set())
            if not makers & declared:
                undeclared[module] = path.relative_to(ROOT).as_posix()
    assert undeclared == {}


def test_constraints_for_pip_hold_the_locked_versions() -> None:
    """`make lock` makes both files; every dependency of the wheel and its extras is pinned for this Python."""
    locked = set(re.findall(r'\nname = "(.+)"\nversion = "(.+)"\n', (ROOT / 'uv.lock').read_text()))
    lines = (ROOT / 'deploy' / 'constraints.txt').read_text().splitlines()
    pinned = {tuple(line.split(' ;')[0].split('==')) for line in lines}
    assert pinned <= locked
    here = {r.name for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate()}
    needed = [Requirement(text) for text in importlib.metadata.requires('tfx-edge') or ()]
    extras = ['', *importlib.metadata.metadata('tfx-edge').get_all('Provides-Extra', [])]
    assert extras[1:] == ['ethos-u', 'tflite-micro', 's3', 'azure', 'search']
    assert {
        r.name
        for r in needed
        if r.marker is None or any(r.marker.evaluate({'extra': name}) for name in extras)
    } <= here


def test_no_component_relies_on_what_tfx_adds_to_tfma() -> None:
    """TFX 1.21 sets these messages as attributes of TFMA; a step that imports no other component has none of them."""
    added = 'EvalConfig ModelSpec SlicingSpec MetricsSpec MetricConfig MetricThreshold GenericValueThreshold'
    added += ' GenericChangeThreshold MetricDirection'
    relying = {
        f'{path.name}:{node.lineno}'
        for path, _ in modules()
        if 'components' in path.parts
        for tree in [ast.parse(path.read_text())]
        for node in ast.walk(_without_annotations(tree))
        if isinstance(node, ast.Attribute)
        and node.attr in added.split()
        and ast.unparse(node.value) == 'tfma'
    }
    assert not relying


def _without_annotations(tree: ast.Module) -> ast.Module:
    """A module without what is never evaluated."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return tree


def test_no_module_asks_for_a_version() -> None:
    """What differs between the lines stands in core/version_differences.py."""
    asked = {}
    for path, _ in modules():
        if path.name == 'version_differences.py':
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in (
                '__version__',
                'version_info',
                'fields_by_name',
            ):
                name = ast.unparse(node)
                # Our own version is part of a cache key; the fields of our own messages are their documentation.
                if name != 'tfx_edge.__version__' and path.name != 'exec_properties.py':
                    asked[name] = path.name
    assert asked == {}


def imported(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def distributions_of_modules() -> dict[str, set[str]]:
    """By the lists of installed files; importlib.metadata reads them slowly, or not before Python 3.11."""
    makers: dict[str, set[str]] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata['Name'].replace('_', '-').lower()
        lines = (distribution.read_text('RECORD') or '').splitlines()
        for top in {re.split(r'[/,]', line, maxsplit=1)[0].removesuffix('.py') for line in lines}:
            makers.setdefault(top, set()).add(name)
    return makers


def test_python_started_in_the_checkout_finds_other_packages_of_the_folders_names() -> None:
    """google-cloud needs proto-plus, whose package is `proto`; Beam's workers import it where they start."""
    done = subprocess.run(
        [sys.executable, '-c', 'import proto; proto.module'], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
