"""Which signature is chosen, and how a model without one is refused."""

from __future__ import annotations

import logging
import pathlib

import pytest
import tensorflow as tf

from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.signature import Signature, TensorSpec, whole_outputs


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


def test_the_choice_among_several_is_reported(model: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger='tfx_edge'):
        choose_signature(model)
        choose_signature(model)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        "'dense_a' is taken, and not 'dense_b'; name another in signature_name to take it" in record.message
    )


@pytest.mark.parametrize(('second', 'levels'), [('serve', []), ('embed', [logging.INFO])])
def test_a_dense_serving_default_is_no_matter_of_doubt(
    second: str, levels: list[int], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Keras exports the same function as 'serve' too."""
    module = tf.Module()
    specs = [tf.TensorSpec((None, 3), tf.float32, name='x')]
    module.serve = tf.function(lambda x: {'y': 2.0 * x}, input_signature=specs)
    module.embed = tf.function(lambda x: {'embedding': x[:, :2]}, input_signature=specs)
    signatures = {'serving_default': module.serve, second: getattr(module, second)}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    # TensorFlow logs that it saves.
    caplog.clear()
    with caplog.at_level(logging.INFO, logger='tfx_edge'):
        assert choose_signature(str(tmp_path)).name == 'serving_default'
    assert [record.levelno for record in caplog.records if record.name.startswith('tfx_edge')] == levels


def test_outputs_without_a_batch_dimension_are_reported() -> None:
    def spec(*shape: int | None, has_rank: bool = True) -> TensorSpec:
        return TensorSpec(shape, tf.float32, has_rank)

    outputs = {'p': spec(None, 3), 'loss': spec(), 'anchors': spec(7, 4), 'unknown': spec(has_rank=False)}
    assert whole_outputs(Signature('s', {'x': spec(None, 2)}, outputs)) == {'loss', 'anchors'}
    assert whole_outputs(Signature('s', {'x': spec(7, 2)}, outputs)) == {'loss'}
