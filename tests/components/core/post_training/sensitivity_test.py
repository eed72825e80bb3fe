"""Sensitivities: the ruined layer first, every operator once, the same each time."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.post_training.sensitivity import OperatorSensitivity, measure, to_json

INT8 = QuantizationOptions('INT8', engine='LITERT')


def test_a_ruined_layer_comes_first(ruined: bytes, observe: Callable, digits: dict[str, np.ndarray]) -> None:
    ranges = observe(ruined, digits['x_train'][:64])
    samples = {'image': digits['x_train'][:16]}
    found = measure(ruined, INT8, ranges, samples)
    assert measure(ruined, INT8, ranges, samples) == found
    first, second, *_ = found
    assert '/second_pointwise' in first.output
    assert first.operator == 'CONV_2D'
    assert first.snr_db < second.snr_db - 10
    assert [entry.snr_db for entry in found] == sorted(entry.snr_db for entry in found)
    # Kernels of 24 x 32 weights: three bytes less for each.
    assert first.weight_bytes_saved == 3 * 24 * 32
    assert all(entry.boundary_bytes > 0 for entry in found)
    assert sorted(entry.output for entry in found) == sorted(
        op.output for op in inspect_model(ruined).operators
    )


def test_what_stays_float_anyway_is_not_measured(
    separable: bytes, observe: Callable, digits: dict[str, np.ndarray]
) -> None:
    options = dataclasses.replace(INT8, io='INT8', keep_float=('wise', 'dense', 'pool'))
    found = measure(
        separable, options, observe(separable, digits['x_train'][:8]), {'image': digits['x_train'][:4]}
    )
    assert {entry.operator for entry in found} == {'CONV_2D', 'SOFTMAX'}


def test_ranges_of_deciding_tensors_are_enough(
    separable: bytes, observe: Callable, digits: dict[str, np.ndarray]
) -> None:
    """A training gives no range of the softmax, whose kernel has its own."""
    ranges = observe(separable, digits['x_train'][:8])
    options = dataclasses.replace(INT8, keep_float=('wise', 'stem'))
    samples = {'image': digits['x_train'][:4]}
    fewer = {
        name: limits for name, limits in ranges.items() if not name.startswith('StatefulPartitionedCall')
    }
    assert len(fewer) == len(ranges) - 1
    assert measure(separable, options, fewer, samples) == measure(separable, options, ranges, samples)


def test_modes_of_weights_measure_weights(separable: bytes, digits: dict[str, np.ndarray]) -> None:
    options = QuantizationOptions('DYNAMIC_INT8', engine='LITERT')
    found = measure(separable, options, None, {'image': digits['x_train'][:4]})
    assert {entry.operator for entry in found} == {'CONV_2D', 'DEPTHWISE_CONV_2D', 'FULLY_CONNECTED'}
    assert all(entry.weight_bytes_saved > 0 for entry in found)


def test_what_cannot_be_measured_is_refused(separable: bytes, digits: dict[str, np.ndarray]) -> None:
    samples = {'image': digits['x_train'][:4]}
    with pytest.raises(EdgeError, match='FLOAT32 quantizes no operator'):
        measure(separable, QuantizationOptions('FLOAT32'), None, samples)
    with pytest.raises(EdgeError, match='no range for tensor'):
        measure(separable, INT8, {}, samples)
    dynamic = QuantizationOptions('DYNAMIC_INT8', keep_float=('.',), engine='LITERT')
    with pytest.raises(EdgeError, match='quantizes no operator of the model'):
        measure(separable, dynamic, None, samples)
    with pytest.raises(EdgeError, match=r"input 'image' .* is missing"):
        measure(separable, INT8, {}, {})


def test_outputs_without_a_signal_are_refused(
    separable: bytes, with_constants: Callable, digits: dict[str, np.ndarray]
) -> None:
    broken = with_constants(
        separable, lambda name, values: values * np.inf if name.endswith('dense_1/MatMul/bias') else values
    )
    with pytest.raises(EdgeError, match='is not finite on a sample'):
        measure(broken, INT8, {}, {'image': digits['x_train'][:4]})


def test_json_is_plain() -> None:
    entries = (
        OperatorSensitivity('dense/MatMul', 'FULLY_CONNECTED', 31.23456789, 960, 688),
        OperatorSensitivity('pool', 'MEAN', math.inf, 0, 416),
    )
    text = to_json(entries)
    assert json.loads(text) == [
        {
            'output': 'dense/MatMul',
            'operator': 'FULLY_CONNECTED',
            'snr_db': 31.2346,
            'weight_bytes_saved': 960,
            'boundary_bytes': 688,
        },
        {
            'output': 'pool',
            'operator': 'MEAN',
            'snr_db': None,
            'weight_bytes_saved': 0,
            'boundary_bytes': 416,
        },
    ]
    assert 'Infinity' not in text
