"""The examples in docstrings: those that need nothing but their module run, the others are counted."""

from __future__ import annotations

import ast
import builtins
import contextlib
import dataclasses
import doctest
import functools
import importlib
import io
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.golden import files
from tfx_edge import proto

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = {
    'tfx_edge.components': 'components',
    'tfx_edge.pipelines': 'pipelines',
    'tfx_edge.proto': 'proto/messages',
}
DIGITS = str(files.saved_model('digits'))
# What examples name beside their module's own names.
NAMES: dict[str, Any] = {
    'np': np,
    'pathlib': pathlib,
    'sys': sys,
    'proto': proto,
    'folder': DIGITS,
    'int8_file': files.digits_int8(),
}
# What is in the folder where they run, and where the place of a model is that they write.
FILES = {'digits.tflite': files.float_model('digits'), 'digits_int8.tflite': files.digits_int8()}
PLACES = {'/models/digits': DIGITS}
# These name files, commands or a console that are not here.
SHOWN = {
    'tfx_edge.components.core.calibration.arithmetic:write_arithmetic',
    'tfx_edge.components.core.calibration.ranges:write_ranges',
    'tfx_edge.components.core.content_digest:content_digest',
    'tfx_edge.components.core.dense_function.choice:choose_signature',
    'tfx_edge.components.core.dense_function.choice:describe',
    'tfx_edge.components.core.evaluation.model_files.models:load_model',
    'tfx_edge.components.core.evaluation.model_files.first_run:require_runnable',
    'tfx_edge.components.core.examples.example_parser:read_records',
    'tfx_edge.pipelines.cli:main',
    'tfx_edge.pipelines.demo:run_demo',
    'tfx_edge.pipelines.inspection:print_inspection',
    'tfx_edge.pipelines.kubeflow.compilation:compile_user_pipeline',
    'tfx_edge.pipelines.kubeflow.data_fingerprint:main',
    'tfx_edge.pipelines.kubeflow.container_step:main',
    'tfx_edge.pipelines.console:quiet',
    'tfx_edge.pipelines.saved_model_inspection:print_saved_model',
    'tfx_edge.pipelines.user_pipeline:run_user_pipeline',
}
# Those that are not run: they are SHOWN, need objects such as a graph, or a module that imports TFX. May only fall.
MOST_NOT_RUN = 138


@dataclasses.dataclass(frozen=True)
class Documented:
    """A docstring with examples.

    Attributes:
      name: the module, a colon, and the name of what is documented; '' is the module itself.
      path: the module's file.
      docstring: the whole text.
    """

    name: str
    path: pathlib.Path
    docstring: str

    def runs(self) -> bool:
        """Whether the examples find all that they name."""
        if self.name in SHOWN or _imports_tfx(self.path):
            return False
        known = _names_of_module(self.path) | NAMES.keys() | set(dir(builtins))
        for example in doctest.DocTestParser().get_examples(self.docstring):
            read, bound = _names_of_example(example.source)
            if read - known:
                return False
            known |= bound
        return True


@functools.cache
def _modules() -> dict[str, pathlib.Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob('*.py')):
            parts = path.relative_to(ROOT / folder).with_suffix('').parts
            found['.'.join([package, *(part for part in parts if part != '__init__')])] = path
    return found


def _documented() -> Iterator[Documented]:
    for module, path in _modules().items():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                docstring = ast.get_docstring(node) or ''
                if '>>>' in docstring:
                    yield Documented(f'{module}:{getattr(node, "name", "")}', path, docstring)


def _statements(path: pathlib.Path) -> Iterator[ast.stmt]:
    """What runs when a module is imported, but for bodies of functions and classes."""
    waiting = ast.parse(path.read_text()).body
    while waiting:
        statement = waiting.pop()
        yield statement
        if isinstance(statement, ast.If) and ast.unparse(statement.test) != 'TYPE_CHECKING':
            waiting += statement.body
        if isinstance(statement, ast.Try | ast.With):
            waiting += statement.body


@functools.cache
def _imported(path: pathlib.Path) -> frozenset[str]:
    """The modules that importing a file imports, and the names that it takes from them."""
    names = set()
    for statement in _statements(path):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names |= {statement.module, *(f'{statement.module}.{alias.name}' for alias in statement.names)}
    return frozenset(names)


@functools.cache
def _imports_tfx(path: pathlib.Path) -> bool:
    # A generated module imports its package, which imports it.
    seen, waiting = {path}, [path]
    while waiting:
        names = _imported(waiting.pop())
        if any(name.split('.')[0] == 'tfx' for name in names):
            return True
        found = {_modules()[name] for name in names if name in _modules()} - seen
        seen |= found
        waiting += found
    return False


def _names_of_module(path: pathlib.Path) -> set[str]:
    names = set()
    for statement in _statements(path):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split('.')[0] for alias in statement.names}
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
        else:
            names |= _bound(statement)
    return names


def _bound(node: ast.AST) -> set[str]:
    inside = list(ast.walk(node))
    names = {name.id for name in inside if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    names |= {argument.arg for argument in inside if isinstance(argument, ast.arg)}
    imports = [node for node in inside if isinstance(node, ast.Import | ast.ImportFrom)]
    return names | {alias.asname or alias.name for node in imports for alias in node.names}


def _names_of_example(source: str) -> tuple[set[str], set[str]]:
    """The names that must be there before an example runs, and those that are there after it."""
    (statement,) = ast.parse(source).body
    bound = _bound(statement)
    read = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)} - bound
    if isinstance(statement, ast.Assign):
        # `samples, batches = split(batches)`
        read |= {node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name)} - _bound(
            statement.value
        )
    return read, bound


DOCUMENTED = list(_documented())
RUN = [documented for documented in DOCUMENTED if documented.runs()]


@pytest.mark.parametrize('documented', RUN, ids=lambda documented: documented.name)
def test_example_returns_what_it_says(
    documented: Documented, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    text = documented.docstring
    for place, folder in PLACES.items():
        text = text.replace(place, folder)
    module = importlib.import_module(documented.name.partition(':')[0])
    example = doctest.DocTestParser().get_doctest(
        text, {**NAMES, **vars(module)}, documented.name, str(documented.path), 0
    )
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report = io.StringIO()
    with contextlib.redirect_stderr(io.StringIO()):
        runner.run(example, out=report.write)
    assert not runner.failures, report.getvalue()


def test_shown_examples_are_there() -> None:
    assert {documented.name for documented in DOCUMENTED} >= SHOWN


def test_no_more_examples_than_before_are_not_run() -> None:
    left = sorted(documented.name for documented in DOCUMENTED if documented not in RUN)
    assert len(left) <= MOST_NOT_RUN, left
