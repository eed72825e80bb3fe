"""A SavedModel written with other values: the same files, and every reader sees the values."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.errors import EdgeError

from ..conftest import open_graph


def _halved(saved_model: str) -> dict[str, np.ndarray]:
    return {v.key: v.value * 0.5 for v in open_graph(saved_model).variables if v.trainable}


def _tf2_outputs(folder: str, images: np.ndarray) -> np.ndarray:
    signature = choose_signature(folder)
    function = tf.saved_model.load(folder).signatures[signature.name]
    (output,) = function(**{next(iter(signature.inputs)): tf.constant(images)}).values()
    return output.numpy()


def _tf1_outputs(folder: str, images: np.ndarray) -> np.ndarray:
    """Runs the restore function and the serving graph, as the converter does."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ['serve'], folder)
        definition = meta_graph.signature_def[choose_signature(folder).name]
        (fed,) = definition.inputs.values()
        (fetched,) = definition.outputs.values()
        return session.run(fetched.name, {fed.name: images})


def test_both_loaders_read_the_new_values(
    saved_model: str, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    images = digits['x_eval'][:16]
    before = _tf2_outputs(saved_model, images)
    write_with_values(saved_model, str(tmp_path / 'new'), _halved(saved_model))
    after = _tf2_outputs(str(tmp_path / 'new'), images)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(_tf1_outputs(str(tmp_path / 'new'), images), after, atol=1e-5)


def test_all_files_but_the_checkpoint_are_byte_for_byte_the_same(
    saved_model: str, tmp_path: pathlib.Path
) -> None:
    target = tmp_path / 'new'
    write_with_values(saved_model, str(target), _halved(saved_model))
    source = pathlib.Path(saved_model)
    files = {path.relative_to(source) for path in source.rglob('*') if path.is_file()}
    assert files == {path.relative_to(target) for path in target.rglob('*') if path.is_file()}
    differing = {str(f) for f in files if (source / f).read_bytes() != (target / f).read_bytes()}
    assert differing <= {'fingerprint.pb', *(str(f) for f in files if f.parts[0] == 'variables')}


def test_the_same_values_give_the_same_bytes(saved_model: str, tmp_path: pathlib.Path) -> None:
    for name in ('one', 'two'):
        write_with_values(saved_model, str(tmp_path / name), _halved(saved_model))
    for path in (tmp_path / 'one').rglob('*'):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / 'two' / path.relative_to(tmp_path / 'one')).read_bytes()


@pytest.mark.slow
def test_tf_keras_loads_what_it_could_load_before(
    tf_keras_saved_model: pathlib.Path, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    import tf_keras

    source = str(tf_keras_saved_model)
    write_with_values(source, str(tmp_path / 'new'), _halved(source))
    model = tf_keras.models.load_model(tmp_path / 'new')
    images = digits['x_eval'][:16]
    np.testing.assert_allclose(
        model.predict(images, verbose=0), _tf2_outputs(str(tmp_path / 'new'), images), atol=1e-5
    )


def test_a_value_of_another_shape_is_refused(
    module_saved_model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    key = next(v.key for v in open_graph(str(module_saved_model)).variables if v.name == 'kernel')
    with pytest.raises(EdgeError, match=r'kernel.*cannot take a value of shape \(2,\)'):
        write_with_values(str(module_saved_model), str(tmp_path / 'new'), {key: np.zeros(2, np.float32)})
