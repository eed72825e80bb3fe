"""A transform graph that keeps names: raw examples go through it once, whatever they lack that is not needed."""

from __future__ import annotations

import pathlib
import pickle
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.components.kept_names import make_graph, record
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.examples.example_stage import RAW, TRANSFORMED
from tfx_edge.components.core.signature import TensorSpec

_AGE = {'age': TensorSpec((None, 1), tf.float32)}


@pytest.fixture(scope='module')
def graph(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_graph(tmp_path_factory.mktemp('kept_names'))


def _parser(graph: str, stage: str = '', label_key: str = '', **inputs: Any) -> ExampleParser:
    specs = {name: TensorSpec((None, *shape), dtype) for name, (shape, dtype) in inputs.items()}
    return ExampleParser(specs or _AGE, transform_graph=graph, stage=stage, label_key=label_key)


def test_kept_names_are_transformed_once(graph: str) -> None:
    raw = record(age=[20.0])
    assert _parser(graph, RAW)([raw])['age'].tolist() == [[2.0]]
    assert _parser(graph, TRANSFORMED)([raw])['age'].tolist() == [[20.0]]


def test_what_fits_both_is_asked_for(graph: str) -> None:
    with pytest.raises(
        EdgeError, match=r"raw or transformed: .* hold the inputs of the model \('age'\) as well"
    ):
        _parser(graph)([record()])


def test_a_renamed_output_beside_a_kept_name_shows(graph: str) -> None:
    parser = _parser(graph, age=((1,), tf.float32), income_xf=((1,), tf.float32))
    batch = parser([record(age=[20.0], income=[3.0])])
    assert batch['age'].tolist() == [[2.0]]
    assert batch['income_xf'].tolist() == [[6.0]]


def test_an_unrelated_feature_of_an_output_s_name_changes_nothing(graph: str) -> None:
    parser = _parser(graph, RAW, income_xf=((1,), tf.float32))
    assert parser([record(income=[3.0], income_xf=[99.0])])['income_xf'].tolist() == [[6.0]]


def test_the_same_name_in_another_shape_shows(graph: str) -> None:
    # The graph makes one number of the raw pair.
    parser = _parser(graph, pair=((1,), tf.float32))
    assert parser([record(pair=[1.0, 2.0])])['pair'].tolist() == [[3.0]]
    assert _parser(graph, pair=((1,), tf.float32))([record(pair=[7.0])])['pair'].tolist() == [[7.0]]


def test_the_same_number_of_values_in_another_shape_is_asked_for(graph: str) -> None:
    parser = _parser(graph, square=((2, 2), tf.float32))
    with pytest.raises(EdgeError, match='raw or transformed'):
        parser([record()])
    batch = _parser(graph, RAW, square=((2, 2), tf.float32))([record(square=[0.0, 1.0, 2.0, 3.0])])
    assert batch['square'].tolist() == [[[0.0, 10.0], [20.0, 30.0]]]


def test_a_label_of_the_same_name_is_the_transformed_one(graph: str) -> None:
    batch = _parser(graph, RAW, label_key='kind')([record(kind=[b'yes']), record(kind=[b'no'])])
    assert batch['kind'].ravel().tolist() == [1, 0]


def test_hash_tables_are_there_in_another_process(graph: str) -> None:
    parser = pickle.loads(pickle.dumps(_parser(graph, RAW, colour_id=((), tf.int64))))
    assert parser([record(colour=[b'green']), record(colour=[b'mauve'])])['colour_id'].tolist() == [1, -1]


class TestExamplesWithoutALabel:
    def test_give_the_inputs(self, graph: str) -> None:
        batch = _parser(graph, RAW)([record(age=[20.0], kind=None), record(age=[30.0], kind=None)])
        assert batch['age'].ravel().tolist() == [2.0, 3.0]

    def test_are_reported_to_be_raw(self, graph: str) -> None:
        parser = _parser(graph, income_xf=((1,), tf.float32))
        assert parser([record(kind=None)])['income_xf'].shape == (1, 1)

    def test_may_stand_beside_labelled_ones(self, graph: str) -> None:
        parser = _parser(graph, RAW)
        for records in ([record(kind=None), record()], [record()]):
            assert parser(records)['age'].shape == (len(records), 1)

    def test_are_refused_where_the_label_is_asked_for(self, graph: str) -> None:
        with pytest.raises(EdgeError, match=r"makes 'kind' of raw features .*lacks kind;"):
            _parser(graph, RAW, label_key='kind')([record(kind=None)])

    def test_a_feature_that_an_input_needs_is_named(self, graph: str) -> None:
        with pytest.raises(EdgeError, match=r"makes 'age' of raw features .*lacks age"):
            _parser(graph, RAW)([record(age=None)])


class TestSparseOutputs:
    def test_that_do_not_fill_the_input_are_filled_up_with_zeros(
        self, graph: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        parser = _parser(graph, RAW, tags=((3,), tf.int64))
        caplog.set_level('WARNING', 'tfx_edge')
        for tags in ([5], []):
            batch = parser([record(tags=[1, 2]), record(tags=tags)])
            # A batch's own width, 2 here, does not matter.
            assert batch['tags'].tolist() == [[1, 2, 0], [*tags, *[0] * (3 - len(tags))]]
        assert "feature 'tags' has a variable length, and its input takes 3 values" in caplog.text

    def test_that_hold_more_than_the_input_takes_are_named(self, graph: str) -> None:
        match = r"feature 'tags' has the shape \(3,\), but input 'tags' takes \(2,\)"
        with pytest.raises(EdgeError, match=match):
            _parser(graph, RAW, tags=((2,), tf.int64))([record(tags=[1, 2]), record(tags=[1, 2, 3])])

    def test_that_do_not_fill_an_input_of_two_dimensions_are_named(self, graph: str) -> None:
        with pytest.raises(
            EdgeError, match=r"feature 'tags' has the shape \(2,\), but input 'tags' takes \(2, 2\)"
        ):
            _parser(graph, RAW, tags=((2, 2), tf.int64))([record(tags=[1, 2])])

    def test_that_are_labels_have_one_width(self, graph: str) -> None:
        match = r"output 'tags' of the transform graph is sparse.*tf\.sparse\.reset_shape\(tags"
        with pytest.raises(EdgeError, match=match):
            _parser(graph, RAW, label_key='tags')([record(tags=[1, 2]), record(tags=[5])])

    def test_that_are_full_are_taken(self, graph: str) -> None:
        batch = _parser(graph, RAW, tags=((2,), tf.int64))([record(tags=[1, 2]), record(tags=[3, 4])])
        assert batch['tags'].tolist() == [[1, 2], [3, 4]]

    def test_do_not_matter_where_no_input_reads_them(self, graph: str) -> None:
        parser = ExampleParser(_AGE, transform_graph=graph, stage=RAW, also_made=['tags', 'nowhere'])
        _, transformed = parser.read([record(tags=[1, 2]), record(tags=[])])
        assert transformed is not None
        assert transformed['tags'].tolist() == [[1, 2], [0, 0]]


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'age': [1.0, 2.0]}, "raw feature 'age' holds 2 values in an example, but 1"),
        ({'age': [1]}, "raw feature 'age' is int64_list in an example, but float32"),
    ],
)
def test_a_raw_feature_that_does_not_fit_is_named(graph: str, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(EdgeError, match=match):
        _parser(graph, RAW)([record(**changes)])


def test_a_folder_without_a_graph_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(EdgeError, match='cannot be read as a transform graph'):
        _parser(str(tmp_path), RAW)([record()])


def test_parsing_twice_gives_the_same(graph: str) -> None:
    parser = _parser(graph, RAW)
    first, again = (parser([record(age=[50.0])])['age'] for _ in range(2))
    np.testing.assert_array_equal(first, again)
