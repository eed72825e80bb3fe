"""Masks brought near: the softmax answers the same, and eight bits keep the scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden import files
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantized_file
from tfx_edge.components.core.post_training.fidelity import compare
from tfx_edge.components.core.post_training.softmax_masks import answers_alike, bound_masks

Inputs = dict[str, np.ndarray]
Ranges = dict[str, tuple[float, float]]


def _inputs(name: str, seed: int = 1, rows: int = 128) -> Inputs:
    rng = np.random.default_rng(seed)
    mask = np.arange(8) < rng.integers(3, 9, size=rows)[:, np.newaxis]
    inputs = {
        'tokens': rng.uniform(-1, 1, size=(rows, 8, 6)).astype(np.float32),
        'mask': mask.astype(np.float32),
    }
    if name == 'added_masks':
        inputs['more'] = np.where(rng.random((rows, 8)) < 0.3, -10_000, 0).astype(np.float32)
    return inputs


def _ranges(model: bytes, inputs: Inputs) -> Ranges:
    read = ActivationReader(model)
    ranges: Ranges = {}
    for start in range(0, len(inputs['mask']), 8):
        for name, values in read({key: array[start : start + 8] for key, array in inputs.items()}).items():
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
    return ranges


CALIBRATED = {
    name: (files.float_model(name), _ranges(files.float_model(name), _inputs(name)))
    for name in ('masked', 'added_masks')
}


@pytest.mark.parametrize(('name', 'masks'), [('masked', 1), ('added_masks', 4)])
@pytest.mark.parametrize(('mode', 'least'), [('INT8', 15), ('INT16X8', 30)])
def test_scores_beside_masks_keep_their_steps(name: str, masks: int, mode: str, least: float) -> None:
    model, ranges = CALIBRATED[name]
    bounded = bound_masks(model, ranges, mode)
    assert len(bounded.masks) == masks
    inputs = _inputs(name, seed=2)
    assert answers_alike(model, bounded.file, inputs)
    answers = LiteRTModel(model)(inputs)
    options = QuantizationOptions(mode, engine='LITERT')
    file = quantized_file(bounded.file, options, bounded.ranges)
    assert compare(answers, LiteRTModel(file.data)(inputs)).db > least
    assert compare(answers, LiteRTModel(quantized_file(model, options, ranges).data)(inputs)).db < 10
    assert not {op.name for op in inspect_model(file).float_ops} & {'ADD', 'SOFTMAX', 'SELECT_V2', 'MUL'}
    known = {tensor.name for tensor in inspect_model(model).tensors}
    computed = {op.output for op in inspect_model(bounded.file).operators}
    assert computed <= known


@given(st.sampled_from(['masked', 'added_masks']), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_no_softmax_changes_by_half_a_step(name: str, seed: int) -> None:
    model, _ = CALIBRATED[name]
    inputs = _inputs(name, seed, rows=8)
    # Calibrated on these very examples: the margin has to do for whatever they hold.
    bounded = bound_masks(model, _ranges(model, inputs), 'INT8')
    exact, near = (ActivationReader(ModelFile.of(file))(inputs) for file in (model, bounded.file))
    softmaxes = [op.output for op in inspect_model(model).operators if op.name == 'SOFTMAX']
    for output in softmaxes:
        assert np.abs(exact[output] - near[output]).max() <= 0.5 / 256


@pytest.mark.parametrize('number', [-2.4e38, -3e4, -1e4])
def test_the_number_of_a_mask_makes_no_difference(
    with_number: Callable[[bytes, float, float], bytes], number: float
) -> None:
    files_ = []
    for name, (model, _) in CALIBRATED.items():
        changed = with_number(model, -1e9, number)
        bounded = bound_masks(changed, _ranges(changed, _inputs(name)), 'INT8')
        files_.append(bounded)
        expected = bound_masks(model, _ranges(model, _inputs(name)), 'INT8')
        assert bounded.masks == expected.masks
        inputs = _inputs(name, seed=3)
        one, two = (LiteRTModel(found.file.data)(inputs) for found in (bounded, expected))
        np.testing.assert_allclose(one['p'], two['p'], atol=1e-5)


def test_what_is_no_mask_stays_as_it_is(with_number: Callable[[bytes, float, float], bytes]) -> None:
    for name in ('digits', 'selected', 'unlike_columns'):
        model = files.float_model(name)
        inspected = [tensor.name for tensor in inspect_model(model).tensors]
        ranges = dict.fromkeys(inspected, (-1.0, 1.0))
        assert bound_masks(model, ranges, 'INT8').masks == ()

    # A number among the scores is seen by the softmax.
    near = with_number(files.float_model('masked'), -1e9, -5.0)
    assert bound_masks(near, _ranges(near, _inputs('masked')), 'INT8').masks == ()
