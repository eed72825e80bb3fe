"""TFLiteQuantizer as a pipeline constructs it."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.types import channel_utils, standard_artifacts

import tfx_edge
from tfx_edge import proto
from tfx_edge.components import TFLiteQuantizer
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.tflite_quantizer import executor
from tfx_edge.components.tfx_interface import artifact_types

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize('mode', ['DYNAMIC_INT8', 'DYNAMIC_INT4', 'FLOAT16', 'FLOAT32'])
def test_modes_with_float_activations_need_no_examples(mode: str) -> None:
    _quantizer(examples=None, quantization=proto.Quantization(mode=mode))


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8', 'INT4X8'])
def test_integer_activations_without_examples_or_calibration_are_refused(mode: str) -> None:
    with pytest.raises(EdgeError, match=rf'mode {mode} needs the ranges .* give examples'):
        _quantizer(examples=None, quantization=proto.Quantization(mode=mode))


@pytest.mark.parametrize(
    ('quantization', 'message'),
    [
        (proto.Quantization(correct_bias=True), 'correct_bias needs examples'),
        (proto.Quantization(report_sensitivity=True), 'report_sensitivity needs examples'),
        (proto.Quantization(keep_float=['AUTO'], float_budget_bytes=1), 'keep_float AUTO needs examples'),
        (proto.Quantization(equalize=True), 'those of the calibration no longer hold'),
        (proto.Quantization(range_method='MSE'), 'no effect on the ranges of a calibration'),
    ],
)
def test_what_a_calibration_alone_does_not_serve_is_refused(
    quantization: proto.Quantization, message: str
) -> None:
    with pytest.raises(EdgeError, match=message):
        _quantizer(examples=None, calibration=_channel(artifact_types.Calibration), quantization=quantization)


def test_labels_of_a_file_are_packed_into_the_configuration(tmp_path: pathlib.Path) -> None:
    """The cache then sees a file that changed."""
    file = tmp_path / 'labels.txt'
    file.write_text('cat\ndog\n')
    metadata = proto.Quantization.Metadata(name='pets', label_file=str(file))
    for quantization in (
        proto.Quantization(metadata=metadata),
        json.dumps({'metadata': {'label_file': str(file)}}),
    ):
        packed = json.loads(_quantizer(quantization=quantization).exec_properties['quantization'])['metadata']
        assert packed['labels'] == ['cat', 'dog']
        assert 'label_file' not in packed
    for content, message in (
        (b'', 'is empty'),
        (b'\xff', 'is no UTF-8 text'),
        (b'a' * 1048577, 'larger than 1 MiB'),
    ):
        file.write_bytes(content)
        with pytest.raises(EdgeError, match=message):
            _quantizer(quantization=proto.Quantization(metadata=metadata))


def test_runtime_parameters_are_passed_on() -> None:
    parameter = data_types.RuntimeParameter(name='quantization', ptype=str, default='{}')
    assert _quantizer(examples=None, quantization=parameter).exec_properties['quantization'] is parameter


_Q = proto.Quantization


@pytest.mark.parametrize(
    ('quantization', 'message'),
    [
        (_Q(percentile=99.9), 'percentile has a meaning with range_method PERCENTILE only'),
        (
            _Q(range_method='PERCENTILE', percentile=50),
            'percentile is 50.0; expected more than 50, at most 100',
        ),
        (_Q(mode='FLOAT16', range_method='MSE'), 'range_method has no effect with mode FLOAT16'),
        (_Q(max_calibration_examples=0), 'max_calibration_examples is 0; expected 1 or more'),
        (_Q(keep_float=['(']), "keep_float holds '\\(', which is not a regular expression"),
        (_Q(calibration_splits=['']), 'calibration_splits .* expected names of splits'),
        (_Q(mode='FLOAT16', io=_Q.Io.INT8), 'io is INT8, but mode FLOAT16 has no int8 activations'),
        (_Q(mode='INT16X8', io=_Q.Io.INT8), 'io is INT8, but mode INT16X8 has no int8 activations'),
        (_Q(mode='DYNAMIC_INT4', io=_Q.Io.UINT8), 'io is UINT8, but mode DYNAMIC_INT4'),
        (_Q(mode='INT4X8', engine='CONVERTER'), 'engine CONVERTER cannot make a file of mode INT4X8'),
        (_Q(keep_float=['AUTO']), 'float_budget_bytes is 0; expected 1 or more with keep_float AUTO'),
        (
            _Q(keep_float=['AUTO', 'x'], float_budget_bytes=9),
            'keep_float holds AUTO beside other expressions',
        ),
        (_Q(float_budget_bytes=9), 'float_budget_bytes has a meaning with keep_float AUTO only'),
        (_Q(mode='FLOAT32', equalize=True), 'equalize has no effect with mode FLOAT32'),
        (_Q(mode='FLOAT16', correct_bias=True), 'correct_bias has no effect with mode FLOAT16'),
        (
            _Q(sensitivity_examples=8),
            'sensitivity_examples has a meaning with report_sensitivity or keep_float AUTO',
        ),
        (
            _Q(report_sensitivity=True, sensitivity_examples=0),
            'sensitivity_examples is 0; expected 1 or more',
        ),
        (_Q(metadata=_Q.Metadata(labels_output='y')), 'labels_output has a meaning with labels only'),
        (_Q(metadata=_Q.Metadata(label_file='/no/file')), 'label_file /no/file cannot be read'),
        (_Q(metadata=_Q.Metadata(label_file='/no/file', labels=['a'])), 'both labels and a label_file'),
        (_Q(mode='FLOAT16', dense_scales='PER_TENSOR'), 'dense_scales has no effect with mode FLOAT16'),
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
