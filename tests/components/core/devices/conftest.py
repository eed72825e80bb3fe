"""Small `.tflite` files, and the tools of the device makers."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import numpy as np
import pytest

from tests.golden import files as golden
from tfx_edge.components.core.devices import chromium, litert_js
from tfx_edge.components.core.devices.absent_tool import AbsentTool
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model


@pytest.fixture(scope='session')
def files() -> Mapping[str, bytes]:
    """One untrained net as `.tflite`: 'float', 'int8', 'int8 with float I/O', 'int16 activations', 'dynamic int8'."""
    float_file = golden.float_model('small')
    reader = ActivationReader(float_file)
    images = np.random.default_rng(0).random((16, 1, 8, 8, 1), dtype=np.float32)
    observed = [reader({'image': image}) for image in images]
    ranges = {
        name: (
            min(float(values[name].min()) for values in observed),
            max(float(values[name].max()) for values in observed),
        )
        for name in observed[0]
    }
    return {
        'float': float_file,
        'int8': quantize_model(float_file, QuantizationOptions('INT8', io='INT8'), ranges),
        'int8 with float I/O': quantize_model(float_file, QuantizationOptions('INT8', io='FLOAT'), ranges),
        'int16 activations': quantize_model(float_file, QuantizationOptions('INT16X8', io='FLOAT'), ranges),
        'dynamic int8': quantize_model(float_file, QuantizationOptions('DYNAMIC_INT8'), None),
    }


@pytest.fixture(scope='session')
def vela() -> None:
    """Skips where Vela is not installed."""
    if importlib.util.find_spec('ethosu') is None:
        pytest.skip('ethos-u-vela is not installed (the dev group brings it on Linux x86-64)')


@pytest.fixture(scope='session')
def micro() -> None:
    """Skips where TFLite Micro is not installed."""
    if importlib.util.find_spec('tflite_micro') is None:
        pytest.skip('tflite-micro is not installed (the dev group brings it on Linux x86-64)')


@pytest.fixture(scope='session')
def browser() -> None:
    """Skips where Chromium or LiteRT.js is not installed."""
    try:
        chromium.find()
        litert_js.find()
    except AbsentTool as absent:
        pytest.skip(str(absent))
