"""A transform graph whose outputs keep names of its inputs, and raw examples for it."""

from __future__ import annotations

import pathlib
from typing import Any

import tensorflow as tf

_DEFAULTS: dict[str, Any] = {
    'age': [40.0],
    'income': [5.0],
    'pair': [1.0, 2.0],
    'square': [0.0, 1.0, 2.0, 3.0],
    'colour': [b'red'],
    'kind': [b'yes'],
    'tags': [1, 2],
}


def record(**changes: Any) -> bytes:
    """A raw example; None leaves a feature out."""
    features = {}
    for name, values in {**_DEFAULTS, **changes}.items():
        if values is None:
            continue
        if values and isinstance(values[0], float):
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        elif values and isinstance(values[0], bytes):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        else:
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def make_graph(folder: pathlib.Path) -> str:
    """Divides age by 10 in place, doubles income under another name, and more; returns the graph's folder."""
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    spec = {
        'age': tf.io.FixedLenFeature([1], tf.float32),
        'income': tf.io.FixedLenFeature([1], tf.float32),
        'pair': tf.io.FixedLenFeature([2], tf.float32),
        'square': tf.io.FixedLenFeature([4], tf.float32),
        'colour': tf.io.FixedLenFeature([], tf.string),
        'kind': tf.io.FixedLenFeature([], tf.string),
        'tags': tf.io.VarLenFeature(tf.int64),
    }
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    with beam.Pipeline(argv=['--runner=FnApiRunner']) as pipeline, tft_beam.Context(str(folder / 'tmp')):
        rows = pipeline | beam.Create([{**_DEFAULTS, 'colour': b'red', 'kind': b'yes'}])
        graph = (rows, metadata) | tft_beam.AnalyzeDataset(_preprocess)
        _ = graph | tft_beam.WriteTransformFn(str(folder / 'graph'))
    metadata_io.write_metadata(metadata, str(folder / 'graph' / 'metadata'))
    return str(folder / 'graph')


def _preprocess(inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = dict(inputs)
    del outputs['income'], outputs['colour']
    outputs['age'] = inputs['age'] / 10.0
    outputs['income_xf'] = inputs['income'] * 2.0
    outputs['pair'] = tf.reduce_sum(inputs['pair'], 1, keepdims=True)
    outputs['square'] = tf.reshape(inputs['square'] * 10.0, [-1, 2, 2])
    outputs['kind'] = tf.cast(tf.equal(inputs['kind'], 'yes'), tf.int64)
    colours = tf.lookup.KeyValueTensorInitializer(['red', 'green'], tf.constant([0, 1], tf.int64))
    outputs['colour_id'] = tf.lookup.StaticHashTable(colours, -1).lookup(inputs['colour'])
    return outputs


def loss_fn(features: Any, teacher: Any, student: Any) -> tf.Tensor:
    """For a training on ages from 20 to 79: fails unless they are divided by 10, once."""
    with tf.control_dependencies(
        [tf.debugging.assert_greater(features['age'], 1.9), tf.debugging.assert_less(features['age'], 8.0)]
    ):
        return tf.reduce_mean(tf.math.squared_difference(teacher['score'], student['score']))
