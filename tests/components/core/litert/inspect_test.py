"""What a file holds is told right."""

from __future__ import annotations

import numpy as np
import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.inspect import inspect_model
from tfx_edge.components.core.litert.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantize import quantize_model


@pytest.mark.parametrize(
    ('mode', 'dtype', 'scales'),
    [('FLOAT32', 'float32', 0), ('FLOAT16', 'float16', 0), ('DYNAMIC_INT8', 'int8', 1), ('INT8', 'int8', 1)],
)
def test_kernels_are_found_in_every_mode(
    digits_float: bytes, digits_ranges: dict, mode: str, dtype: str, scales: int
) -> None:
    summary = inspect_model(quantize_model(digits_float, QuantizationOptions(mode), digits_ranges))
    kernels = summary.kernels
    assert sorted(k.shape for k in kernels) == sorted(
        [(16, 3, 3, 1), (1, 3, 3, 16), (32, 3, 3, 16), (32, 32), (10, 32)]
    )
    assert {k.dtype for k in kernels} == {dtype}
    for kernel in kernels:
        channels = kernel.shape[-1] if kernel.shape[0] == 1 else kernel.shape[0]
        assert kernel.scales == scales * channels
        assert kernel.elements == np.prod(kernel.shape)
        assert 0 < kernel.distinct <= kernel.elements
    assert summary.kernel_max_distinct == max(k.distinct for k in kernels)


def test_names_shapes_and_operators_are_those_of_the_file(digits_float: bytes) -> None:
    summary = inspect_model(digits_float)
    assert summary.signature_name == 'serving_default'
    assert summary.file_bytes == len(digits_float)
    assert [op.name for op in summary.operators] == [
        'CONV_2D',
        'DEPTHWISE_CONV_2D',
        'CONV_2D',
        'MEAN',
        'FULLY_CONNECTED',
        'FULLY_CONNECTED',
        'SOFTMAX',
    ]
    assert summary.float_ops == summary.operators
    (image,) = [t for t in summary.tensors if t.name == 'serving_default_image:0']
    assert (image.shape, image.dtype, image.constant, image.elements) == (
        (None, 8, 8, 1),
        'float32',
        False,
        64,
    )


def test_damaged_file_is_refused(digits_float: bytes) -> None:
    with pytest.raises(EdgeError, match='damaged or truncated'):
        inspect_model(digits_float[:500])
