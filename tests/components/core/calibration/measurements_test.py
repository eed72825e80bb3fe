"""Measurements of many tensors merge, and survive the file they travel in."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.golden import files
from tfx_edge.components.core.calibration.measurements import (
    Measurements,
    MergeMeasurements,
    Tally,
    from_json,
    to_json,
)
from tfx_edge.components.core.calibration.small_tensors import SMALL
from tfx_edge.components.core.calibration.statistics import measure
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.moved_values import moved_values

_ARRAYS = hnp.arrays(np.float32, (2, 2), elements=st.floats(width=32))
_EXAMPLES = st.lists(st.dictionaries(st.sampled_from('ab'), _ARRAYS), max_size=5)


def _measured(examples: list, histograms: bool = True) -> Measurements:
    tally = Tally(histograms=histograms, channel_means_of=['a'])
    for example in examples:
        tally.add(example.items())
    return tally.measurements()


@settings(deadline=None)
@given(_EXAMPLES, st.integers(0, 5))
def test_combine_fn_agrees_with_measuring_at_once(examples: list, cut: int) -> None:
    combine = MergeMeasurements()
    accumulators = []
    for part in (examples[cut:], examples[:cut]):
        accumulator = combine.create_accumulator()
        for example in part:
            accumulator = combine.add_input(accumulator, _measured([example]))
        accumulators.append(accumulator)
    assert combine.extract_output(combine.merge_accumulators(accumulators)) == _measured(examples)


@settings(deadline=None)
@given(_EXAMPLES, _EXAMPLES, _EXAMPLES)
def test_adding_is_associative_and_commutative(a: list, b: list, c: list) -> None:
    x, y, z = _measured(a), _measured(b), _measured(c)
    assert x + y == y + x
    assert (x + y) + z == x + (y + z)


@settings(deadline=None)
@given(_EXAMPLES, st.booleans())
def test_what_is_written_is_read(examples: list, histograms: bool) -> None:
    measured = _measured(examples, histograms)
    text = json.dumps(to_json(measured), sort_keys=True, allow_nan=False)
    assert from_json(json.loads(text)) == measured
    assert json.dumps(to_json(from_json(json.loads(text))), sort_keys=True) == text


@settings(deadline=None)
@given(_EXAMPLES, st.booleans())
def test_a_tensor_is_measured_as_if_it_were_alone(examples: list, histograms: bool) -> None:
    measured = _measured(examples, histograms)
    for name in 'ab':
        arrays = [example[name] for example in examples if name in example]
        if arrays:
            assert measured.statistics[name] == measure(np.stack(arrays), histograms=histograms)
        odd = [array for array in arrays if not np.isfinite(array).all()]
        if odd:
            assert measured.non_finite[name].examples == len(odd)
            assert measured.non_finite[name].nan == any(np.isnan(array).any() for array in odd)
        else:
            assert name not in measured.non_finite


def test_tensors_of_any_and_of_changing_size_are_measured() -> None:
    random, tally = np.random.default_rng(0), Tally(histograms=True)
    sizes = [(1, 0, SMALL), (3, 5, SMALL + 1), (3, 5, 7)] * 3 + [(3, 5, 7)] * 40
    examples = [[random.normal(size=n).astype(np.float32) for n in example] for example in sizes]
    for number, example in enumerate(examples):
        tally.add(zip('abc', example, strict=True), ('file', number))
    assert tally.arrays == 3 * tally.examples == 3 * len(examples)
    for name, arrays in zip('abc', zip(*examples, strict=True), strict=True):
        assert tally.measurements().statistics[name] == measure(np.concatenate(arrays))


def test_moved_tensors_have_the_statistics_that_looking_at_them_gives() -> None:
    model = files.float_model('many_operators')
    images = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)
    read, moved = ActivationReader(model), moved_values(model)
    assert moved
    looking, knowing = Tally(histograms=True), Tally(histograms=True, moved=moved)
    for row in range(3):
        for tally in (looking, knowing):
            tally.add(read.views({'image': images[row : row + 1]}), ('file', row))
    assert knowing.measurements() == looking.measurements()


def test_moved_tensors_hold_the_nan_of_the_other_one() -> None:
    tally = Tally(histograms=True, moved={'padded': 'image'})
    for number, value in enumerate([1.0, np.nan, np.nan]):
        image = np.full(2, value, np.float32)
        tally.add([('image', image), ('padded', np.pad(image, 1))], ('file', number))
    measured = tally.measurements()
    assert measured.non_finite['padded'] == measured.non_finite['image']
    assert measured.non_finite['padded'].first == ('file', 1)
    assert (measured.statistics['padded'].finite, measured.statistics['padded'].nan) == (8, 4)
