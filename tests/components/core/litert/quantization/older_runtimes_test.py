"""Files that TensorFlow 2.16 does not load are named."""

from __future__ import annotations

import logging

import pytest
import tensorflow as tf

from tests.golden import files
from tfx_edge.components.core.litert.quantization.older_runtimes import (
    log_older_runtimes,
    refused_by_tensorflow_2_16,
)
from tfx_edge.components.core.litert.quantization.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model

pytestmark = pytest.mark.slow


def _loads(model: bytes) -> bool:
    try:
        tf.lite.Interpreter(model_content=model).allocate_tensors()
    except RuntimeError:
        return False
    return True


@pytest.mark.filterwarnings('ignore:.*tf.lite.Interpreter is deprecated')
@pytest.mark.parametrize('keep_float', [(), ('dense',)])
@pytest.mark.parametrize('mode', ['INT8', 'INT4X8', 'INT16X8', 'DYNAMIC_INT8', 'DYNAMIC_INT4', 'FLOAT16'])
def test_what_is_reported_is_what_tensorflow_2_16_refuses(
    mode: str, keep_float: tuple[str, ...], digits_float: bytes, digits_ranges: dict
) -> None:
    options = QuantizationOptions(mode, keep_float=keep_float, engine=LITERT)
    file = quantize_model(digits_float, options, digits_ranges)
    refused = refused_by_tensorflow_2_16(file)
    assert set(refused) == ({'FULLY_CONNECTED'} if mode == 'INT4X8' and not keep_float else set())
    if tf.__version__.startswith('2.16.'):
        assert _loads(file) == (not refused)


def test_transposed_convolutions_with_float_activations_are_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = quantize_model(
        files.float_model('many_operators'), QuantizationOptions('DYNAMIC_INT8', engine=LITERT)
    )
    with caplog.at_level(logging.INFO, logger='tfx_edge'):
        log_older_runtimes(file)
    (message,) = [message for message in caplog.messages if '2.16' in message]
    assert 'TRANSPOSE_CONV has int8 kernels' in message
    assert 'ai-edge-litert' in message
    if tf.__version__.startswith('2.16.'):
        assert not _loads(file)
