"""Counts and lookups written in other operators give what TensorFlow's own operators give, to the bit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.preprocessing.lookup_tables import MOST_KEYS
from tfx_edge.components.core.preprocessing.rewriting import has_rewritten, rewritten

_INT64 = np.iinfo(np.int64)
_SETTINGS = settings(max_examples=60, deadline=None)


def _concrete(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """A function of arrays whose batch is open, as of a signature."""
    specs = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in arrays]
    return tf.function(function, input_signature=specs).get_concrete_function()


def _answers(concrete: Any, *arrays: np.ndarray) -> np.ndarray:
    """What a function answers whose graph is rewritten."""
    count = len(concrete.inputs) - len(concrete.captured_inputs)
    names = [tensor.op.name for tensor in concrete.inputs[count:]]
    handles = dict(zip(names, concrete.captured_inputs, strict=True))
    graph_def = rewritten(concrete.graph.as_graph_def(), handles)
    assert not has_rewritten(graph_def)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=''), [])
    inputs, outputs = (
        [wrapped.graph.get_tensor_by_name(tensor.name) for tensor in tensors]
        for tensors in (concrete.inputs[:count], concrete.outputs)
    )
    (found,) = wrapped.prune(inputs, outputs)(*map(tf.constant, arrays))
    return found.numpy()


@st.composite
def _counting(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """Integers, their weights (of whole numbers, or none), how many are counted, and whether each counts once."""
    size = draw(st.integers(1, 9))
    shape = draw(st.one_of(st.tuples(st.integers(1, 6)), st.tuples(st.integers(1, 4), st.integers(1, 5))))
    integers = st.lists(
        st.one_of(st.integers(0, size + 3), st.integers(0, 2**31 - 2)),
        min_size=int(np.prod(shape)),
        max_size=int(np.prod(shape)),
    )
    values = np.array(draw(integers), draw(st.sampled_from([np.int32, np.int64]))).reshape(shape)
    kind = draw(st.sampled_from([np.float32, np.int32, np.int64, np.float64]))
    weights = np.zeros(0, kind)
    if draw(st.booleans()):
        weights = (np.arange(values.size).reshape(shape) - 2).astype(kind)
    return values, weights, size, draw(st.booleans())


@_SETTINGS
@given(_counting())
def test_counts_are_those_of_dense_bincount(case: tuple[np.ndarray, np.ndarray, int, bool]) -> None:
    values, weights, size, binary = case
    if weights.size:
        concrete = _concrete(
            lambda x, w: tf.raw_ops.DenseBincount(
                input=x, size=tf.constant(size, x.dtype), weights=w, binary_output=binary
            ),
            values,
            weights,
        )
        arrays = [values, weights]
    else:
        concrete = _concrete(
            lambda x: tf.raw_ops.DenseBincount(
                input=x, size=tf.constant(size, x.dtype), weights=weights, binary_output=binary
            ),
            values,
        )
        arrays = [values]
    expected = concrete(*map(tf.constant, arrays)).numpy()
    found = _answers(concrete, *arrays)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('axis', [None, -1])
def test_bounds_on_both_sides_settle_how_many_are_counted(axis: int | None) -> None:
    """As Keras writes it: the largest integer plus one, kept between two numbers that are the same."""
    values = np.array([[0, 2, 2], [7, 1, 0]])
    concrete = _concrete(lambda x: tf.math.bincount(x, minlength=4, maxlength=4, axis=axis), values)
    np.testing.assert_array_equal(_answers(concrete, values), concrete(tf.constant(values)))


def test_negative_integers_are_dropped() -> None:
    """TensorFlow refuses them when it runs, which a file cannot."""
    values = np.array([[-1, 0, 1, 1]])
    concrete = _concrete(lambda x: tf.math.bincount(x, minlength=3, maxlength=3, axis=-1), values)
    with pytest.raises(tf.errors.InvalidArgumentError, match='non-negative'):
        concrete(tf.constant(values))
    np.testing.assert_array_equal(_answers(concrete, values), [[1, 2, 0]])


def test_counts_whose_number_depends_on_the_integers_stay(caplog: pytest.LogCaptureFixture) -> None:
    values = np.array([[0, 2, 2]])
    concrete = _concrete(lambda x: tf.math.bincount(x, minlength=2, maxlength=9, axis=-1), values)
    graph_def = concrete.graph.as_graph_def()
    with caplog.at_level(logging.INFO, logger='tfx_edge'):
        assert has_rewritten(rewritten(graph_def, {}))
    assert 'how many it counts depends on the inputs' in caplog.text


def test_a_graph_without_such_operators_is_left_as_it_is() -> None:
    graph_def = _concrete(lambda x: x + 1, np.zeros(3, np.float32)).graph.as_graph_def()
    assert rewritten(graph_def, {}) is graph_def


def _table(keys: np.ndarray, values: np.ndarray, default: int) -> tf.lookup.StaticHashTable:
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default)


_ANY_INT64 = st.integers(_INT64.min, _INT64.max)


@_SETTINGS
@given(st.dictionaries(_ANY_INT64, _ANY_INT64, min_size=1, max_size=8), st.lists(_ANY_INT64, max_size=4))
def test_lookups_are_those_of_the_table(content: dict[int, int], others: list[int]) -> None:
    """At the ends of int64 too, which float32 would take for one number."""
    keys = np.array(list(content), np.int64)
    table = _table(keys, np.array(list(content.values()), np.int64), -7)
    beside = np.array([key + step for key in content for step in (-1, 1) if abs(key + step) <= _INT64.max])
    asked = np.concatenate([keys, beside.astype(np.int64), np.array(others, np.int64)])[:, None]
    concrete = _concrete(table.lookup, asked)
    np.testing.assert_array_equal(_answers(concrete, asked), table.lookup(tf.constant(asked)))


def test_tables_of_words_and_of_very_many_keys_stay(caplog: pytest.LogCaptureFixture) -> None:
    many = np.arange(MOST_KEYS + 1)
    words = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(np.array([1, 2]), np.array(['a', 'b'])), '?'
    )
    for table, fault in (
        (_table(many, many, -1), f'its table has {len(many)} keys'),
        (words, r'its table (int64 to string) is not one of integers to integers'),
    ):
        concrete = _concrete(table.lookup, np.array([[1]]))
        handles = {concrete.inputs[1].op.name: concrete.captured_inputs[0]}
        with caplog.at_level(logging.INFO, logger='tfx_edge'):
            assert has_rewritten(rewritten(concrete.graph.as_graph_def(), handles))
        assert fault in caplog.text
