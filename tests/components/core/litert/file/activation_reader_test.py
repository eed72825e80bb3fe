"""The values of activations."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.activation_reader import (
    ActivationReader,
    activation_ranges,
    activation_values,
    float_activations,
)
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel


def test_values_are_those_of_the_model(digits_float: bytes, digits: dict[str, np.ndarray]) -> None:
    images = digits['x_eval'][:8]
    values = activation_values(digits_float, {'image': images})
    first, *_, last = values.values()
    np.testing.assert_array_equal(first, images)
    np.testing.assert_allclose(last.sum(axis=1), 1, atol=1e-5)


def test_values_of_an_example_do_not_depend_on_its_batch(many_operators: tuple[bytes, dict]) -> None:
    model, inputs = many_operators
    reader = ActivationReader(model)
    together = reader({'image': inputs['image'][:8]})
    for row in range(8):
        alone = reader({'image': inputs['image'][row : row + 1]})
        for name, values in alone.items():
            if together[name].shape[:1] == (8,):
                np.testing.assert_array_equal(values[0], together[name][row])


@pytest.mark.parametrize('strange', [[], [np.nan], [np.inf, -np.inf], [np.nan, np.inf]])
def test_ranges_are_those_of_the_finite_values(
    digits_float: bytes, digits: dict[str, np.ndarray], strange: list[float]
) -> None:
    images = digits['x_eval'][:20].copy()
    images[3].flat[: len(strange)] = strange
    ranges = activation_ranges(digits_float, [{'image': images[:5]}, {'image': images[5:]}], 18)
    read = [
        activation_values(digits_float, {'image': images[s]}) for s in (slice(5), slice(5, 13), slice(13, 18))
    ]
    for name in read[0]:
        values = np.concatenate([values[name].ravel() for values in read])
        finite = values[np.isfinite(values)]
        assert ranges[name] == (finite.min(), finite.max())


def test_only_what_is_wanted_is_read(digits_float: bytes, digits: dict[str, np.ndarray]) -> None:
    inputs = {'image': digits['x_eval'][:2]}
    everything = activation_values(digits_float, inputs)
    last = list(everything)[-1]
    (found,) = ActivationReader(digits_float, [last])(inputs).items()
    assert found[0] == last
    np.testing.assert_array_equal(found[1], everything[last])
    with pytest.raises(EdgeError, match=r"no float activation 'lost'; name one of: .*image"):
        ActivationReader(digits_float, ['lost'])


def test_what_is_read_is_kept_when_the_reader_runs_again(
    digits_float: bytes, digits: dict[str, np.ndarray]
) -> None:
    read = ActivationReader(digits_float)
    first = read({'image': digits['x_eval'][:1]})
    before = {name: values.copy() for name, values in first.items()}
    read({'image': digits['x_eval'][1:9]})
    for name, values in before.items():
        np.testing.assert_array_equal(first[name], values)


@pytest.fixture(scope='module')
def lstm(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An LSTM whose state the file keeps from one invocation to the next; its batch is 1."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    steps = tf_keras.Input((5, 4), batch_size=1)
    model = tf_keras.Model(steps, tf_keras.layers.LSTM(6)(steps))
    spec = tf.TensorSpec((1, 5, 4), tf.float32, name='x')
    folder = str(tmp_path_factory.mktemp('lstm'))
    tf.saved_model.save(
        model, folder, signatures=tf.function(lambda x: {'y': model(x)}, input_signature=[spec])
    )
    return convert_saved_model(folder, 'serving_default')


@pytest.mark.slow
def test_an_example_does_not_start_with_the_state_of_the_one_before(lstm: bytes) -> None:
    content = flatbuffer.read(lstm)
    operators = [flatbuffer.operator_name(content, o) for o in content.subgraphs[0].operators]
    assert 'UNIDIRECTIONAL_SEQUENCE_LSTM' in operators
    rows = np.random.default_rng(0).normal(size=(3, 1, 5, 4)).astype(np.float32)
    reused = ActivationReader(lstm)
    for row in rows:
        anew = ActivationReader(lstm)({'x': row})
        for name, values in reused({'x': row}).items():
            np.testing.assert_array_equal(values, anew[name])
    (together,) = LiteRTModel(lstm)({'x': rows[:, 0]}).values()
    (alone,) = LiteRTModel(lstm)({'x': rows[2]}).values()
    np.testing.assert_array_equal(together[2:], alone)


class _Loop(tf.Module):
    """A loop with an output that nothing reads: the runtime keeps no values of it."""

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name='x')])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        steps = tf.stack([x, 2 * x, 3 * x])

        def body(i: tf.Tensor, state: tf.Tensor, read: tf.Tensor) -> tuple:
            return i + 1, tf.tanh(state + read[i]), read

        _, state, _ = tf.while_loop(lambda i, *_: i < 3, body, (0, tf.zeros_like(x), steps))
        return {'y': state + 1}


@pytest.mark.slow
def test_what_has_no_values_is_left_out(tmp_path: pathlib.Path) -> None:
    module = _Loop()
    tf.saved_model.save(module, str(tmp_path), signatures=module.predict)
    model = convert_saved_model(str(tmp_path), 'serving_default')
    values = activation_values(model, {'x': np.ones((1, 4), np.float32)})
    unread = set(float_activations(model)) - set(values)
    assert len(unread) == 1
    expected = 1 + np.tanh(3 + np.tanh(2 + np.tanh(1)))
    np.testing.assert_allclose(list(values.values())[-1], np.full((1, 4), expected), rtol=1e-6)
