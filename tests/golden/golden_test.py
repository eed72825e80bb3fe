"""The files that other tests start from are what the code makes, on every supported version of TensorFlow."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from tests.golden import exact, files, make_golden, nets
from tests.golden.likeness import assert_same_but_for_rounding
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

pytestmark = pytest.mark.slow

# TensorFlow of the second line names some tensors after another operation, and pads in the convolution itself.
_OTHERWISE_ON_THE_SECOND_LINE = ('many_operators', 'many_links', 'selected')


def test_files_and_ranges_are_the_golden_ones() -> None:
    assert exact.content() == json.loads(exact.DIGESTS.read_text())


@pytest.mark.parametrize('name', files.WITH_FLOAT_FILE)
def test_float_file_is_what_its_saved_model_becomes(name: str) -> None:
    made, golden = make_golden.float_model(name), files.float_model(name)
    if name not in _OTHERWISE_ON_THE_SECOND_LINE or sys.version_info < (3, 11):
        assert_same_but_for_rounding(made, golden)
        return
    random = np.random.default_rng(0)
    inputs = {
        key: random.normal(size=(4, *detail.shape[1:])).astype(np.float32)
        for key, detail in LiteRTModel(golden).inputs.items()
    }
    answers, wanted = LiteRTModel(made)(inputs), LiteRTModel(golden)(inputs)
    assert answers.keys() == wanted.keys()
    for key, values in wanted.items():
        np.testing.assert_allclose(answers[key], values, rtol=1e-4, atol=1e-5)


def test_ranges_are_those_of_the_float_file() -> None:
    ranges = files.digits_ranges()
    made = make_golden.digits_ranges()
    assert made.keys() == ranges.keys()
    for name, limits in made.items():
        # Processors add up in another order.
        assert limits == pytest.approx(ranges[name], rel=1e-4, abs=1e-5), name


def test_int8_file_is_what_float_file_and_ranges_become() -> None:
    assert make_golden.digits_int8() == files.digits_int8()


def test_every_net_has_its_files() -> None:
    made = {path.parent.name for path in files.FOLDER.glob('*/saved_model')}
    assert made == {'exact', *nets.NETS}
    assert {path.parent.name for path in files.FOLDER.glob('*/float.tflite')} == set(files.WITH_FLOAT_FILE)
