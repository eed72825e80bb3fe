"""Transform hands words on, and the model looks them up: raw and transformed examples give the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.dense_function.concrete_function import dense_function
from tfx_edge.components.core.dense_function.preparation import preparation_of
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.examples.example_stage import RAW, TRANSFORMED

_SPEC = {'word': tf.io.FixedLenFeature([1], tf.string), 'x': tf.io.FixedLenFeature([2], tf.float32)}


def _record(word: str, x: list[float], names: tuple[str, str]) -> bytes:
    example = tf.train.Example()
    example.features.feature[names[0]].bytes_list.value.append(word.encode())
    example.features.feature[names[1]].float_list.value.extend(x)
    return example.SerializeToString()


@pytest.fixture(scope='module')
def transform_graph(tmp_path_factory: pytest.TempPathFactory) -> str:
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    folder = tmp_path_factory.mktemp('words')
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(_SPEC))

    def lower(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {'word_xf': tf.strings.lower(inputs['word']), 'x_xf': inputs['x'] / 4.0}

    with beam.Pipeline(argv=['--runner=FnApiRunner']) as pipeline, tft_beam.Context(str(folder / 'tmp')):
        rows = pipeline | beam.Create([{'word': [b'Dog'], 'x': np.float32([1, 2])}])
        _ = (
            (rows, metadata)
            | tft_beam.AnalyzeDataset(lower)
            | tft_beam.WriteTransformFn(str(folder / 'graph'))
        )
    metadata_io.write_metadata(metadata, str(folder / 'graph' / 'metadata'))
    return str(folder / 'graph')


@pytest.fixture(scope='module')
def saved_model(transform_graph: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    import tensorflow_transform as tft

    module: Any = tf.Module()
    module.kernel = tf.Variable(np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32))
    words = tf.lookup.KeyValueTensorInitializer(tf.constant(['cat', 'dog']), tf.constant([1, 2], tf.int64))
    module.table = tf.lookup.StaticHashTable(words, 0)
    module.transform = tft.TFTransformOutput(transform_graph).transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        made = module.transform(tf.io.parse_example(examples, _SPEC))
        ids = tf.one_hot(tf.reshape(module.table.lookup(made['word_xf']), [-1]), 3)
        return {'y': tf.matmul(tf.concat([ids, made['x_xf']], 1), module.kernel)}

    folder = str(tmp_path_factory.mktemp('model'))
    tf.saved_model.save(module, folder, signatures={'serving_default': serve})
    return folder


def test_both_kinds_of_examples_give_the_same_numbers(saved_model: str, transform_graph: str) -> None:
    signature = choose_signature(saved_model, transform_graph=transform_graph)
    assert {name: spec.dtype for name, spec in signature.inputs.items()} == {
        'word_xf': tf.int64,
        'x_xf': tf.float32,
    }
    rows = (('Dog', [4.0, 8.0]), ('BIRD', [0.0, -4.0]), ('cat', [2.0, 2.0]))
    raw = [_record(word, x, ('word', 'x')) for word, x in rows]
    transformed = [_record(word.lower(), [v / 4 for v in x], ('word_xf', 'x_xf')) for word, x in rows]
    preparation = preparation_of(saved_model, signature)
    found = []
    for stage, records in ((RAW, raw), (TRANSFORMED, transformed), ('', raw), ('', transformed)):
        parser = ExampleParser(
            signature.inputs, transform_graph=transform_graph, stage=stage, preparation=preparation
        )
        found.append(parser(records))
    for inputs in found:
        assert inputs['word_xf'].ravel().tolist() == [2, 0, 1]
        np.testing.assert_array_equal(inputs['x_xf'], [[1, 2], [0, -1], [0.5, 0.5]])
    loaded = tf.saved_model.load(saved_model)
    feeds = {name: tf.constant(values) for name, values in found[0].items()}
    answer = dense_function(loaded, signature)(**feeds)
    expected = loaded.signatures['serving_default'](examples=tf.constant(raw))
    np.testing.assert_allclose(answer['y'], expected['y'], rtol=1e-6)
