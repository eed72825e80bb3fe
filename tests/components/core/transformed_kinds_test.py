"""Every kind of feature that Transform reads and makes, raw and as Transform wrote it, for every kind of input.

The witness is TensorFlow Transform: its layer on the raw examples, and what its Beam stage writes of them.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser, read_records
from tfx_edge.components.core.examples.example_stage import RAW, TRANSFORMED
from tfx_edge.components.core.signature import TensorSpec

_RAW_SPEC = {
    'id': tf.io.FixedLenFeature([], tf.int64),
    'kept': tf.io.FixedLenFeature([1], tf.int64),
    'number': tf.io.FixedLenFeature([2], tf.float32),
    'list': tf.io.VarLenFeature(tf.int64),
    'ragged': tf.io.RaggedFeature(tf.float32, 'ragged', []),
    'words': tf.io.FixedLenFeature([], tf.string),
    'image': tf.io.FixedLenFeature([], tf.string),
}
_LISTS = [[1, 2, 3], [4], []]
# The shape of the input that reads each output.
_SHAPES = {
    'kept': (1,),
    'dense': (2,),
    'whole': (2, 1),
    'scalar': (1,),
    'varying': (4,),
    'rows': (3,),
    'lengths': (2,),
    'places': (2,),
    'image': (4, 4, 1),
}


def _preprocess(inputs: dict[str, Any]) -> dict[str, Any]:
    import tensorflow_transform as tft

    listed, words = inputs['list'], tf.strings.split(inputs['words'])
    above = tf.sparse.from_dense(tf.cast(inputs['number'] > 1, tf.float32))
    places = tf.SparseTensor(above.indices, above.values, [tf.shape(inputs['number'], tf.int64)[0], 2])
    tft.experimental.annotate_sparse_output_shape(places, [2])
    return {
        'id': inputs['id'],
        'kept': tf.cast(inputs['kept'], tf.float32) * 2.0,
        'dense': inputs['number'] + 1.0,
        'whole': tf.cast(inputs['number'], tf.int64),
        'scalar': inputs['number'][:, 0],
        'varying': tf.SparseTensor(listed.indices, listed.values * 2, listed.dense_shape),
        'rows': inputs['ragged'] * 2.0,
        'lengths': tf.ragged.map_flat_values(lambda word: tf.cast(tf.strings.length(word), tf.int64), words),
        'places': places,
        'gaps': tf.SparseTensor(above.indices, above.values + 1, above.dense_shape),
        'image': tf.map_fn(_decoded, inputs['image'], fn_output_signature=tf.int64),
        'words': inputs['words'],
    }


def _decoded(image: tf.Tensor) -> tf.Tensor:
    pixels = tf.io.decode_image(image, channels=1, expand_animations=False)
    return tf.cast(tf.reshape(pixels, [4, 4, 1]), tf.int64)


def _raw_records() -> list[bytes]:
    records = []
    for index, values in enumerate(_LISTS):
        pixels = tf.constant(np.arange(16).reshape(4, 4, 1) * (index + 1), tf.uint8)
        image = tf.io.encode_jpeg(pixels) if index == 1 else tf.io.encode_png(pixels)
        example = tf.train.Example()
        feature = example.features.feature
        feature['id'].int64_list.value.append(index)
        feature['kept'].int64_list.value.append(index + 3)
        feature['number'].float_list.value.extend([index, 3.0 - index])
        feature['list'].int64_list.value.extend(values)
        feature['ragged'].float_list.value.extend(values)
        feature['words'].bytes_list.value.append(b'one three' if index else b'five')
        feature['image'].bytes_list.value.append(image.numpy())
        records.append(example.SerializeToString())
    return records


@pytest.fixture(scope='module')
def transform(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with the transform graph, and the examples that Transform made of the raw ones."""
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
    from tfx_bsl.public import tfxio

    folder = tmp_path_factory.mktemp('kinds')
    schema = schema_utils.schema_from_feature_spec(_RAW_SPEC)
    source = tfxio.TFExampleBeamRecord('test', schema=schema)
    with beam.Pipeline(argv=['--runner=FnApiRunner']) as pipeline, tft_beam.Context(str(folder / 'tmp')):
        raw = pipeline | beam.Create(_raw_records()) | source.BeamSource()
        (made, metadata), graph = (raw, source.TensorAdapterConfig()) | tft_beam.AnalyzeAndTransformDataset(
            _preprocess, output_record_batches=True
        )
        _ = graph | tft_beam.WriteTransformFn(str(folder / 'graph'))
        # As Transform's executor writes them.
        encoder = tfxio.RecordBatchToExamplesEncoder(metadata.schema)
        written = made | beam.FlatMap(lambda batch: encoder.encode(batch[0]))
        _ = written | beam.io.WriteToTFRecord(str(folder / 'written'), num_shards=1)
    metadata_io.write_metadata(dataset_metadata.DatasetMetadata(schema), str(folder / 'graph' / 'metadata'))
    return folder


def _written_records(transform: pathlib.Path) -> list[bytes]:
    records = read_records([str(path) for path in transform.glob('written*')])
    return sorted(
        records, key=lambda r: tf.train.Example.FromString(r).features.feature['id'].int64_list.value[0]
    )


def _parser(transform: pathlib.Path, dtype: tf.DType, *names: str, stage: str = '') -> ExampleParser:
    inputs = {name: TensorSpec((None, *_SHAPES[name]), dtype) for name in names}
    return ExampleParser(inputs, transform_graph=str(transform / 'graph'), stage=stage)


@pytest.fixture(scope='module')
def made(transform: pathlib.Path) -> dict[str, tf.Tensor]:
    """What the layer makes of the raw examples, dense and in the shapes of the inputs."""
    import tensorflow_transform as tft

    output = tft.TFTransformOutput(str(transform / 'graph'))
    parsed = tf.io.parse_example(_raw_records(), output.raw_feature_spec())
    outputs = output.transform_features_layer()(parsed)
    return {name: _dense(outputs[name], shape) for name, shape in _SHAPES.items()}


def _dense(value: Any, shape: tuple[int, ...]) -> tf.Tensor:
    if isinstance(value, tf.RaggedTensor):
        value = value.to_sparse()
    if isinstance(value, tf.SparseTensor):
        value = tf.sparse.to_dense(tf.sparse.reset_shape(value, [len(_LISTS), *shape]))
    return tf.reshape(value, (-1, *shape))


@pytest.mark.parametrize('stage', [RAW, TRANSFORMED])
@pytest.mark.parametrize('dtype', [tf.float32, tf.float64, tf.int32, tf.uint8], ids=lambda dtype: dtype.name)
def test_raw_and_transformed_examples_give_what_transform_makes(
    transform: pathlib.Path, made: dict[str, tf.Tensor], dtype: tf.DType, stage: str
) -> None:
    records = _raw_records() if stage == RAW else _written_records(transform)
    batch = _parser(transform, dtype, *_SHAPES, stage=stage)(records)
    for name, value in made.items():
        assert batch[name].dtype == dtype.as_numpy_dtype
        np.testing.assert_array_equal(batch[name], tf.cast(value, dtype).numpy(), err_msg=name)


@pytest.mark.parametrize('name', ['dense', 'varying', 'rows', 'places'])
def test_raw_are_reported_from_transformed(
    transform: pathlib.Path, made: dict[str, tf.Tensor], name: str
) -> None:
    for records in (_raw_records(), _written_records(transform)):
        np.testing.assert_array_equal(_parser(transform, tf.float32, name)(records)[name], made[name])


def test_the_type_that_transform_writes_shows_them_where_it_keeps_a_name(transform: pathlib.Path) -> None:
    # Raw 'kept' is an integer, and Transform makes a float of it.
    for records in (_raw_records(), _written_records(transform)):
        assert _parser(transform, tf.float32, 'kept')(records)['kept'].tolist() == [[6.0], [8.0], [10.0]]


def test_gaps_that_transform_does_not_write_are_reported(
    transform: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level('WARNING', 'tfx_edge')
    spec = {'gaps': TensorSpec((None, 2), tf.float32)}
    raw, written = (
        ExampleParser(spec, transform_graph=str(transform / 'graph'), stage=stage)(records)['gaps'].tolist()
        for stage, records in ((RAW, _raw_records()), (TRANSFORMED, _written_records(transform)))
    )
    assert raw == [[0, 2], [0, 2], [2, 0]]
    assert written == [[2, 0], [2, 0], [2, 0]]
    assert "feature 'gaps' is sparse, with gaps before values" in caplog.text
    assert 'tft.experimental.annotate_sparse_output_shape' in caplog.text


def test_an_image_that_is_still_encoded_is_reported(transform: pathlib.Path) -> None:
    with pytest.raises(EdgeError, match="feature 'image' is bytes_list, but input 'image' is uint8"):
        _parser(transform, tf.uint8, 'image', stage=TRANSFORMED)(_raw_records())


def test_a_string_that_transform_passes_on_is_no_number(transform: pathlib.Path) -> None:
    spec = {'words': TensorSpec((None,), tf.float32)}
    for stage, records in ((RAW, _raw_records()), (TRANSFORMED, _written_records(transform))):
        with pytest.raises(EdgeError, match="feature 'words' is bytes_list, but input 'words' is float32"):
            ExampleParser(spec, transform_graph=str(transform / 'graph'), stage=stage)(records)
