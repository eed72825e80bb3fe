"""TFLiteQuantizer as a pipeline constructs it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.types import channel_utils, standard_artifacts

import tfx_edge
from tfx_edge import proto
from tfx_edge.components import TFLiteQuantizer, artifact_types
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.tflite_quantizer import executor


def _channel(artifact_type: type[types.Artifact]) -> types.BaseChannel:
    return channel_utils.as_channel([artifact_type()])


def _quantizer(**arguments: Any) -> TFLiteQuantizer:
    return TFLiteQuantizer(
        **{
            'model': _channel(standard_artifacts.Model),
            'examples': _channel(standard_artifacts.Examples),
            **arguments,
        }
    )


def test_types_of_outputs_and_exec_properties() -> None:
    quantizer = _quantizer(
        schema=_channel(standard_artifacts.Schema),
        transform_graph=_channel(standard_artifacts.TransformGraph),
        calibration=_channel(artifact_types.Calibration),
        signature_name='serving_default',
        quantization=proto.Quantization(io=proto.Quantization.Io.INT8, keep_float=['softmax']),
    )
    assert quantizer.outputs['model'].type is standard_artifacts.Model
    assert quantizer.outputs['calibration'].type is artifact_types.Calibration
    assert set(quantizer.outputs) == {'model', 'calibration'}
    properties = quantizer.exec_properties
    assert json.loads(properties['quantization']) == {'io': 'INT8', 'keep_float': ['softmax']}
    assert properties['signature_name'] == 'serving_default'
    assert properties['tfx_edge_version'] == tfx_edge.__version__
    assert all(isinstance(value, (str, int, float)) for value in properties.values())


def test_it_runs_on_beam() -> None:
    assert isinstance(_quantizer().executor_spec, executor_spec.BeamExecutorSpec)
    assert _quantizer().executor_spec.executor_class is executor.Executor


def test_calibration_alone_is_enough() -> None:
    _quantizer(examples=None, calibration=_channel(artifact_types.Calibration))


@pytest.mark.parametrize('mode', ['DYNAMIC_INT8', 'FLOAT16', 'FLOAT32'])
def test_modes_with_float_activations_need_no_examples(mode: str) -> None:
    _quantizer(examples=None, quantization=proto.Quantization(mode=mode))


def test_int8_without_examples_or_calibration_is_refused() -> None:
    with pytest.raises(EdgeError, match=r'mode INT8 needs the ranges .* give examples'):
        _quantizer(examples=None)


def test_runtime_parameters_are_passed_on() -> None:
    parameter = data_types.RuntimeParameter(name='quantization', ptype=str, default='{}')
    assert _quantizer(examples=None, quantization=parameter).exec_properties['quantization'] is parameter


_Q = proto.Quantization


@pytest.mark.parametrize(
    ('quantization', 'message'),
    [
        (_Q(mode='INT16X8'), 'Quantization.mode INT16X8 is not supported'),
        (_Q(mode='DYNAMIC_INT4'), 'Quantization.mode DYNAMIC_INT4 is not supported'),
        (_Q(mode='INT4X8'), 'Quantization.mode INT4X8 is not supported'),
        (_Q(range_method='PERCENTILE'), 'range_method PERCENTILE is not supported'),
        (_Q(range_method='MSE'), 'range_method MSE is not supported'),
        (_Q(range_method='ENTROPY'), 'range_method ENTROPY is not supported'),
        (_Q(engine='CONVERTER'), 'engine CONVERTER is not supported'),
        (_Q(percentile=99.9), 'percentile has a meaning with range_method PERCENTILE only'),
        (_Q(max_calibration_examples=0), 'max_calibration_examples is 0; expected 1 or more'),
        (_Q(keep_float=['(']), "keep_float holds '\\(', which is not a regular expression"),
        (_Q(calibration_splits=['']), 'calibration_splits .* expected names of splits'),
        (_Q(mode='FLOAT16', io=proto.Quantization.Io.INT8), 'io is INT8, but with mode FLOAT16'),
        (_Q(mode='FLOAT32', keep_float=['x']), 'keep_float has no effect with mode FLOAT32'),
        (_Q(mode='FLOAT16', require_full_integer=True), 'require_full_integer cannot hold with mode FLOAT16'),
        (_Q(keep_float=['x'], require_full_integer=True), 'require_full_integer cannot hold with keep_float'),
        ('{"mode": "INT7"}', 'not the JSON of tfx_edge.proto.Quantization'),
        (proto.Pruning(), r'expected tfx_edge.proto.Quantization, not Pruning'),
    ],
)
def test_what_cannot_be_done_is_refused_at_construction(quantization: Any, message: str) -> None:
    with pytest.raises(EdgeError, match=message) as raised:
        _quantizer(quantization=quantization)
    assert '\n' not in str(raised.value)
