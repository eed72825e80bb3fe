"""Islands: float operators with integers on both sides, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.float_islands import float_islands
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model

pytestmark = pytest.mark.slow


class Chain(tf.Module):
    """Four dense layers with a tanh between the second and the third."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernels = [tf.Variable(random.normal(0, 0.3, (8, 8)).astype(np.float32)) for _ in range(4)]

    @tf.function(input_signature=[tf.TensorSpec([None, 8], name='x')])
    def serve(self, x):
        for n, kernel in enumerate(self.kernels):
            x = tf.nn.relu(tf.matmul(x, kernel))
            if n == 1:
                x = tf.tanh(x, name='middle')
        return {'y': x}


@pytest.fixture(scope='module')
def chain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    module, folder = Chain(), str(tmp_path_factory.mktemp('chain') / 'model')
    tf.saved_model.save(module, folder, signatures=module.serve.get_concrete_function())
    return convert_saved_model(folder, 'serving_default')


@pytest.fixture(scope='module')
def ranges(chain: bytes) -> dict[str, tuple[float, float]]:
    values = ActivationReader(chain)({'x': np.random.default_rng(1).normal(size=(8, 8)).astype(np.float32)})
    return {name: (min(0.0, float(v.min())), float(v.max())) for name, v in values.items()}


@pytest.mark.parametrize(
    ('keep_float', 'expected'),
    [
        ((), []),
        (('middle',), [['TANH middle']]),
        (('MatMul_1', 'middle'), [['FULLY_CONNECTED MatMul_1', 'TANH middle']]),
        (('MatMul_1', 'MatMul_2'), [['FULLY_CONNECTED MatMul_1'], ['FULLY_CONNECTED MatMul_2']]),
        (('MatMul$',), []),
    ],
)
def test_what_is_kept_float_between_integers_is_an_island(chain, ranges, keep_float, expected) -> None:
    file = quantize_model(chain, QuantizationOptions('INT8', 'FLOAT', keep_float), ranges)
    assert [list(island.operators) for island in float_islands(file)] == expected


@pytest.mark.parametrize('mode', ['FLOAT32', 'FLOAT16', 'DYNAMIC_INT8'])
def test_files_without_integer_activations_have_none(chain: bytes, mode: str) -> None:
    assert float_islands(quantize_model(chain, QuantizationOptions(mode))) == ()
