"""The dense function behind signatures of strings, for each way to export one and each kind of preprocessing."""

from __future__ import annotations

import pathlib
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.dense_function.choice import choose_signature, describe
from tfx_edge.components.core.dense_function.concrete_function import dense_function
from tfx_edge.components.core.dense_function.preparation import preparation_of
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.signature import Signature

Features = Mapping[str, Any]


def _example(**features: Any) -> bytes:
    example = tf.train.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        feature = example.features.feature[name]
        if isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return example.SerializeToString()


class _Served(tf.Module):
    """A signature of serialized tf.Examples: parse, prepare, and a product with a weight."""

    def __init__(self, spec: Mapping[str, Any], prepare: Callable[..., tf.Tensor], width: int) -> None:
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(0).normal(size=(width, 3)).astype(np.float32))
        words = tf.constant([b'cat', b'dog'])
        numbers = tf.constant([1, 2], tf.int64)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(words, numbers), 0)
        self._spec, self._prepare = dict(spec), prepare

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(examples, self._spec)
        scores = tf.nn.softmax(tf.matmul(self._prepare(self, features), self.kernel))
        return {'scores': scores, 'name': tf.gather(tf.constant([b'a', b'b', b'c']), tf.argmax(scores, 1))}


def _save(module: tf.Module, folder: pathlib.Path, **signatures: Any) -> str:
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return str(folder)


def _dense(x: tf.Tensor) -> tf.Tensor:
    return tf.sparse.to_dense(tf.SparseTensor(x.indices, x.values, [x.dense_shape[0], 1]))


def _images(module: _Served, features: Features) -> tf.Tensor:
    decoded = tf.map_fn(
        lambda data: tf.reshape(tf.io.decode_png(data, channels=1), (4, 4, 1)),
        features['image/encoded'],
        fn_output_signature=tf.uint8,
    )
    return tf.reshape(tf.cast(decoded, tf.float32) / 255.0, (-1, 16))


def _png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 1), np.uint8)
    return tf.io.encode_png(pixels).numpy()


_FLOATS = tf.io.FixedLenFeature([2], tf.float32)
_WORD = tf.io.FixedLenFeature([], tf.string)
KINDS: dict[str, tuple[Mapping[str, Any], Callable[..., tf.Tensor], int, list[bytes], Mapping[str, Any]]] = {
    # what is parsed, what is made of it, its width, examples, and what the dense function takes of these
    'as parsed': (
        {'a': _FLOATS, 'b': _FLOATS},
        lambda module, f: tf.concat([f['a'], 2.0 * f['b']], 1),
        4,
        [_example(a=[0.5, 1.0], b=[-1.0, 2.0]), _example(a=[0.25, 3.0], b=[1.0, 0.0])],
        {'a': np.float32([[0.5, 1], [0.25, 3]]), 'b': np.float32([[-1, 2], [1, 0]])},
    ),
    'looked up': (
        {'word': _WORD},
        lambda module, f: tf.one_hot(module.table.lookup(f['word']), 3),
        3,
        [_example(word=b'dog'), _example(word=b'bird')],
        {'word': np.int64([2, 0])},
    ),
    'integers of 32 bits': (
        {'place': tf.io.FixedLenFeature([], tf.int64)},
        lambda module, f: tf.one_hot(tf.cast(f['place'], tf.int32), 3),
        3,
        [_example(place=2), _example(place=1)],
        {'place': np.int32([2, 1])},
    ),
    'sparse, made dense': (
        {'trip/miles': tf.io.VarLenFeature(tf.float32)},
        lambda module, f: tf.reshape(_dense(f['trip/miles']), (-1, 1)),
        1,
        [_example(**{'trip/miles': 1.5}), _example()],
        {'trip/miles': np.float32([[1.5], [0]])},
    ),
    'decoded in a loop': (
        {'image/encoded': _WORD},
        _images,
        16,
        [_example(**{'image/encoded': _png(1)}), _example(**{'image/encoded': _png(2)})],
        {'image/encoded': np.stack([tf.io.decode_png(_png(seed), channels=1).numpy() for seed in (1, 2)])},
    ),
    'as many rows as examples': (
        {'a': _FLOATS},
        lambda module, f: tf.concat([f['a'], tf.zeros((tf.shape(f['a'])[0], 1))], 1),
        3,
        [_example(a=[0.5, 1.0])],
        {'a': np.float32([[0.5, 1]])},
    ),
}


def _chosen(kind: str, folder: pathlib.Path) -> tuple[str, Signature]:
    spec, prepare, width, _, _ = KINDS[kind]
    module = _Served(spec, prepare, width)
    saved = _save(module, folder, serving_default=module.serve)
    return saved, choose_signature(saved)


@pytest.mark.parametrize('kind', KINDS)
def test_it_answers_as_the_signature_does(kind: str, tmp_path: pathlib.Path) -> None:
    folder, signature = _chosen(kind, tmp_path)
    *_, examples, inputs = KINDS[kind]
    assert {name: spec.dtype.as_numpy_dtype for name, spec in signature.inputs.items()} == {
        name: values.dtype.type for name, values in inputs.items()
    }
    loaded = tf.saved_model.load(folder)
    feeds = {name.replace('/', '_'): tf.constant(values) for name, values in inputs.items()}
    found = dense_function(loaded, signature)(**feeds)
    expected = loaded.signatures['serving_default'](examples=tf.constant(examples))
    assert set(found) == {'scores'}
    np.testing.assert_allclose(found['scores'], expected['scores'], rtol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_examples_give_its_inputs(kind: str, tmp_path: pathlib.Path) -> None:
    """Words and encoded images by what the model does with them; numbers as they are."""
    folder, signature = _chosen(kind, tmp_path)
    *_, examples, inputs = KINDS[kind]
    preparation = pickle.loads(pickle.dumps(preparation_of(folder, signature)))
    assert (preparation is not None) == (kind in ('looked up', 'decoded in a loop'))
    if kind == 'sparse, made dense':
        examples, inputs = examples[:1], {name: values[:1] for name, values in inputs.items()}
    parser = ExampleParser(signature.inputs, preparation=preparation)
    parser(examples)
    # Beam sends it to workers after the step has used it.
    found = pickle.loads(pickle.dumps(parser))(examples)
    assert set(found) == set(inputs)
    for name, values in inputs.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_model_of_words_takes_their_numbers(tmp_path: pathlib.Path) -> None:
    """As Keras exports it: the signature takes the words themselves."""
    words = keras.layers.TextVectorization(
        max_tokens=8, output_sequence_length=4, vocabulary=['good', 'bad', 'very']
    )
    text = keras.layers.Input((), dtype='string', name='text')
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(8, 3)(words(text)))
    model = keras.Model(text, keras.layers.Dense(2)(mean))
    model.export(str(tmp_path), verbose=False)
    signature = choose_signature(str(tmp_path))
    assert {name: (spec.row_shape, spec.dtype) for name, spec in signature.inputs.items()} == {
        'text': ((4,), tf.int64)
    }
    parser = ExampleParser(signature.inputs, preparation=preparation_of(str(tmp_path), signature))
    reviews = [b'very good', b'bad bad movie']
    ids = parser([_example(text=review) for review in reviews])
    np.testing.assert_array_equal(ids['text'], [[4, 2, 0, 0], [3, 3, 1, 0]])
    loaded = tf.saved_model.load(str(tmp_path))
    found = dense_function(loaded, signature)(text=tf.constant(ids['text']))
    expected = loaded.signatures['serving_default'](text=tf.constant(reviews))
    np.testing.assert_allclose(found['output_0'], expected['output_0'], rtol=1e-6)


def test_examples_that_cannot_be_prepared_are_reported(tmp_path: pathlib.Path) -> None:
    folder, signature = _chosen('decoded in a loop', tmp_path)
    parser = ExampleParser(signature.inputs, preparation=preparation_of(folder, signature))
    with pytest.raises(
        EdgeError, match=r"what signature 'serving_default' does before its weights cannot be done"
    ):
        parser([_example(**{'image/encoded': b'no image'})])


def test_what_is_taken_and_left_out_is_reported(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level('INFO', logger='tfx_edge'):
        _, signature = _chosen('as parsed', tmp_path)
    assert describe(signature) == (
        "the part of signature 'serving_default' behind parsing, decoding and Transform is taken, with the inputs "
        'a float32[2], b float32[2]'
    )
    messages = [record.message for record in caplog.records if record.name.startswith('tfx_edge')]
    assert any(describe(signature) in message for message in messages)
    assert any("are left out: 'name'" in message for message in messages)


def test_several_that_differ_are_reported(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    spec, prepare, width, _, _ = KINDS['as parsed']
    module = _Served(spec, prepare, width)
    module.other = _Served({'a': _FLOATS}, lambda module, f: f['a'], 2)
    folder = _save(module, tmp_path, serving_default=module.serve, embed=module.other.serve)
    with caplog.at_level('WARNING', logger='tfx_edge'):
        assert set(choose_signature(folder).inputs) == {'a', 'b'}
    assert any("behind 'embed' too, which is not taken" in record.message for record in caplog.records)
    assert set(choose_signature(folder, 'embed').inputs) == {'a'}


def test_a_signature_without_weights_is_refused(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.parse = tf.function(
        lambda examples: tf.io.parse_example(examples, {'a': _FLOATS}),
        input_signature=[tf.TensorSpec([None], tf.string, name='examples')],
    )
    folder = _save(module, tmp_path, transform_features=module.parse)
    with pytest.raises(
        EdgeError, match=r"input 'examples' of signature 'transform_features' is string; .* weights"
    ):
        choose_signature(folder)


def test_a_feature_that_reaches_the_weights_in_two_ways_is_refused(tmp_path: pathlib.Path) -> None:
    module = _Served(
        {'word': _WORD},
        lambda module, f: tf.stack(
            [
                tf.cast(module.table.lookup(f['word']), tf.float32),
                tf.cast(tf.strings.length(f['word']), tf.float32),
            ],
            1,
        ),
        2,
    )
    folder = _save(module, tmp_path, serving_default=module.serve)
    with pytest.raises(EdgeError, match="feature 'word' reaches the weights in two ways"):
        choose_signature(folder)


def test_inputs_without_use_are_left_out(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.kernel = tf.Variable(np.eye(2, dtype=np.float32))
    inner = tf.function(lambda x, spare: (tf.matmul(x, module.kernel), spare))
    specs = [tf.TensorSpec([None, 2], name='x'), tf.TensorSpec([None, 9], tf.int32, name='spare')]

    @tf.function(input_signature=specs)
    def serve(x: tf.Tensor, spare: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.assert_non_negative(spare)
        return {'y': inner(x, spare)[0]}

    folder = _save(module, tmp_path, serving_default=serve)
    signature = choose_signature(folder)
    assert set(signature.inputs) == {'x'}
    assert "without 'spare', which no output depends on" in describe(signature)
    loaded = tf.saved_model.load(folder)
    answer = dense_function(loaded, signature)(x=tf.constant([[1.0, 2.0]]))
    np.testing.assert_array_equal(answer['y'], [[1, 2]])
