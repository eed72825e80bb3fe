"""tf.Examples as dense batches: plain, with a schema's defaults, and through a transform graph."""

from __future__ import annotations

import gzip
import pathlib
import pickle
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser, read_records
from tfx_edge.components.core.signature import TensorSpec


def _record(**features: Any) -> bytes:
    made = {}
    for name, values in features.items():
        if isinstance(values[0], float):
            made[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        elif isinstance(values[0], int):
            made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            made[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def test_features_take_the_shape_and_dtype_of_the_input() -> None:
    inputs = {
        'image': TensorSpec((None, 2, 2), tf.float16),
        'count': TensorSpec((None,), tf.int8),
        'flag': TensorSpec((None, 1), tf.bool),
    }
    parser = ExampleParser(inputs, label_key='name')
    batch = parser([_record(image=[0.5, 1.0, 1.5, 2.0], count=[-3], flag=[1], name=[b'a'], other=[1.0])] * 2)
    assert {name: (array.shape, array.dtype) for name, array in batch.items() if name != 'name'} == {
        'image': ((2, 2, 2), np.float16),
        'count': ((2,), np.int8),
        'flag': ((2, 1), np.bool_),
    }
    assert batch['image'][1, 1, 0] == 1.5
    assert batch['name'].tolist() == [b'a', b'a']


def test_decoded_features_are_taken_where_they_are_what_parsing_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = {'image': TensorSpec((None, 2, 2), tf.float32), 'count': TensorSpec((None,), tf.int32)}
    records = [_record(image=[0.5, 1.0, 1.5, float(n)], count=[n]) for n in range(3)]
    parsed = ExampleParser(inputs)(records)
    decoded = {
        'image': np.stack([image.ravel() for image in parsed['image']]),
        'count': np.arange(3, dtype=np.int64)[:, np.newaxis],
    }
    _assert_same(ExampleParser(inputs).read(records, decoded)[0], parsed)
    # Others are not: an example lacks the feature, or its length differs.
    for other in (
        np.array([[1], None, [2]], dtype=object),
        np.zeros((3, 2), np.int64),
        np.zeros(2, np.int64),
    ):
        _assert_same(ExampleParser(inputs).read(records, {**decoded, 'count': other})[0], parsed)
    monkeypatch.setattr(tf.io, 'parse_example', None)
    _assert_same(ExampleParser(inputs).read(records, decoded)[0], parsed)


def _assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def test_a_parser_can_be_pickled() -> None:
    parser = pickle.loads(pickle.dumps(ExampleParser({'x': TensorSpec((None, 1), tf.float32)})))
    assert parser([_record(x=[2.0])])['x'].tolist() == [[2.0]]


def test_integers_that_do_not_fit_the_input_are_refused() -> None:
    parser = ExampleParser({'x': TensorSpec((None,), tf.uint8)})
    with pytest.raises(EdgeError, match="feature 'x' holds integers that do not fit input 'x' of type uint8"):
        parser([_record(x=[256])])


def test_an_absent_label_is_named() -> None:
    parser = ExampleParser({'x': TensorSpec((None,), tf.float32)}, label_key='y')
    with pytest.raises(EdgeError, match=r"no feature 'y', which label_key names \(found: x\)"):
        parser([_record(x=[1.0])])


def test_a_record_that_is_no_example_is_refused() -> None:
    parser = ExampleParser({'x': TensorSpec((None,), tf.float32)})
    with pytest.raises(EdgeError, match=r'a record is not a tf\.Example'):
        parser([b'\xff\xff\xff'])


def test_a_schema_s_default_fills_an_absent_feature() -> None:
    schema = text_format.Parse(
        """
        feature { name: 'x' type: FLOAT presence { min_fraction: 0 } value_count { min: 0 max: 1 } }
        feature { name: 'y' type: FLOAT presence { min_fraction: 1 } shape { dim { size: 1 } } }
        tensor_representation_group {
          key: ''
          value {
            tensor_representation {
              key: 'x'
              value {
                dense_tensor { column_name: 'x' shape { dim { size: 1 } } default_value { float_value: 7 } }
              }
            }
          }
        }
        """,
        schema_pb2.Schema(),
    )
    inputs = {name: TensorSpec((None, 1), tf.float32) for name in ('x', 'y')}
    with_schema = ExampleParser(inputs, schema=schema)
    assert with_schema([_record(y=[1.0])])['x'].tolist() == [[7.0]]
    with pytest.raises(EdgeError, match="no feature 'y'"):
        with_schema([_record(x=[1.0])])
    with pytest.raises(EdgeError, match="no feature 'x'"):
        ExampleParser(inputs)([_record(y=[1.0])])


_DEFAULT = """
feature { name: 'x' type: FLOAT presence { min_fraction: 0.5 } shape { dim { size: 1 } } }
tensor_representation_group {
  key: ''
  value {
    tensor_representation {
      key: 'x'
      value { dense_tensor { column_name: 'x' shape { dim { size: 3 } } default_value { float_value: 7.5 } } }
    }
  }
}
"""


def test_a_default_fills_every_place_whatever_the_presence_is() -> None:
    schema = text_format.Parse(_DEFAULT, schema_pb2.Schema())
    parser = ExampleParser({'x': TensorSpec((None, 3), tf.float32)}, schema=schema)
    absent, without_kind = _record(y=[1.0]), tf.train.Example()
    without_kind.features.feature['x'].Clear()
    batch = parser([absent, without_kind.SerializeToString(), _record(x=[1.0, 2.0, 3.0])])
    assert batch['x'].tolist() == [[7.5] * 3, [7.5] * 3, [1.0, 2.0, 3.0]]


def test_a_default_of_another_type_is_refused() -> None:
    schema = text_format.Parse(_DEFAULT.replace('float_value: 7.5', 'int_value: 7'), schema_pb2.Schema())
    parser = ExampleParser({'x': TensorSpec((None, 3), tf.float32)}, schema=schema)
    with pytest.raises(
        EdgeError, match="gives feature 'x' the default int_value, but the model takes float32"
    ):
        parser([_record(y=[1.0])])


@pytest.mark.parametrize('with_default', [False, True])
def test_an_empty_list_is_distinguished_from_an_absent_feature(with_default: bool) -> None:
    schema = text_format.Parse(_DEFAULT, schema_pb2.Schema()) if with_default else None
    empty = tf.train.Example()
    empty.features.feature['x'].float_list.SetInParent()
    parser = ExampleParser({'x': TensorSpec((None, 3), tf.float32)}, schema=schema)
    remedy = 'which the default of the schema fills' if with_default else 'give a schema with a default'
    with pytest.raises(EdgeError, match=f"no value in feature 'x', of which the model takes 3.*{remedy}"):
        parser([empty.SerializeToString()])


def test_labels_of_different_lengths_are_reported() -> None:
    parser = ExampleParser({'x': TensorSpec((None,), tf.float32)}, label_key='y')
    with pytest.raises(
        EdgeError, match=r"label 'y' holds 2 of int64 in one example, and 1 of int64 in another"
    ):
        parser([_record(x=[1.0], y=[1]), _record(x=[1.0], y=[1, 2])])


def test_sequence_examples_are_reported() -> None:
    sequence = tf.train.SequenceExample()
    sequence.context.feature['label'].int64_list.value.append(1)
    sequence.feature_lists.feature_list['x'].feature.add().float_list.value.append(1.0)
    parser = ExampleParser({'x': TensorSpec((None, 1), tf.float32)})
    with pytest.raises(EdgeError, match=r"tf\.SequenceExamples, in which feature 'x' is a list of steps"):
        parser([sequence.SerializeToString()])


@pytest.mark.parametrize(
    ('content', 'match'),
    [
        (b'PAR1' + bytes(40), 'it is a Parquet file: let the ExampleGen write tf.Examples'),
        (gzip.compress(b'anything'), r"compressed with GZIP: give it a name that ends in '\.gz'"),
        (b'a,b\n1,2\n' * 9, 'it is damaged or truncated'),
    ],
    ids=['parquet', 'gzip', 'text'],
)
def test_files_of_other_formats_are_reported(tmp_path: pathlib.Path, content: bytes, match: str) -> None:
    (tmp_path / 'data').write_bytes(content)
    with pytest.raises(EdgeError, match=match):
        list(read_records([str(tmp_path / 'data')]))


@pytest.fixture(scope='module')
def transform_graph(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Scales `x` by its maximum, 4, and passes the label on."""
    import apache_beam as beam
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    spec = {'x': tf.io.FixedLenFeature([2], tf.float32), 'label': tf.io.FixedLenFeature([], tf.int64)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    rows = [
        {'x': np.array([1.0, 4.0], np.float32), 'label': 1},
        {'x': np.array([2.0, 0.0], np.float32), 'label': 0},
    ]
    folder = tmp_path_factory.mktemp('transform')

    def scale(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {'x_scaled': inputs['x'] / tft.max(inputs['x']), 'label': inputs['label']}

    with beam.Pipeline(argv=['--runner=FnApiRunner']) as pipeline, tft_beam.Context(str(folder / 'tmp')):
        data = (pipeline | beam.Create(rows), metadata)
        _, function = data | tft_beam.AnalyzeAndTransformDataset(scale)
        function | tft_beam.WriteTransformFn(str(folder / 'graph'))
        metadata | tft_beam.WriteMetadata(str(folder / 'graph' / 'metadata'), pipeline)
    return str(folder / 'graph')


def test_raw_examples_go_through_the_transform_graph(transform_graph: str) -> None:
    inputs = {'x_scaled': TensorSpec((None, 2), tf.float32)}
    parser = ExampleParser(inputs, transform_graph=transform_graph, label_key='label')
    batch = parser([_record(x=[2.0, 8.0], label=[1])])
    assert batch['x_scaled'].tolist() == [[0.5, 2.0]]
    assert batch['label'].tolist() == [1]


def test_transformed_examples_are_taken_as_they_are(transform_graph: str) -> None:
    parser = ExampleParser({'x_scaled': TensorSpec((None, 2), tf.float32)}, transform_graph=transform_graph)
    assert parser([_record(x_scaled=[2.0, 8.0])])['x_scaled'].tolist() == [[2.0, 8.0]]


def test_an_input_that_the_transform_graph_does_not_make_is_named(transform_graph: str) -> None:
    parser = ExampleParser({'z': TensorSpec((None, 2), tf.float32)}, transform_graph=transform_graph)
    with pytest.raises(EdgeError, match=r"transform graph has no output 'z' \(found: label, x_scaled\)"):
        parser([_record(x=[2.0, 8.0], label=[1])])


def test_damaged_files_are_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'data'
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(3):
            writer.write(_record(x=[1.0]))
    assert len(list(read_records([str(path)]))) == 3
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(EdgeError, match=r'data cannot be read as a TFRecord file'):
        list(read_records([str(path)]))
    with pytest.raises(EdgeError, match=r'absent cannot be read as a TFRecord file'):
        list(read_records([str(tmp_path / 'absent')]))
