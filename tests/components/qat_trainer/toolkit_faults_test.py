"""What TensorFlow Model Optimization 0.8.1 gets wrong in quantization-aware training, and has to be right here."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tfx_edge import proto
from tfx_edge.components.clusterer.options import clustering_options
from tfx_edge.components.core.compression.clustering import cluster
from tfx_edge.components.core.compression.constraints.constrained_model import folded_kernels
from tfx_edge.components.core.compression.constraints.integer_grid import to_integers
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.inspect import TensorSummary, inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.loops.longest_loop import MOST_ROUNDS
from tfx_edge.components.pruner.options import pruning_options

from .course import Course, Technique

pytestmark = pytest.mark.slow


def _pruned(target: float, *exclude: str) -> Technique:
    options = pruning_options(proto.Pruning(target_sparsity=target, exclude=exclude))
    return lambda graph, fine_tuning, batches: prune(graph, options, fine_tuning, batches)


def _clustered(count: int) -> Technique:
    options = clustering_options(proto.Clustering(number_of_clusters=count))
    return lambda graph, fine_tuning, batches: cluster(graph, options, fine_tuning, batches)


def _fit_and_export(model: Any, images: np.ndarray, classes: np.ndarray, folder: pathlib.Path) -> str:
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # XLA would take longer to compile than the training takes.
    model.compile(keras.optimizers.Adam(5e-3), loss, jit_compile=False)
    model.fit(images, classes, batch_size=64, epochs=4, verbose=0)
    model.export(folder, verbose=False)
    return str(folder)


@pytest.fixture(scope='module')
def saved_model(digits: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> str:
    """All that the toolkit's QAT breaks in one net: each layer, then batch norm, then an activation of its own."""
    import keras
    from keras import layers

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name='image'),
            layers.Conv2D(12, 3, padding='same', name='first'),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, strides=2, padding='same', use_bias=False, name='depthwise'),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.Conv2DTranspose(8, 3, strides=2, padding='same', name='transposed'),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(24, name='dense'),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.Dense(10, name='logits'),
        ]
    )
    folder = tmp_path_factory.mktemp('faults') / 'model'
    return _fit_and_export(model, digits['x_train'], digits['y_train'], folder)


@pytest.fixture(scope='module')
def trained(
    saved_model: str, digits: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Course:
    """The net after quantization-aware training."""
    course = Course(saved_model, {'image': digits['x_train']}, tmp_path_factory.mktemp('trained'))
    course.train()
    return course


@pytest.fixture(scope='module')
def trained_file(trained: Course) -> bytes:
    return trained.file()


def _kernels(file: bytes) -> list[TensorSummary]:
    return [tensor for tensor in inspect_model(file).tensors if tensor.kernel]


@dataclasses.dataclass(frozen=True)
class _Clustered:
    """The net pruned but for its first layer, then clustered, then trained, and the weights before and after that."""

    course: Course
    before: Mapping[str, np.ndarray]
    after: Mapping[str, np.ndarray]
    kernels: list[TensorSummary]


@pytest.fixture(scope='module')
def clustered(
    saved_model: str, digits: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> _Clustered:
    course = Course(saved_model, {'image': digits['x_train']}, tmp_path_factory.mktemp('clustered'))
    before = course.apply(_pruned(0.5, 'first/kernel'))
    course.apply(_clustered(4))
    after = course.train()
    return _Clustered(course, before, after, _kernels(course.file()))


def test_default_training_keeps_the_clusters(clustered: _Clustered) -> None:
    kernels = clustered.kernels
    assert len(kernels) == 5
    assert all(kernel.distinct <= 4 and kernel.dtype == 'int8' for kernel in kernels)


def test_zeros_stay_after_saving_loading_and_training_again(
    saved_model: str, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    course = Course(saved_model, {'image': digits['x_train']}, tmp_path)
    pruned = course.apply(_pruned(0.5))
    course.train()
    again = course.train()
    for site in find_weight_sites(course.open()):
        zeros = pruned[site.variable.key] == 0
        assert zeros.mean() >= 0.49
        assert (again[site.variable.key][zeros] == 0).all()
    assert all(kernel.zeros >= 0.49 * kernel.elements for kernel in _kernels(course.file()))


def test_a_layer_without_zeros_does_not_switch_off_those_of_the_layers_behind_it(
    clustered: _Clustered,
) -> None:
    for site in find_weight_sites(clustered.course.open()):
        zeros = clustered.before[site.variable.key] == 0
        assert zeros.any() == (not site.variable.name.endswith('first/kernel'))
        assert (clustered.after[site.variable.key][zeros] == 0).all()
    assert all(kernel.distinct <= 4 for kernel in clustered.kernels)


def test_depthwise_kernels_have_a_scale_for_each_channel(trained: Course, trained_file: bytes) -> None:
    (kernel,) = (k for k in _kernels(trained_file) if k.shape == (1, 3, 3, 12))
    assert kernel.scales == 12
    graph = trained.open()
    (site,) = (site for site in find_weight_sites(graph) if site.variable.name.endswith('depthwise/kernel'))
    (folded,) = folded_kernels(graph, (site,)).values()
    assert to_integers(folded, (2,)) is not None
    assert to_integers(folded, ()) is None


def test_weights_before_an_activation_layer_are_rounded_in_training(
    trained: Course, digits: dict[str, np.ndarray]
) -> None:
    graph = trained.open()
    sites = find_weight_sites(graph)
    kernels = folded_kernels(graph, sites)
    for site in sites:
        assert to_integers(kernels[site.variable.key], site.channel_axes) is not None, site.variable.name
    (output,) = trained.parity({'image': digits['x_eval']}).outputs
    assert output.within_1 >= 0.999
    assert output.within_2 == 1.0


def test_dense_and_batch_norm_become_one_integer_operator(trained: Course, trained_file: bytes) -> None:
    summary = inspect_model(trained_file)
    assert not summary.float_ops
    assert [operator.name for operator in summary.operators].count('FULLY_CONNECTED') == 2
    assert not {operator.name for operator in summary.operators} & {'MUL', 'ADD'}
    assert trained.deployment is not None
    assert len(trained.deployment.arithmetic.kernels) == 5


def test_transposed_convolution_and_batch_norm_run(
    trained_file: bytes, digits: dict[str, np.ndarray]
) -> None:
    operators = {operator.name: operator for operator in inspect_model(trained_file).operators}
    assert operators['TRANSPOSE_CONV'].integer
    (logits,) = LiteRTModel(trained_file)({'image': digits['x_eval']}).values()
    assert np.mean(logits.argmax(1) == digits['y_eval']) > 0.85


class TestRefusedByTheToolkit:
    """Layers that it has no configuration for: here they are quantized, or stay float and are named."""

    def test_layers_of_every_kind(self, digits: dict[str, np.ndarray], tmp_path: pathlib.Path) -> None:
        import keras
        from keras import layers

        class Gate(layers.Layer):  # type: ignore[misc]
            """A layer of the user's own, with a subclassed layer inside."""

            def __init__(self) -> None:
                super().__init__()
                self.dense = layers.Dense(8, activation='sigmoid')

            def call(self, x: Any) -> Any:
                return x * self.dense(x)

        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        image = keras.Input((8, 8, 1), name='image')
        x = layers.Rescaling(2.0, -1.0)(image)
        nested = keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Conv2D(8, 3, padding='same', activation='relu')]
        )
        convolved = layers.BatchNormalization(momentum=0.8)(nested(x))
        convolved = layers.PReLU(shared_axes=[1, 2])(convolved)
        convolved = layers.Subtract()([convolved, layers.Conv2D(8, 1, activation='elu')(x)])
        volume = layers.Conv3D(2, 3, padding='same', activation='relu')(layers.Reshape((8, 8, 1, 1))(x))
        rows = layers.Reshape((8, 8))(layers.BatchNormalization(momentum=0.8)(x))
        rows = layers.Conv1D(8, 3, padding='same', activation='relu')(rows)
        rows = layers.LayerNormalization()(rows + layers.MultiHeadAttention(2, 4)(rows, rows))
        rows = layers.Multiply()([rows, Gate()(rows)])
        flat = [layers.Flatten()(part) for part in (convolved, volume, rows)]
        model = keras.Model(image, layers.Dense(10, name='logits')(layers.Concatenate()(flat)))
        folder = _fit_and_export(model, digits['x_train'], digits['y_train'], tmp_path / 'model')
        course = Course(folder, {'image': digits['x_train']}, tmp_path)
        course.train()
        assert course.deployment is not None
        assert len(course.deployment.float_weights) == 1
        assert 'conv3d' in course.deployment.float_weights[0]
        parity = course.parity({'image': digits['x_eval']})
        assert parity.within_2 >= 0.999
        assert parity.float_weights == course.deployment.float_weights

    def test_tables(self, digits: dict[str, np.ndarray], tmp_path: pathlib.Path) -> None:
        import keras
        from keras import layers

        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        tokens = keras.Input((8,), dtype='int32', name='tokens')
        x = layers.GlobalAveragePooling1D()(layers.Embedding(17, 12)(tokens))
        model = keras.Model(tokens, layers.Dense(10)(x))
        rows = {
            split: (16 * digits[f'x_{split}'][:, :, 3, 0]).astype(np.int32) for split in ('train', 'eval')
        }
        folder = _fit_and_export(model, rows['train'], digits['y_train'], tmp_path / 'model')
        course = Course(folder, {'tokens': rows['train']}, tmp_path)
        course.train()
        assert course.parity({'tokens': rows['eval']}).within_2 >= 0.999

    @pytest.mark.parametrize('layer', ['LSTM', 'GRU'])
    def test_recurrent_layers_of_too_many_steps_are_refused_by_name_before_training(
        self, layer: str, tmp_path: pathlib.Path
    ) -> None:
        """Fewer are written out step by step, and trained as the file has them."""
        import keras
        from keras import layers

        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        steps = keras.Input((MOST_ROUNDS + 1, 2), name='steps')
        model = keras.Model(steps, layers.Dense(10)(getattr(layers, layer)(4, name='memory')(steps)))
        model.export(tmp_path / 'model', verbose=False)
        values = np.random.default_rng(0).normal(size=(64, MOST_ROUNDS + 1, 2)).astype(np.float32)
        course = Course(str(tmp_path / 'model'), {'steps': values}, tmp_path, steps=1)
        with pytest.raises(EdgeError, match=r"in layer 'memory' .* too long to be written out .*unroll=True"):
            course.train()
