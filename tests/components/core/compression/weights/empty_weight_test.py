"""A weight without elements is no weight: nothing is pruned, clustered or quantized in it."""

from __future__ import annotations

import logging
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

from ..conftest import open_graph


def test_it_is_left_as_it_is(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    module = tf.Module()
    module.kernel = tf.Variable(np.ones((4, 3), np.float32), name='kernel')
    module.none = tf.Variable(np.zeros((0, 3), np.float32), name='none')
    module.serve = tf.function(
        lambda x: {'y': x @ module.kernel + x[:, :0] @ module.none},
        input_signature=[tf.TensorSpec((None, 4), tf.float32, name='x')],
    )
    tf.saved_model.save(module, str(tmp_path / 'model'), signatures={'serving_default': module.serve})
    caplog.set_level(logging.INFO, 'tfx_edge')
    (site,) = find_weight_sites(open_graph(str(tmp_path / 'model')))
    assert site.variable.name == 'kernel'
    assert 'none (0x3) is left as it is: it has no elements' in caplog.text
