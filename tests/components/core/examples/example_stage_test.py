"""Raw or transformed: decided by who wrote the examples and by what fits, not by names that occur."""

from __future__ import annotations

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_stage import RAW, TRANSFORMED, Origin, Stages, decide_stage
from tfx_edge.components.core.examples.schema_stage import stage_of_schema
from tfx_edge.components.core.signature import TensorSpec

_NO = 'an example has no feature'
_EXAMPLE_GEN = Origin(RAW, 'an ExampleGen wrote them')
_SCHEMA = Origin(TRANSFORMED, 'the schema is of the transformed ones')


def _stages(not_raw: str = '', surely_not_raw: str = '', not_transformed: str = '') -> Stages:
    return Stages(('age',), not_raw, surely_not_raw, not_transformed)


@pytest.mark.parametrize(
    ('found', 'origin', 'schema', 'stage'),
    [
        # Who wrote them decides where both fit.
        (_stages(), _EXAMPLE_GEN, Origin(), RAW),
        (_stages(), Origin(TRANSFORMED, 'Transform wrote them', certain=True), Origin(), TRANSFORMED),
        (_stages(), Origin(), _SCHEMA, TRANSFORMED),
        (_stages(), _EXAMPLE_GEN, Origin(RAW, 'the schema is of the raw ones'), RAW),
        # What is certain holds even where the examples look otherwise.
        (_stages(not_transformed=_NO), Origin(TRANSFORMED, 'so', certain=True), Origin(), TRANSFORMED),
        # What fits one of both is that, whoever wrote it.
        (_stages(not_transformed=_NO), Origin(), Origin(), RAW),
        (_stages(not_raw=_NO, surely_not_raw=_NO), _EXAMPLE_GEN, Origin(), TRANSFORMED),
        # Optional raw features that none of the examples has: nothing is made of nothing.
        (_stages(surely_not_raw=_NO), Origin(), Origin(), TRANSFORMED),
    ],
)
def test_the_stage_follows_from_the_origin_and_from_what_fits(
    found: Stages, origin: Origin, schema: Origin, stage: str
) -> None:
    assert decide_stage(found, origin, schema).stage == stage


@pytest.mark.parametrize(
    ('found', 'origin', 'schema', 'match'),
    [
        (_stages(), Origin(), Origin(), 'nothing says whether an ExampleGen or Transform wrote them'),
        (
            _stages(),
            _EXAMPLE_GEN,
            _SCHEMA,
            'the schema is of the transformed ones, but an ExampleGen wrote them',
        ),
        (_stages(surely_not_raw=_NO), _EXAMPLE_GEN, Origin(), 'none of the first examples holds'),
    ],
)
def test_what_cannot_be_decided_is_asked(found: Stages, origin: Origin, schema: Origin, match: str) -> None:
    with pytest.raises(EdgeError, match=match) as raised:
        decide_stage(found, origin, schema, 'the examples /raw')
    assert 'leave out transform_graph' in str(raised.value)
    assert '\n' not in str(raised.value)


def test_examples_that_are_neither_are_refused_with_both_reasons() -> None:
    found = _stages(not_raw='it lacks a; go.', surely_not_raw='x', not_transformed='it lacks b; go.')
    with pytest.raises(EdgeError, match=r'takes \(it lacks a\) nor what it makes \(it lacks b\)'):
        decide_stage(found)


_INPUTS = {'age': TensorSpec((None, 1), tf.float32)}
_RAW_FEATURES = {'age': tf.io.FixedLenFeature([1], tf.float32), 'town': tf.io.VarLenFeature(tf.string)}

_MADE_FEATURES = {'age': tf.io.FixedLenFeature([1], tf.float32)}


@pytest.mark.parametrize(
    ('schema', 'stage'),
    [
        ('feature { name: "age" type: FLOAT } feature { name: "town" type: BYTES }', ''),  # both
        ('feature { name: "age" type: FLOAT }', TRANSFORMED),
        ('feature { name: "town" type: BYTES }', ''),  # neither
        (
            'feature { name: "age" type: FLOAT shape { dim { size: 3 } } } feature { name: "town" type: BYTES }',
            '',
        ),
        ('feature { name: "age" type: FLOAT } feature { name: "town" type: INT }', TRANSFORMED),
    ],
)
def test_a_schema_shows_where_it_fits_one_of_both(schema: str, stage: str) -> None:
    parsed = text_format.Parse(schema, schema_pb2.Schema())
    assert stage_of_schema(parsed, _INPUTS, _RAW_FEATURES, _MADE_FEATURES).stage == stage


def test_a_schema_of_raw_features_of_another_shape_shows_raw() -> None:
    schema = text_format.Parse(
        'feature { name: "age" type: FLOAT shape { dim { size: 2 } } }', schema_pb2.Schema()
    )
    raw = {'age': tf.io.FixedLenFeature([2], tf.float32)}
    assert stage_of_schema(schema, _INPUTS, raw, _MADE_FEATURES).stage == RAW


@pytest.mark.parametrize(
    ('made', 'stage'),
    [(tf.int64, TRANSFORMED), (tf.float32, '')],
    ids=lambda value: getattr(value, 'name', value),
)
def test_a_schema_of_integers_shows_by_what_the_transform_graph_makes(made: tf.DType, stage: str) -> None:
    # The input takes float32 in both cases.
    schema = text_format.Parse('feature { name: "age" type: INT }', schema_pb2.Schema())
    raw = {'age': tf.io.FixedLenFeature([1], tf.float32)}
    found = stage_of_schema(schema, _INPUTS, raw, {'age': tf.io.FixedLenFeature([1], made)})
    assert found.stage == stage
