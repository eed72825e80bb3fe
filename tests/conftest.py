"""What many tests share: handwritten digits, a net trained on them and its files, and a portable runner for Beam."""

from __future__ import annotations

import logging
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from tests import portable_runner as beam
from tests.digits import load as load_digits
from tests.digits import write_examples
from tests.fast_session import sitecustomize
from tests.golden import files
from tfx_edge.components.core import log_once

# Modules that a fast session does not even import: they import TFX.
_NOT_FAST = re.compile(r'^pytestmark = pytest\.mark\.(slow|e2e)$', re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        '--fast', action='store_true', help='only tests that neither convert, train nor start TFX'
    )
    parser.addoption(
        '--all-tfx-examples', action='store_true', help="all of TFX's examples and templates, not one of them"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.option.fast:
        sitecustomize.refuse('tfx')


def pytest_ignore_collect(collection_path: pathlib.Path, config: pytest.Config) -> bool | None:
    if config.option.fast and collection_path.name.endswith('_test.py'):
        return bool(_NOT_FAST.search(collection_path.read_text())) or None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Longest first, file by file, so that no process is left with a long file at the end."""
    if config.option.fast:
        slow = [item for item in items if _length(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not _length(item)]
    lengths: dict[pathlib.Path, int] = {}
    for item in items:
        lengths[item.path] = max(_length(item), lengths.get(item.path, 0))
    items.sort(key=lambda item: -lengths[item.path])


def _length(item: pytest.Item) -> int:
    return 2 if item.get_closest_marker('e2e') else 1 if item.get_closest_marker('slow') else 0


@pytest.fixture(scope='session', autouse=True)
def nothing_slow_in_a_fast_session(request: pytest.FixtureRequest) -> Iterator[None]:
    """No process that a test starts can import TensorFlow, and this one has not imported TFX at the end."""
    if not request.config.option.fast:
        yield
        return
    folders = [str(pathlib.Path(sitecustomize.__file__).parent), os.environ.get('PYTHONPATH', '')]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', os.pathsep.join(filter(None, folders)))
        yield
    assert 'tfx' not in sys.modules


@pytest.fixture(scope='session', autouse=True)
def outside_of_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs the tests in a folder of their own, so that no test finds or leaves a file in the checkout."""
    before = pathlib.Path.cwd()
    os.chdir(tmp_path_factory.mktemp('cwd'))
    yield
    os.chdir(before)


@pytest.fixture(autouse=True)
def what_is_logged_does_not_depend_on_earlier_tests() -> None:
    """Lines that are logged once are logged again, and no level that another test left hides them or shows more."""
    log_once.begin_step()
    # An executor's entry point on Kubeflow sets it, by absl, for the whole process.
    logging.root.setLevel(logging.WARNING)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith('tfx_edge') and isinstance(logger, logging.Logger):
            logger.setLevel(logging.NOTSET)
            logger.disabled, logger.propagate = False, True


@pytest.fixture(scope='session')
def digits() -> dict[str, np.ndarray]:
    """scikit-learn's digits: `x_train` (1438, 8, 8, 1) and `x_eval` (359, ...) float32 in 0..1, `y_*` int64."""
    return load_digits()


@pytest.fixture(scope='session')
def digits_examples(digits: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder laid out as ExampleGen's: Split-train and Split-eval, features `image` (float) and `label` (int64)."""
    root = tmp_path_factory.mktemp('digits_examples')
    write_examples(digits, root)
    return root


@pytest.fixture(scope='session')
def digits_saved_model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A Keras 3 net (conv + batch norm + relu, depthwise, dense) trained on digits, exported; input `image`."""
    folder = tmp_path_factory.mktemp('digits_model') / 'saved_model'
    shutil.copytree(files.saved_model('digits'), folder)
    return folder


@pytest.fixture(scope='session')
def digits_float() -> bytes:
    """The digits net as float `.tflite`."""
    return files.float_model('digits')


@pytest.fixture(scope='session')
def digits_ranges() -> Mapping[str, tuple[float, float]]:
    """Ranges of the digits net's activations on 400 training images."""
    return files.digits_ranges()


@pytest.fixture(scope='session')
def digits_int8() -> bytes:
    """The digits net in int8 with these ranges; inputs and outputs are float."""
    return files.digits_int8()


@pytest.fixture(scope='session')
def portable_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Arguments for a portable runner: a job server and an external pool of workers, each a process of its own."""
    with beam.portable_runner(tmp_path_factory.mktemp('portable_runner')) as arguments:
        yield arguments
