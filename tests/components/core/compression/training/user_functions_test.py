"""What a user's module raises, returns or does to the process is one line with its file, line and function."""

from __future__ import annotations

import importlib.util
import pathlib
import re
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.training.user_functions import NAMES, UserFunctions
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure

_FEATURES = {'x': tf.zeros((2, 3))}
_OUTPUTS = {'y': tf.ones((2, 1))}


def _functions(folder: pathlib.Path, source: str) -> UserFunctions:
    path = folder / 'mine.py'
    path.write_text(f'import sys\nimport tensorflow as tf\n\n{source}\n')
    spec = importlib.util.spec_from_file_location('mine', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return UserFunctions(**{name: getattr(module, name) for name in NAMES if hasattr(module, name)})


def _loss(functions: UserFunctions) -> Any:
    return functions.loss(_FEATURES, _OUTPUTS, _OUTPUTS)


def _augmented(functions: UserFunctions) -> Any:
    return functions.augmented(_FEATURES, tf.zeros(2, tf.int64))


def _optimizer(functions: UserFunctions) -> Any:
    return functions.optimizer(10)


@pytest.mark.parametrize(
    ('source', 'call', 'message'),
    [
        (
            'def inner(s):\n    return s["nothing"]\ndef loss_fn(f, t, s):\n    return inner(s)',
            _loss,
            "inner in {file}, line 5: KeyError: 'nothing'; correct the module.",
        ),
        (
            'def loss_fn(f, t, s):\n    return tf.matmul(f["x"], f["x"])',
            _loss,
            'loss_fn in {file}, line 5: InvalidArgumentError: ',
        ),
        (
            'def loss_fn(f, t, s):\n    sys.exit(0)',
            _loss,
            'loss_fn in {file}, line 5: it ends the process (sys.exit(0)); correct the module.',
        ),
        (
            'def loss_fn(f, t):\n    return 0.0',
            _loss,
            'loss_fn in {file}, line 4: TypeError: loss_fn() takes 2 positional arguments but 3 were given',
        ),
        ('def loss_fn(f, t, s):\n    pass', _loss, 'loss_fn returns None; expected a floating scalar'),
        ('def loss_fn(f, t, s):\n    return "low"', _loss, 'loss_fn returns string of shape ()'),
        ('def loss_fn(f, t, s):\n    return object()', _loss, 'loss_fn in {file}, line 4: ValueError: '),
        (
            'def augment_fn(f, seed):\n    pass',
            _augmented,
            'augment_fn returns NoneType; expected the features',
        ),
        (
            'def augment_fn(f, seed):\n    raise Exception',
            _augmented,
            'augment_fn in {file}, line 5: Exception; correct the module.',
        ),
        (
            'def optimizer_fn(n):\n    return 1 / 0',
            _optimizer,
            'optimizer_fn in {file}, line 5: ZeroDivisionError',
        ),
        ('optimizer_fn = len', _optimizer, 'len in '),
    ],
)
def test_its_faults_are_named(
    source: str, call: Callable[[UserFunctions], Any], message: str, tmp_path: pathlib.Path
) -> None:
    expected = message.format(file=tmp_path / 'mine.py')
    with pytest.raises(EdgeError, match=f'^{re.escape(expected)}') as caught:
        call(_functions(tmp_path, source))
    assert '\n' not in str(caught.value)


def test_an_interrupt_is_none_of_its_faults(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _loss(_functions(tmp_path, 'def loss_fn(f, t, s):\n    raise KeyboardInterrupt'))


@pytest.mark.parametrize(
    ('body', 'said'),
    [
        ('[tf.debugging.assert_less(s["y"], 0.5), s["y"]][1]', 'InvalidArgumentError: '),
        ('tf.gather(s["y"], [7])', 'InvalidArgumentError: indices[0] = 7 is not in [0, 2)'),
        (
            'tf.numpy_function(lambda y: y / absent, [s["y"]], tf.float32)',
            "UnknownError: NameError: name 'absent'",
        ),
    ],
)
def test_what_fails_when_the_traced_graph_runs_is_named_too(
    tmp_path: pathlib.Path, body: str, said: str
) -> None:
    functions = _functions(tmp_path, f'def loss_fn(f, t, s):\n    x = {body}\n    return tf.reduce_sum(x)')

    @tf.function(autograph=False)
    def step(outputs: Any) -> Any:
        return functions.loss(_FEATURES, outputs, outputs)

    with pytest.raises(EdgeError) as raised, functions.graph_faults_named():
        step(_OUTPUTS)
    place = r'(loss_fn|<lambda>) in ' + re.escape(f'{tmp_path}/mine.py, line 5: {said}')
    assert re.match(place, str(raised.value)), str(raised.value)
    assert str(raised.value).endswith('; correct the module.')
    assert '\n' not in str(raised.value)


def test_what_fails_in_the_graph_elsewhere_is_left_as_it_is(tmp_path: pathlib.Path) -> None:
    functions = _functions(tmp_path, 'def loss_fn(f, t, s):\n    return tf.reduce_sum(s["y"])')
    with pytest.raises(tf.errors.InvalidArgumentError), functions.graph_faults_named():
        tf.function(lambda: tf.gather(tf.zeros(2), [7]))()


@pytest.mark.parametrize('error', ['MemoryError', 'OSError(28, "No space left on device")'])
def test_a_machine_that_has_not_enough_is_no_fault_of_the_module(tmp_path: pathlib.Path, error: str) -> None:
    functions = _functions(tmp_path, f'def loss_fn(f, t, s):\n    raise {error}')
    with pytest.raises(EnvironmentFailure, match=r'^(MemoryError|No space left on device); (give|free) '):
        _loss(functions)
