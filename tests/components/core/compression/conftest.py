"""SavedModels of each origin: Keras 3's export (digits_saved_model), tf_keras' save, a plain tf.Module."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import tensorflow as tf

from tests.golden import files
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.pruning import PruningOptions
from tfx_edge.components.core.compression.training.fine_tuning import FineTuningOptions
from tfx_edge.components.core.compression.training.training_data import training_batches
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.examples.example_parser import ExampleParser


@pytest.fixture(scope='session')
def tf_keras_saved_model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A net with batch norm behind a convolution, a depthwise convolution and a dense layer; dropout, Adam."""
    folder = tmp_path_factory.mktemp('tf_keras') / 'saved_model'
    shutil.copytree(files.saved_model('tf_keras'), folder)
    return folder


class _PlainModule(tf.Module):
    """A convolution and a product, with a linear output; `scale` multiplies the convolution's channels."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(size=(3, 3, 1, 4)).astype(np.float32), name='kernel')
        self.scale = tf.Variable(np.array([0.5, -2.0, 1.0, 3.0], np.float32), name='scale')
        self.matrix = tf.Variable(random.normal(size=(256, 3)).astype(np.float32), name='matrix')

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name='image')])
    def predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, 'SAME') * self.scale)
        return {'score': tf.reshape(hidden, (-1, 256)) @ self.matrix}


@pytest.fixture(scope='session')
def module_saved_model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A plain tf.Module."""
    module = _PlainModule()
    folder = tmp_path_factory.mktemp('module') / 'saved_model'
    tf.saved_model.save(module, str(folder), signatures={'predict': module.predict})
    return folder


class _ManyKernels(tf.Module):
    """1x1 convolutions of which one qualifies for XNNPACK, a transposed one, and a product with transposed weight."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {
            'first': (3, 3, 1, 8),
            'pointwise': (1, 1, 8, 6),
            'strided': (1, 1, 6, 6),
            'grouped': (1, 1, 3, 4),
            'transposed': (2, 2, 5, 4),
            'matrix': (3, 5),
        }
        random = np.random.default_rng(0)
        for name, shape in shapes.items():
            value = random.normal(size=shape).astype(np.float32)
            setattr(self, name, tf.Variable(value, name=name))

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name='image')])
    def predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.nn.relu(tf.nn.conv2d(image, self.first, 1, 'SAME'))
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, self.pointwise, 1, 'SAME'))
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, self.strided, 2, 'SAME'))
        # Of the six channels each group sees three.
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, self.grouped, 1, 'SAME'))
        shape = tf.stack([tf.shape(image)[0], 8, 8, 5])
        hidden = tf.nn.relu(tf.nn.conv2d_transpose(hidden, self.transposed, shape, 2, 'SAME'))
        pooled = tf.reduce_mean(hidden, (1, 2))
        return {'score': tf.matmul(pooled, self.matrix, transpose_b=True)}


@pytest.fixture(scope='session')
def many_kernels(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SavedModel of `_ManyKernels`."""
    module = _ManyKernels()
    folder = tmp_path_factory.mktemp('many_kernels') / 'saved_model'
    tf.saved_model.save(module, str(folder), signatures={'predict': module.predict})
    return str(folder)


@pytest.fixture(params=['digits_saved_model', 'tf_keras_saved_model', 'module_saved_model'])
def saved_model(request: pytest.FixtureRequest) -> str:
    """Each of the three in turn."""
    return str(request.getfixturevalue(request.param))


def open_graph(saved_model: str) -> ServingGraph:
    """The graph of the signature that a component would choose."""
    return ServingGraph(saved_model, choose_signature(saved_model))


def make_options(num_steps: int, **changes: object) -> FineTuningOptions:
    """Fine-tuning by distillation with the defaults of `proto.FineTuning`."""
    options = {
        'batch_size': 64,
        'learning_rate': 1e-3,
        'optimizer': 'ADAM',
        'loss': 'DISTILLATION',
        'temperature': 1.0,
        'label_key': '',
        'label_loss': '',
        'train_splits': ('train',),
        'seed': 0,
        'output_kind': 'AUTO',
    }
    return FineTuningOptions(num_steps=num_steps, **{**options, **changes})  # type: ignore[arg-type]


def make_pruning(target: float = 0.75, **changes: object) -> PruningOptions:
    """Pruning with the defaults of `proto.Pruning`, but for the target."""
    options = {
        'initial_sparsity': 0.0,
        'schedule': 'POLYNOMIAL',
        'power': 3.0,
        'begin_step': 0,
        'end_step': 0,
        'frequency': 0,
        'include': (),
        'exclude': (),
    }
    return PruningOptions(target_sparsity=target, **{**options, **changes})  # type: ignore[arg-type]


Batches = Callable[..., Iterator[Mapping[str, np.ndarray]]]


@pytest.fixture(scope='session')
def batches(digits_examples: pathlib.Path) -> Batches:
    """A function of a graph: batches of the train split."""
    files = sorted(str(path) for path in (digits_examples / 'Split-train').iterdir())

    def make(graph: ServingGraph, label_key: str = '', seed: int = 0) -> Iterator[Mapping[str, np.ndarray]]:
        return training_batches(files, ExampleParser(graph.signature.inputs, label_key=label_key), 64, seed)

    return make
