"""The float budget: spent on the ruined layer, never exceeded, never a loss."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.post_training.float_budget import ranked, spend
from tfx_edge.components.core.post_training.output_error import Reference, in_decibels
from tfx_edge.components.core.post_training.sensitivity import OperatorSensitivity

INT8 = QuantizationOptions('INT8', engine='LITERT')


@pytest.mark.parametrize('budget', [3500, 200, 1_000_000])
def test_the_budget_goes_to_the_ruined_layer_and_holds(
    ruined: bytes, observe: Callable, digits: dict[str, np.ndarray], budget: int
) -> None:
    ranges = observe(ruined, digits['x_train'][:64])
    samples = {'image': digits['x_train'][:16]}
    spent = spend(ruined, INT8, ranges, samples, budget)
    plain = quantize_model(ruined, INT8, ranges)
    options = dataclasses.replace(INT8, keep_float=spent.keep_float)
    file = quantize_model(ruined, options, ranges)
    assert spent.bytes_spent == len(file) - len(plain) <= budget
    reference = Reference(ruined, samples)
    assert spent.snr_before == in_decibels(reference.noise(plain))
    assert spent.snr_after == in_decibels(reference.noise(file))
    assert spent.snr_after >= spent.snr_before
    summary = inspect_model(file)
    kept = {op.output for op in summary.float_ops}
    assert any(op.integer for op in summary.operators)
    assert len(kept) == len(spent.keep_float)
    for pattern in spent.keep_float:
        assert sum(bool(re.search(pattern, entry.output)) for entry in spent.sensitivities) == 1
    if budget > 200:
        assert any('/second_pointwise' in output for output in kept)
        assert spent.snr_after > spent.snr_before + 10
    else:
        assert not any('/second_pointwise' in output for output in kept)


@pytest.mark.parametrize('budget', [0, -5, None, 1.5, True, float('nan'), '4000'])
def test_a_budget_that_is_no_number_of_bytes_is_refused(separable: bytes, budget: object) -> None:
    with pytest.raises(EdgeError, match=r'the float budget is .*expected a whole number of bytes above 0'):
        spend(separable, INT8, {}, {}, budget)


def test_error_removed_per_byte_decides() -> None:
    small = OperatorSensitivity('small', 'CONV_2D', 20.0, 100, 100)
    large = OperatorSensitivity('large', 'CONV_2D', 15.0, 10_000, 100)
    free = OperatorSensitivity('free', 'SOFTMAX', 40.0, 0, -16)
    silent = OperatorSensitivity('silent', 'MEAN', float('inf'), 0, 400)
    assert [entry.output for entry in ranked((large, small, free, silent))] == ['free', 'small', 'large']
