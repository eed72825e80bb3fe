"""Equalization and bias correction on a trained net: the accuracy of the `.tflite` file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.post_training.bias_correction import correct
from tfx_edge.components.core.post_training.equalization import equalize

INT8 = QuantizationOptions('INT8', engine='LITERT')


def test_uneven_channels_ruin_int8_and_both_steps_restore_it(
    separable: bytes,
    uneven: bytes,
    digits: dict[str, np.ndarray],
    observe: Callable,
    channel_means: Callable,
    accuracy: Callable,
) -> None:
    images = digits['x_train'][:256]
    before, after = (LiteRTModel(m)({'image': digits['x_eval']})['output_0'] for m in (separable, uneven))
    np.testing.assert_array_equal(before, after)

    def quantized(model: bytes, *, corrected: bool) -> float:
        ranges = observe(model, images)
        file = quantize_model(model, INT8, ranges)
        if corrected:
            model = correct(model, file, channel_means(model, images)).model
            file = quantize_model(model, INT8, ranges)
        return accuracy(file)

    equalized = equalize(uneven).model
    found = {
        'float': accuracy(uneven),
        'neither': quantized(uneven, corrected=False),
        'equalization': quantized(equalized, corrected=False),
        'bias correction': quantized(uneven, corrected=True),
        'both': quantized(equalized, corrected=True),
    }
    print(found)
    assert found['float'] > 90
    assert found['neither'] < found['float'] - 10
    assert found['equalization'] > found['float'] - 1
    assert found['bias correction'] < found['float'] - 10, 'uneven channels are no matter of means'
    assert found['both'] > found['float'] - 1
