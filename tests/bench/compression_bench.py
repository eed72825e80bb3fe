"""Pruning and clustering beside TensorFlow Model Optimization: `make bench-compression`.

The same Keras 2 net, data, steps, batch size and seeds; the toolkit learns at the rate 1e-3, tfx-edge at its
defaults. All results are converted, calibrated on the same training examples and quantized by the same code, and
measured as int8 files on examples that nothing was trained or calibrated on: accuracy, and bytes of a DEFLATE zip.
The toolkit trains on labels, as its users do; tfx-edge distils, which is its default. A point `global 90` has 90 %
zeros over all weights, a point `hidden 90` in each weight but those of the last layer, both of tfx-edge alone: the
toolkit has no such scope, and its layers are chosen in code. Seconds are those of the training, on one
thread.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

BATCH, RATE = 64, 1e-3
_BASE_STEPS = 1500
_CALIBRATED = 200
POINTS = (
    *('sparse 50', 'sparse 75', 'sparse 90', 'global 75', 'global 90', 'hidden 90', '2:4'),
    *('clusters 32', 'clusters 16', 'clusters 8'),
)


@dataclasses.dataclass(frozen=True)
class Data:
    """Images in 0..1 of shape (n, height, width, 1), and labels."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_data(folder: pathlib.Path, name: str, *, validation: bool = False) -> Data:
    """Signs are split by student, spoken digits by recording; with `validation` a part of the training set tests."""
    if name == 'signs':
        file = np.load(folder / 'signs32_gray.npz')
        group = file['img'] // 200
        held_out = np.isin(group, np.unique(group)[4::5])
    else:
        file = np.load(folder / 'fsdd_logmel_u8.npz')
        group = file['idx']
        held_out = group < 5
    x, y = file['x'].astype(np.float32)[..., np.newaxis] / 255, file['y'].astype(np.int64)
    if validation:
        x, y, group = x[~held_out], y[~held_out], group[~held_out]
        held_out = np.isin(group, np.unique(group)[2::5])
    return Data(x[~held_out], y[~held_out], x[held_out], y[held_out])


def batches(data: Data, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches, the same for both sides."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(data.x_train))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            yield data.x_train[chosen], data.y_train[chosen]


def make_net(shape: tuple[int, ...]) -> Any:
    """A CNN of 40 thousand weights: three convolutions with batch norm, two dense layers."""
    from tf_keras import Sequential, layers

    def convolution(filters: int) -> list[Any]:
        return [
            layers.Conv2D(filters, 3, padding='same', use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ]

    parts = [layers.Input(shape, name='image'), *convolution(16), *convolution(32), *convolution(64)]
    head = [layers.Dropout(0.3), layers.Dense(16, activation='relu'), layers.Dense(10, activation='softmax')]
    return Sequential([*parts, layers.Flatten(), *head])


def train_base(data: Data, seed: int, make: Callable[[tuple[int, ...]], Any] = make_net) -> Any:
    """The net that both sides start from, or another that is trained as it is."""
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    model = make(data.x_train.shape[1:])
    schedule = tf_keras.optimizers.schedules.CosineDecay(1e-3, _BASE_STEPS)
    model.compile(tf_keras.optimizers.Adam(schedule), 'sparse_categorical_crossentropy')
    for _, batch in zip(range(_BASE_STEPS), batches(data, seed), strict=False):
        model.train_on_batch(*batch)
    return model


def export(model: Any, folder: pathlib.Path) -> None:
    """Writes a SavedModel with one signature, image to digit."""
    import tensorflow as tf

    specs = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name='image')]
    function = tf.function(lambda image: {'digit': model(image, training=False)}, input_signature=specs)
    tf.saved_model.save(model, str(folder), signatures={'serving_default': function})


def toolkit_stage(arguments: argparse.Namespace) -> None:
    """Trains the base and runs the toolkit from it, in a process of Keras 2."""
    import tf_keras

    data = load_data(arguments.data, arguments.dataset, validation=arguments.validation)
    base = train_base(data, arguments.seed)
    export(base, arguments.work / 'base')
    base.save(arguments.work / 'base.h5')
    for point in _points_of('toolkit', arguments.points):
        tf_keras.backend.clear_session()
        tf_keras.utils.set_random_seed(arguments.seed)
        model, seconds = by_toolkit(
            arguments, data, tf_keras.models.load_model(arguments.work / 'base.h5'), point
        )
        export(model, arguments.work / f'toolkit {point}')
        print(json.dumps({'side': 'toolkit', 'point': point, 'seconds': seconds}), flush=True)


def by_toolkit(
    arguments: argparse.Namespace, data: Data, base: Any, point: str, *, frequency: int = 100
) -> tuple[Any, float]:
    """The net that the toolkit makes of another, and the seconds of training; it has no scope but the layer.

    Masks change each `frequency` steps, by default as the toolkit's does.
    """
    import tensorflow_model_optimization as tfmot
    import tf_keras

    steps, (kind, amount) = arguments.steps, _kind(point)
    callbacks, strip = [], tfmot.clustering.keras.strip_clustering
    if kind == 'clusters':
        start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
        cluster = tfmot.clustering.keras.cluster_weights
        model = cluster(base, number_of_clusters=amount, cluster_centroids_init=start)
    else:
        schedule = tfmot.sparsity.keras.PolynomialDecay(
            0.0, amount / 100, 0, steps * 3 // 4, frequency=frequency
        )
        options = {'sparsity_m_by_n': (2, 4)} if kind == '2:4' else {}
        if kind == '2:4':
            schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, 0)
        model = tfmot.sparsity.keras.prune_low_magnitude(base, schedule, **options)
        callbacks, strip = [tfmot.sparsity.keras.UpdatePruningStep()], tfmot.sparsity.keras.strip_pruning
    model.compile(tf_keras.optimizers.Adam(RATE), 'sparse_categorical_crossentropy')
    started = time.monotonic()
    stream = batches(data, arguments.seed)
    model.fit(stream, steps_per_epoch=steps, epochs=1, verbose=0, callbacks=callbacks)
    return strip(model), time.monotonic() - started


def tfx_edge_stage(arguments: argparse.Namespace) -> None:
    """Runs tfx-edge from the same base, and measures all results."""
    data = load_data(arguments.data, arguments.dataset, validation=arguments.validation)
    for point in arguments.points:
        target = arguments.work / f'tfx-edge {point}'
        seconds = by_tfx_edge(arguments, data, point, target)
        print(json.dumps({'side': 'tfx-edge', 'point': point, 'seconds': seconds}), flush=True)
    for folder in sorted(arguments.work.iterdir()):
        if folder.is_dir():
            side, _, point = folder.name.partition(' ')
            measured = measure(folder, data)
            print(json.dumps({'side': side, 'point': point, **measured}), flush=True)


def by_tfx_edge(arguments: argparse.Namespace, data: Data, point: str, target: pathlib.Path) -> float:
    """Writes the SavedModel that tfx-edge makes of `work`/base; returns the seconds of training."""
    from tfx_edge import proto
    from tfx_edge.components.clusterer.options import clustering_options
    from tfx_edge.components.core.compression.clustering import cluster
    from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
    from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
    from tfx_edge.components.core.compression.pruning import prune
    from tfx_edge.components.core.compression.weights.output_weights import output_weights
    from tfx_edge.components.core.dense_function.choice import choose_signature
    from tfx_edge.components.pruner.options import pruning_options
    from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

    source = str(arguments.work / 'base')
    graph = ServingGraph(source, choose_signature(source, ''))
    (name,) = graph.inputs
    settings = proto.FineTuning(num_steps=arguments.steps, batch_size=BATCH, seed=arguments.seed)
    options = fine_tuning_options(settings, has_module=False)
    options = dataclasses.replace(options, num_examples=len(data.x_train))
    stream = ({name: images} for images, _ in batches(data, arguments.seed))
    kind, amount = _kind(point)
    started = time.monotonic()
    if kind == 'clusters':
        clustering = clustering_options(proto.Clustering(number_of_clusters=amount))
        values = cluster(graph, clustering, options, stream)
    else:
        scope = 'GLOBAL' if kind == 'global' else 'TENSOR'
        last = output_weights(graph) if kind == 'hidden' else ()
        exclude = [f'^{re.escape(v.name)}$' for v in graph.variables if v.key in last]
        pruning = proto.Pruning(target_sparsity=amount / 100, scope=scope, exclude=exclude)
        if kind == '2:4':
            pruning = proto.Pruning(structure=proto.Pruning.Structure(m_of_n=proto.Pruning.MOfN(m=2, n=4)))
        values = prune(graph, pruning_options(pruning), options, stream)
    seconds = time.monotonic() - started
    target.mkdir()
    write_with_values(source, str(target), values)
    return seconds


def measure(folder: pathlib.Path, data: Data) -> dict[str, float]:
    """Accuracy, zip bytes and share of zeros of a SavedModel's int8 file."""
    from tfx_edge.components.core.dense_function.choice import choose_signature
    from tfx_edge.components.core.evaluation.model_files.sizes import zip_bytes
    from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
    from tfx_edge.components.core.litert.file.inspect import inspect_model
    from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
    from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
    from tfx_edge.components.core.litert.quantization.quantize import quantize_model

    signature = choose_signature(str(folder), '')
    (name,) = signature.inputs
    model = convert_saved_model(str(folder), signature.name)
    chosen = np.random.default_rng(0).permutation(len(data.x_train))[:_CALIBRATED]
    file = quantize_model(
        model, QuantizationOptions('INT8'), activation_ranges(model, name, data.x_train[chosen])
    )
    (predictions,) = LiteRTModel(file)({name: data.x_test}).values()
    return {
        'accuracy': float(np.mean(predictions.argmax(1) == data.y_test)),
        'zip': zip_bytes(file),
        'zeros': inspect_model(file).kernel_zeros,
    }


def activation_ranges(model: bytes, name: str, images: np.ndarray) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of each activation."""
    from tfx_edge.components.core.litert.file.activation_reader import ActivationReader

    ranges: dict[str, tuple[float, float]] = {}
    read = ActivationReader(model)
    for image in images:
        for tensor, values in read({name: image[np.newaxis]}).items():
            low, high = ranges.get(tensor, (np.inf, -np.inf))
            ranges[tensor] = (min(low, float(values.min())), max(high, float(values.max())))
    return ranges


def main() -> None:
    """Runs all points for each seed, and prints one line for each point and side."""
    arguments = _arguments()
    if arguments.stage:
        stages = {'toolkit': toolkit_stage, 'tfx-edge': tfx_edge_stage}
        stages[arguments.stage](arguments)
        return
    print(f'{arguments.steps} steps; accuracy of the int8 file: mean (each seed)')
    print('dataset  point        side        accuracy                              zip bytes  zeros  seconds')
    for dataset in arguments.datasets:
        with concurrent.futures.ThreadPoolExecutor(arguments.processes) as pool:
            of_seeds = list(
                pool.map(lambda seed, name=dataset: _run_seed(arguments, name, seed), arguments.seeds)
            )
        keys = [
            ('base', ''),
            *(
                (side, point)
                for point in arguments.points
                for side in ('toolkit', 'tfx-edge')
                if point in _points_of(side, arguments.points)
            ),
        ]
        for side, point in keys:
            _print(dataset, point, side, [results[side, point] for results in of_seeds])


def _run_seed(
    arguments: argparse.Namespace, dataset: str, seed: int
) -> dict[tuple[str, str], dict[str, float]]:
    results: dict[tuple[str, str], dict[str, float]] = collections.defaultdict(dict)
    with tempfile.TemporaryDirectory() as work:
        for stage in ('toolkit', 'tfx-edge'):
            command = [sys.executable, __file__, '--stage', stage, '--dataset', dataset, '--seed', str(seed)]
            command += ['--work', work, '--data', str(arguments.data), '--steps', str(arguments.steps)]
            command += ['--points', *arguments.points, *(['--validation'] if arguments.validation else [])]
            for found in stage_results(command, keras_2=stage == 'toolkit'):
                results[found.pop('side'), found.pop('point')].update(found)
    return results


def rows_of_seed(
    script: str, arguments: argparse.Namespace, dataset: str, seed: int
) -> dict[str, dict[str, float]]:
    """Runs the two stages of a bench for one seed, each in a process of its own.

    Args:
      script: the bench, whose `--stage` prints lines of JSON with the name of a `row`.
      arguments: of the bench.
      dataset: its name.
      seed: of the base net, and of what is made of it.

    Returns:
      The figures by row.
    """
    found = {}
    with tempfile.TemporaryDirectory() as work:
        for stage in ('keras 2', 'tfx-edge'):
            command = [sys.executable, '-W', 'ignore', script, '--stage', stage, '--dataset', dataset]
            command += ['--seed', str(seed), '--work', work, '--data', str(arguments.data)]
            command += ['--steps', str(arguments.steps), '--courses', *arguments.courses]
            command += ['--validation'] if arguments.validation else []
            for figures in stage_results(command, keras_2=stage == 'keras 2'):
                found[figures.pop('row')] = figures
    return found


def stage_results(command: list[str], *, keras_2: bool) -> Iterator[dict[str, Any]]:
    """Runs a stage of a bench on one thread, and yields the JSON objects that it printed, a line each."""
    environment = {
        **os.environ,
        'TF_USE_LEGACY_KERAS': '1' if keras_2 else '0',
        'TF_CPP_MIN_LOG_LEVEL': '3',
        'TF_NUM_INTRAOP_THREADS': '1',
        'TF_NUM_INTEROP_THREADS': '1',
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    for line in done.stdout.splitlines():
        if line.startswith('{'):
            yield json.loads(line)


def _print(dataset: str, point: str, side: str, measured: list[Mapping[str, float]]) -> None:
    accuracies = [m['accuracy'] for m in measured]
    each = ' '.join(f'{100 * accuracy:.2f}' for accuracy in accuracies)
    size, zeros, seconds = (
        np.mean([m.get(key, 0.0) for m in measured]) for key in ('zip', 'zeros', 'seconds')
    )
    print(
        f'{dataset:8} {point or "-":12} {side:10} {100 * np.mean(accuracies):6.2f} ({each:23}) {size:12,.0f}'
        f'  {zeros:5.1%}  {seconds:7.1f}',
        flush=True,
    )


def _points_of(side: str, points: Sequence[str]) -> list[str]:
    """The toolkit ranks the weights of each layer apart, of all layers."""
    return [point for point in points if side != 'toolkit' or _kind(point)[0] not in ('global', 'hidden')]


def _kind(point: str) -> tuple[str, int]:
    kind, _, amount = point.partition(' ')
    return kind, int(amount or 50)


def common_arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser of what benches share: the data, the seeds, and what a stage gets of its run."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = pathlib.Path(__file__).parents[2] / '..' / 'shared' / 'data'
    parser.add_argument('--data', type=pathlib.Path, default=default, help='folder with the .npz files')
    parser.add_argument('--datasets', nargs='+', default=['signs', 'spoken'])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--processes', type=int, default=2, help='seeds that run at the same time')
    parser.add_argument(
        '--validation', action='store_true', help='test on a part of the training set: for tuning'
    )
    for hidden in ('--stage', '--dataset'):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument('--seed', type=int, help=argparse.SUPPRESS)
    parser.add_argument('--work', type=pathlib.Path, help=argparse.SUPPRESS)
    return parser


def _arguments() -> argparse.Namespace:
    parser = common_arguments(__doc__)
    parser.add_argument('--points', nargs='+', default=list(POINTS))
    parser.add_argument('--steps', type=int, default=600)
    return parser.parse_args()


if __name__ == '__main__':
    main()
