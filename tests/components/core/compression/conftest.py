"""SavedModels of each origin: Keras 3's export (digits_saved_model), tf_keras' save, a plain tf.Module."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.fine_tuning import FineTuningOptions
from tfx_edge.components.core.compression.serving_graph import ServingGraph
from tfx_edge.components.core.compression.training_data import training_batches
from tfx_edge.components.core.examples import ExampleParser
from tfx_edge.components.core.signature import choose_signature


@pytest.fixture(scope='session')
def tf_keras_saved_model(
    digits: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A net with batch norm behind a convolution, a depthwise convolution and a dense layer; dropout, Adam."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 1), name='image'),
            layers.Conv2D(8, 3, padding='same', use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding='same', use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(32),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(10, activation='softmax'),
        ]
    )
    # Compiling the training function takes tf_keras longer than two epochs without it.
    model.compile(tf_keras.optimizers.Adam(3e-3), 'sparse_categorical_crossentropy', run_eagerly=True)
    model.fit(digits['x_train'], digits['y_train'], batch_size=32, epochs=2, verbose=0)
    folder = tmp_path_factory.mktemp('tf_keras') / 'saved_model'
    model.save(folder)
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


Batches = Callable[..., Iterator[Mapping[str, np.ndarray]]]


@pytest.fixture(scope='session')
def batches(digits_examples: pathlib.Path) -> Batches:
    """A function of a graph: batches of the train split."""
    files = sorted(str(path) for path in (digits_examples / 'Split-train').iterdir())

    def make(graph: ServingGraph, label_key: str = '', seed: int = 0) -> Iterator[Mapping[str, np.ndarray]]:
        return training_batches(files, ExampleParser(graph.signature.inputs, label_key=label_key), 64, seed)

    return make
