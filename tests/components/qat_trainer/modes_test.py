"""int4 weights and int16 activations: what is trained is what ships there too."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.qat_trainer.options import qat_options

from .course import Course

pytestmark = pytest.mark.slow


def _course(
    saved_model: pathlib.Path,
    digits: dict[str, np.ndarray],
    folder: pathlib.Path,
    steps: int = 150,
    **qat: Any,
) -> Course:
    course = Course(str(saved_model), {'image': digits['x_train']}, folder, steps)
    course.train(proto.QuantizationAwareTraining(**qat))
    return course


def _accuracy(file: bytes, digits: dict[str, np.ndarray]) -> float:
    (output,) = LiteRTModel(file)({'image': digits['x_eval']}).values()
    return float(np.mean(output.argmax(1) == digits['y_eval']))


def test_int4_weights_where_litert_has_kernels(
    digits_saved_model: pathlib.Path, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    course = _course(digits_saved_model, digits, tmp_path, steps=1000, weight_bits=4)
    file = course.file()
    kernels = {kernel.shape: kernel for kernel in inspect_model(file).kernels}
    assert {kernel.dtype for shape, kernel in kernels.items() if shape != (1, 3, 3, 16)} == {'int4'}
    assert kernels[1, 3, 3, 16].dtype == 'int8'
    assert all(kernel.distinct <= 15 for kernel in kernels.values() if kernel.dtype == 'int4')
    parity = course.parity({'image': digits['x_eval']}, per_activation=True)
    assert parity.agreement == 1.0
    for activation in parity.activations:
        assert activation.within_1 >= 0.999, activation
    assert _accuracy(file, digits) > 0.94


def test_int16_activations(
    digits_saved_model: pathlib.Path, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    course = _course(digits_saved_model, digits, tmp_path, activation_bits=16)
    file = course.file()
    assert 'int16' in {tensor.dtype for tensor in inspect_model(file).tensors}
    parity = course.parity({'image': digits['x_eval']}, per_activation=True)
    assert parity.agreement == 1.0
    for activation in parity.activations:
        # A thousandth of the range at most, softmax's table included.
        assert activation.percentile_99_9 <= 33, activation
    assert _accuracy(file, digits) > 0.93


def test_a_weight_that_the_file_would_not_keep_is_refused(
    digits_saved_model: pathlib.Path, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    overrides = [{'pattern': 'dense_1/kernel', 'weight_bits': 8}]
    with pytest.raises(
        EdgeError, match='is to have 8 bits, but a file with int4 weights gives every FULLY_CONNECTED 4'
    ):
        _course(digits_saved_model, digits, tmp_path, weight_bits=4, overrides=overrides)


def test_int4_weights_with_int16_activations_are_refused() -> None:
    with pytest.raises(EdgeError, match='activation_bits is 16 and weights are to have 4 bits'):
        qat_options(proto.QuantizationAwareTraining(weight_bits=4, activation_bits=16))
