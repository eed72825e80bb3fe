"""Memory of activations: counted by hand on small nets."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.activation_memory import peak_activation_bytes


class Residual(tf.Module):
    """Two convolutions from 8x8x4 to 8x8x16, then a sum: its three tensors live at once."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.first = tf.Variable(random.normal(size=(1, 1, 4, 16)).astype(np.float32))
        self.second = tf.Variable(random.normal(size=(3, 3, 16, 16)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 4], name='x')])
    def serve(self, x):
        first = tf.nn.relu(tf.nn.conv2d(x, self.first, 1, 'SAME'))
        return {'y': first + tf.nn.relu(tf.nn.conv2d(first, self.second, 1, 'SAME'))}


@pytest.mark.slow
def test_what_lives_at_once_is_added(tmp_path):
    module = Residual()
    tf.saved_model.save(module, str(tmp_path / 'm'), signatures=module.serve.get_concrete_function())
    model = convert_saved_model(str(tmp_path / 'm'), 'serving_default')
    large = 8 * 8 * 16 * 4
    # The sum reads both convolutions' results and computes a third tensor.
    assert peak_activation_bytes(model) == 3 * large


def test_a_damaged_file_is_refused():
    with pytest.raises(EdgeError):
        peak_activation_bytes(b'nothing of the kind')
