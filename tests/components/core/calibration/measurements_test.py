"""Measurements of many tensors merge, and survive the file they travel in."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.calibration.measurements import (
    Measurements,
    MergeMeasurements,
    Tally,
    from_json,
    to_json,
)

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
