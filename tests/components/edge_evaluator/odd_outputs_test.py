"""Outputs beside the answer: a class, a string, one number, and a table that no batch decides."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import tensorflow_model_analysis as tfma

from tests.components.core.litert.file_edits import add_class, add_output, add_tensor, strings
from tests.golden import files
from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.quantization.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model

pytestmark = pytest.mark.slow

_SCORES = 18


def _float_file() -> bytes:
    content = flatbuffer.read(files.float_model('digits'))
    add_class(content, _SCORES)
    names = [str(number).encode() for number in range(10)]
    add_output(content, 'names', add_tensor(content, 'names', 'STRING', (10,), strings(names)))
    add_output(content, 'sigma', add_tensor(content, 'sigma', 'FLOAT32', (), np.array(100, np.float32)))
    table = np.arange(14, dtype=np.float32).reshape(7, 2)
    add_output(content, 'table', add_tensor(content, 'table', 'FLOAT32', (7, 2), table))
    return flatbuffer.write(content)


def _config(output: str) -> tfma.EvalConfig:
    threshold = tfma.MetricThreshold(value_threshold=tfma.GenericValueThreshold(lower_bound={'value': 0.9}))
    metric = tfma.MetricConfig(class_name='SparseCategoricalAccuracy', threshold=threshold)
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[tfma.MetricsSpec(metrics=[metric], output_names=[output])],
    )


@pytest.fixture(scope='module')
def model() -> bytes:
    return quantize_model(_float_file(), QuantizationOptions('INT8', engine=LITERT), files.digits_ranges())


def test_the_answer_is_evaluated_and_the_others_are_named(
    model: bytes, evaluate: Any, as_tflite_model: Any, as_examples: Any, digits_examples: Any, caplog: Any
) -> None:
    with caplog.at_level(logging.WARNING, logger='tfx_edge'):
        outcome = evaluate(
            as_tflite_model(model),
            as_examples(digits_examples),
            _config('output_0'),
            baseline=as_tflite_model(_float_file(), 'baseline', 5),
            edge=proto.EdgeEvaluation(min_agreement=0.9),
        )
    assert outcome.blessed, outcome.report['reasons']
    left_out = [
        "output 'names' is string: it is not evaluated",
        "output 'sigma' has the shape (), without a batch dimension: it is not evaluated",
        "output 'table' has the shape (7, 2), without a batch dimension: it is not evaluated",
    ]
    assert outcome.report['notes'] == left_out
    assert [m for m in caplog.messages if 'is not evaluated' in m] == left_out
    assert outcome.metric('sparse_categorical_accuracy') > 0.9
    assert {output['output'] for output in outcome.report['outputs']} == {'class', 'output_0'}


@pytest.mark.parametrize(('output', 'why'), [('names', 'is string'), ('table', r'has the shape \(7, 2\)')])
def test_a_metric_of_another_output_is_refused(
    output: str, why: str, model: bytes, evaluate: Any, as_tflite_model: Any, as_examples: Any, digits_examples: Any
) -> None:  # fmt: skip
    message = (
        rf'metrics_specs.output_names of eval_config names output {output!r}, which {why}.*name another\.'
    )
    with pytest.raises(EdgeError, match=message):
        evaluate(as_tflite_model(model), as_examples(digits_examples), _config(output))
