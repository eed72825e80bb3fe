"""The defaults that users read about are those of the messages."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from tfx_edge import proto

DEFAULTS = [
    (proto.FineTuning, 'num_steps', 1000),
    (proto.FineTuning, 'batch_norm_batches', 0),
    (proto.FineTuning, 'batch_size', 64),
    (proto.FineTuning, 'learning_rate', 1e-3),
    (proto.FineTuning, 'learning_rate_schedule', 'CONSTANT_THEN_COSINE'),
    (proto.FineTuning, 'augmentation', 'SHIFT_AND_MIX'),
    (proto.FineTuning, 'optimizer', 'ADAM'),
    (proto.FineTuning, 'loss', 'DISTILLATION'),
    (proto.FineTuning, 'temperature', 1.0),
    (proto.FineTuning, 'seed', 0),
    (proto.FineTuning, 'output_kind', 'AUTO'),
    (proto.Pruning, 'target_sparsity', 0.5),
    (proto.Pruning, 'initial_sparsity', 0.0),
    (proto.Pruning, 'schedule', 'POLYNOMIAL'),
    (proto.Pruning, 'power', 3.0),
    (proto.Pruning, 'begin_step', 0),
    (proto.Pruning, 'end_step', 0),
    (proto.Pruning, 'frequency', 0),
    (proto.Pruning, 'scope', 'TENSOR'),
    (proto.Pruning, 'criterion', 'MAGNITUDE'),
    (proto.Pruning, 'policy', 'ALL'),
    (proto.Pruning, 'saved_model_only', False),
    (proto.Pruning, 'compensation', 'FEW_EXAMPLES'),
    (proto.Clustering, 'number_of_clusters', 16),
    (proto.Clustering, 'granularity', 'DEPLOYED'),
    (proto.Clustering, 'initialization', 'KMEANS_PLUS_PLUS'),
    (proto.Clustering, 'preserve_sparsity', True),
    (proto.Clustering, 'saved_model_only', False),
    (proto.Clustering, 'dense_scales', 'PER_CHANNEL'),
    (proto.QuantizationAwareTraining, 'weight_bits', 8),
    (proto.QuantizationAwareTraining, 'activation_bits', 8),
    (proto.QuantizationAwareTraining, 'train_ranges', True),
    (proto.QuantizationAwareTraining, 'preserve_sparsity', True),
    (proto.QuantizationAwareTraining, 'preserve_clusters', True),
    (proto.QuantizationAwareTraining, 'dense_scales', 'PER_CHANNEL'),
    (proto.Quantization, 'mode', 'INT8'),
    (proto.Quantization, 'io', 'FLOAT'),
    (proto.Quantization, 'range_method', 'MIN_MAX'),
    (proto.Quantization, 'percentile', 99.99),
    (proto.Quantization, 'max_calibration_examples', 1000),
    (proto.Quantization, 'engine', 'AUTO'),
    (proto.Quantization, 'require_full_integer', False),
    (proto.Quantization, 'for_micro', False),
    (proto.Quantization, 'sparse_kernels', True),
    (proto.Quantization, 'equalize', False),
    (proto.Quantization, 'correct_bias', False),
    (proto.Quantization, 'float_budget_bytes', 0),
    (proto.Quantization, 'report_sensitivity', False),
    (proto.Quantization, 'sensitivity_examples', 32),
    (proto.Quantization, 'dense_scales', 'PER_CHANNEL'),
    (proto.EdgeEvaluation, 'confidence', 0.95),
    (proto.EdgeEvaluation, 'min_slice_examples', 100),
    (proto.EdgeEvaluation, 'require_full_integer', False),
    (proto.EdgeEvaluation, 'max_flips_listed', 100),
    (proto.EdgeEvaluation, 'max_clipping', 0.04),
    (proto.EdgeEvaluation, 'min_range_used', 0.15),
    (proto.EdgeEvaluation, 'bless_undecided', False),
]


@pytest.mark.parametrize(
    ('message', 'field', 'default'), DEFAULTS, ids=lambda value: getattr(value, '__name__', None)
)
def test_field_unset_has_documented_default(message: Any, field: str, default: Any) -> None:
    value = getattr(message(), field)
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    assert (enum.values_by_number[value].name if enum else value) == default


@pytest.mark.parametrize('name', proto.__all__)
def test_message_survives_json(name: str) -> None:
    message = getattr(proto, name)()
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None and field.default_value != []:
            setattr(message, field.name, getattr(message, field.name))
    text = json_format.MessageToJson(message, preserving_proto_field_name=True)
    assert json_format.Parse(text, type(message)()) == message


def test_enum_values_are_those_documented() -> None:
    assert list(proto.Quantization.Mode.keys()) == [
        'INT8', 'INT16X8', 'DYNAMIC_INT8', 'DYNAMIC_INT4', 'FLOAT16', 'FLOAT32', 'INT4X8',
    ]  # fmt: skip
    assert list(proto.Quantization.RangeMethod.keys()) == ['MIN_MAX', 'PERCENTILE', 'MSE', 'ENTROPY']
    assert list(proto.Quantization.Io.Type.keys()) == ['FLOAT', 'INT8', 'UINT8']
    assert list(proto.Clustering.Granularity.keys()) == ['DEPLOYED', 'TENSOR', 'CHANNEL']
    assert list(proto.FineTuning.Loss.keys()) == ['DISTILLATION', 'LABELS', 'BOTH']
