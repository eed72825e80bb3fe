"""Which signature is chosen, and how a model without one is told."""

from __future__ import annotations

import pathlib

import pytest
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.signature import choose_signature


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A string signature as serving default, two dense ones, and one with an open dimension."""
    module = tf.Module()
    module.weight = tf.Variable(2.0)

    def times(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: value * module.weight for name, value in inputs.items()}

    def signature(**shapes: tuple[int | None, ...]) -> object:
        specs = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()}
        return tf.function(times).get_concrete_function(**specs)

    parse = tf.function(lambda serialized: {'length': tf.strings.length(serialized)})
    strings = parse.get_concrete_function(tf.TensorSpec((None,), tf.string, name='serialized'))
    folder = str(tmp_path_factory.mktemp('signatures'))
    signatures = {
        'serving_default': strings,
        'dense_b': signature(x=(None, 3)),
        'dense_a': signature(x=(None, 3), y=(None, 2, 2)),
        'ragged': signature(x=(None, None)),
    }
    tf.saved_model.save(module, folder, signatures=signatures)
    return folder


def test_the_first_dense_signature_is_chosen(model: str) -> None:
    chosen = choose_signature(model)
    assert chosen.name == 'dense_a'
    assert {name: spec.row_shape for name, spec in chosen.inputs.items()} == {'x': (3,), 'y': (2, 2)}


def test_a_name_decides(model: str) -> None:
    assert choose_signature(model, 'dense_b').name == 'dense_b'


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        (
            'absent',
            r"signature 'absent' is not in .* \(found: 'dense_a', 'dense_b', 'ragged', 'serving_default'\)",
        ),
        ('serving_default', "input 'serialized' of signature 'serving_default' is string; tfx-edge needs"),
        ('ragged', r"input 'x' of signature 'ragged' has the open shape \(None, None\)"),
    ],
)
def test_an_unusable_name_is_refused(model: str, name: str, message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        choose_signature(model, name)


def test_a_folder_without_a_model_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(EdgeError, match=r'holds no saved_model.pb; expected what a Trainer exports'):
        choose_signature(str(tmp_path))
