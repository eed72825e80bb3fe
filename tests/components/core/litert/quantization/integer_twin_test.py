"""The twin is the int8 file of the same graph, with the inputs and outputs of the file it stands beside."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tests.golden import files
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.integer_twin import integer_twin


@pytest.mark.parametrize(('io', 'dtype'), [('FLOAT', 'float32'), ('INT8', 'int8')])
def test_a_float_file_gets_one(digits: Mapping[str, np.ndarray], io: str, dtype: str) -> None:
    float_file = ModelFile.of(files.float_model('digits'))
    twin = integer_twin(float_file, {'image': digits['x_train'][:8]}, io)
    summary = inspect_model(twin)
    assert {kernel.dtype for kernel in summary.kernels} == {'int8'}
    assert {*summary.inputs.values()} == {dtype}
    images = {'image': digits['x_eval']}
    (ours,), (theirs,) = (LiteRTModel(file.data)(images).values() for file in (twin, float_file))
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) > 0.9


def test_a_file_of_integers_is_its_own() -> None:
    file = ModelFile.of(files.digits_int8())
    assert integer_twin(file, {}, 'FLOAT') is file
