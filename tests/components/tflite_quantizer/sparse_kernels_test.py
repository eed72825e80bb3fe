"""From `Pruning.policy` XNNPACK to a float file with sparse kernels, or to the operator that is in the way."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from tests.components.executed import artifact, execute
from tfx_edge import proto
from tfx_edge.components import Pruner, TFLiteQuantizer
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

pytestmark = pytest.mark.slow

_NONE = proto.FineTuning(num_steps=0)
_FOUR_FIFTHS = proto.Pruning(policy='XNNPACK', target_sparsity=0.8)


class _PointwiseNet(tf.Module):
    """A stem, two pairs of a depthwise and a 1x1 convolution, a mean and a dense layer, on images of 33x33."""

    def __init__(self, *, pooled: bool) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        shapes = {'stem': (3, 3, 3, 8), 'first': (3, 3, 8, 1), 'second': (3, 3, 64, 1)}
        shapes |= {'narrow': (1, 1, 8, 64), 'wide': (1, 1, 64, 128), 'dense': (128, 4)}
        self.weights = {
            name: tf.Variable(random.normal(size=shape).astype(np.float32), name=name)
            for name, shape in shapes.items()
        }
        self._pooled = pooled

    @tf.function(input_signature=[tf.TensorSpec((None, 33, 33, 3), tf.float32, 'image')])
    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = self.weights
        x = tf.nn.relu6(tf.nn.conv2d(image, weights['stem'], 2, 'SAME'))
        x = tf.nn.relu6(tf.nn.depthwise_conv2d(x, weights['first'], [1, 1, 1, 1], 'SAME'))
        x = tf.nn.relu6(tf.nn.conv2d(x, weights['narrow'], 1, 'SAME'))
        if self._pooled:
            x = tf.nn.max_pool2d(x, 3, 1, 'SAME')
        x = tf.nn.relu6(tf.nn.depthwise_conv2d(x, weights['second'], [1, 2, 2, 1], 'SAME'))
        x = tf.nn.relu6(tf.nn.conv2d(x, weights['wide'], 1, 'SAME'))
        return {'scores': tf.matmul(tf.reduce_mean(x, [1, 2]), weights['dense'])}


def _exported(folder: pathlib.Path, *, pooled: bool) -> Any:
    model = artifact(standard_artifacts.Model, folder)
    net = _PointwiseNet(pooled=pooled)
    tf.saved_model.save(net, path_utils.serving_model_dir(model.uri), signatures=net.__call__)
    return model


@pytest.fixture(scope='module')
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp('pruned')
    model = _exported(folder / 'trained', pooled=False)
    return execute(Pruner, folder, {'model': model}, pruning=_FOUR_FIFTHS, fine_tuning=_NONE)['model']


def _file(folder: pathlib.Path, model: Any, **options: Any) -> tuple[bytes, Any]:
    quantization = proto.Quantization(**{'mode': 'FLOAT32', **options})
    made = execute(TFLiteQuantizer, folder, {'model': model}, quantization=quantization)['model']
    return (pathlib.Path(path_utils.serving_model_dir(made.uri)) / 'tflite').read_bytes(), made


def test_a_pruned_net_becomes_a_smaller_file_with_the_same_answers(
    pruned: Any, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level('INFO', 'tfx_edge'):
        sparse, made = _file(tmp_path / 'sparse', pruned)
    dense, left = _file(tmp_path / 'dense', pruned, sparse_kernels=False)
    assert made.get_int_custom_property('tfx_edge_sparse_kernels') == 2
    assert not left.has_custom_property('tfx_edge_sparse_kernels')
    assert len(sparse) < len(dense)
    assert '2 kernels of 1x1 are stored sparse, 80.' in caplog.text
    assert inspect_model(sparse).kernel_zeros == inspect_model(dense).kernel_zeros
    images = np.random.default_rng(1).uniform(size=(3, 33, 33, 3)).astype(np.float32)
    answers = [LiteRTModel(file)({'image': images})['scores'] for file in (sparse, dense)]
    np.testing.assert_allclose(*answers, rtol=1e-5, atol=1e-5)


def test_kernels_of_float16_stay_dense_and_the_log_says_why(
    pruned: Any, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level('INFO', 'tfx_edge'):
        _, made = _file(tmp_path, pruned, mode='FLOAT16')
    assert made.get_int_custom_property('tfx_edge_sparse_kernels') == 0
    assert 'kernels stay dense: XNNPACK would not compute sparse: CONV_2D' in caplog.text
    assert 'make the file with mode FLOAT32' in caplog.text


def test_pruner_names_what_is_in_the_way_before_it_prunes(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = _exported(tmp_path / 'trained', pooled=True)
    execute(Pruner, tmp_path, {'model': model}, pruning=_FOUR_FIFTHS, fine_tuning=_NONE)
    (warning,) = (record.getMessage() for record in caplog.records if 'policy XNNPACK' in record.getMessage())
    assert 'XNNPACK will compute dense' in warning
    assert 'MAX_POOL_2D' in warning
