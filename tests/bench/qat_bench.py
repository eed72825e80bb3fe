"""Quantization-aware training beside TensorFlow Model Optimization: `make bench-qat`.

The data and the net of `compression_bench.py`; every training, ours and the toolkit's, takes the same steps, batch
size and learning rate. The toolkit trains on labels and converts its model by itself, as its users do; tfx-edge
distils with its default options, holds a sixteenth of the training examples out as QATTrainer does, and quantizes
with the ranges that it trained. Accuracy is that of the file, run by LiteRT on examples that nothing was trained
or calibrated on. Tables:

- qat: float, int8 after training (minimum and maximum of 200 training examples), the toolkit's QAT, ours.
- combined: zeros, clusters or both, each kept by the QAT that follows: int8 files, beside plain QAT's.
- int4: weights of four bits after training and trained, in a small net, and what its float file reaches.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import itertools
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from compression_bench import (
    BATCH,
    RATE,
    Data,
    batches,
    common_arguments,
    export,
    load_data,
    stage_results,
    train_base,
)

_BASE_STEPS = 1500
# Filters and strides of the convolutions of the net for four bits.
_SMALL_NET = ((8, 1), (16, 2), (16, 1), (16, 1), (24, 2), (24, 1), (24, 1), (32, 2), (32, 1))
_CALIBRATED = 200
TOOLKIT = 'toolkit.tflite'
# What comes before quantization-aware training.
_COURSES = {'PQAT': ('prune',), 'CQAT': ('cluster',), 'PCQAT': ('prune', 'cluster')}
TABLES = {
    'qat': ('float', 'int8 after training', 'toolkit QAT', 'tfx-edge QAT'),
    'combined': ('QAT', *_COURSES),
    'int4': ('float', 'int8 after training', 'int4 after training', 'int4 QAT'),
}


def train_small(data: Data, seed: int) -> Any:
    """A net whose weights four bits are too few for, unless they are trained for them."""
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    model = make_small_net(data.x_train.shape[1:])
    schedule = tf_keras.optimizers.schedules.CosineDecay(1e-3, _BASE_STEPS)
    model.compile(tf_keras.optimizers.Adam(schedule), 'sparse_categorical_crossentropy')
    for _, batch in zip(range(_BASE_STEPS), batches(data, seed), strict=False):
        model.train_on_batch(*batch)
    return model


def make_small_net(shape: tuple[int, ...]) -> Any:
    """A CNN of 36 thousand weights: nine convolutions with batch norm, three of them with strides, and their mean."""
    from tf_keras import Sequential, layers

    parts = [layers.Input(shape, name='image')]
    for filters, strides in _SMALL_NET:
        parts += [
            layers.Conv2D(filters, 3, strides, padding='same', use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]
    return Sequential([*parts, layers.GlobalAveragePooling2D(), layers.Dense(10, activation='softmax')])


def keras_2_stage(arguments: argparse.Namespace) -> None:
    """Trains what both sides start from, and runs the toolkit, in a process of Keras 2."""
    data = load_data(arguments.data, arguments.dataset, validation=arguments.validation)
    if {'qat', 'combined'} & set(arguments.tables):
        base = train_base(data, arguments.seed)
        export(base, arguments.work / 'base')
        if 'qat' in arguments.tables:
            _report('qat', 'toolkit QAT', seconds=by_toolkit(arguments, data, base))
    if 'int4' in arguments.tables:
        export(train_small(data, arguments.seed), arguments.work / 'small')


def by_toolkit(arguments: argparse.Namespace, data: Data, base: Any) -> float:
    """Writes the toolkit's file to `work`; returns the seconds of training."""
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tf_keras.utils.set_random_seed(arguments.seed)
    model = tfmot.quantization.keras.quantize_model(base)
    model.compile(tf_keras.optimizers.Adam(RATE), 'sparse_categorical_crossentropy')
    started = time.monotonic()
    model.fit(batches(data, arguments.seed), steps_per_epoch=arguments.steps, epochs=1, verbose=0)
    seconds = time.monotonic() - started
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    (arguments.work / TOOLKIT).write_bytes(converter.convert())
    return seconds


def tfx_edge_stage(arguments: argparse.Namespace) -> None:
    """Runs tfx-edge from the same nets, and measures all files."""
    data = load_data(arguments.data, arguments.dataset, validation=arguments.validation)
    tables, base = arguments.tables, arguments.work / 'base'
    plain = quantization_aware(arguments, base, data) if base.exists() else {}
    if 'qat' in tables:
        _report('qat', 'float', **measure(float_file(base), data))
        _report('qat', 'int8 after training', **measure(quantized(base, data), data))
        _report('qat', 'toolkit QAT', **measure((arguments.work / TOOLKIT).read_bytes(), data))
        _report('qat', 'tfx-edge QAT', **plain)
    if 'combined' in tables:
        _report('combined', 'QAT', **plain)
        for name, course in _COURSES.items():
            folder = base
            for technique in course:
                folder = compressed(arguments, folder, data, technique)
            _report('combined', name, **quantization_aware(arguments, folder, data))
    if 'int4' in tables:
        small = arguments.work / 'small'
        _report('int4', 'float', **measure(float_file(small), data))
        _report('int4', 'int8 after training', **measure(quantized(small, data), data))
        _report('int4', 'int4 after training', **measure(quantized(small, data, weight_bits=4), data))
        _report('int4', 'int4 QAT', **quantization_aware(arguments, small, data, weight_bits=4))


def compressed(
    arguments: argparse.Namespace, source: pathlib.Path, data: Data, technique: str
) -> pathlib.Path:
    """The SavedModel that pruning or clustering makes of another, beside it; made once."""
    from tfx_edge import proto
    from tfx_edge.components.clusterer.options import clustering_options
    from tfx_edge.components.core.compression.clustering import cluster
    from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
    from tfx_edge.components.core.compression.pruning import prune
    from tfx_edge.components.pruner.options import pruning_options

    target = source.with_name(f'{source.name} {technique}')
    if target.exists():
        return target
    graph, options = _graph(source), _fine_tuning(arguments, data)
    if technique == 'cluster':
        clustering = clustering_options(proto.Clustering(number_of_clusters=arguments.clusters))
        values = cluster(graph, clustering, options, _features(arguments, graph, data))
    else:
        pruning = pruning_options(
            proto.Pruning(target_sparsity=arguments.zeros / 100, compensation=arguments.compensation)
        )
        values = prune(graph, pruning, options, _features(arguments, graph, data))
    target.mkdir()
    write_with_values(str(source), str(target), values)
    return target


def quantization_aware(
    arguments: argparse.Namespace, source: pathlib.Path, data: Data, *, weight_bits: int = 8
) -> dict[str, float]:
    """Figures of the file of `trained_file` and of its likeness to the simulation."""
    file, figures = trained_file(arguments, source, data, weight_bits=weight_bits)
    return {**measure(file, data), **figures}


def trained_file(
    arguments: argparse.Namespace, source: pathlib.Path, data: Data, *, weight_bits: int = 8
) -> tuple[bytes, dict[str, float]]:
    """What QATTrainer does, without a pipeline: the file, its likeness to the simulation, and the seconds."""
    from tfx_edge import proto
    from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
    from tfx_edge.components.core.compression.quantization_aware_training import (
        CALIBRATION_BATCHES,
        train_quantization_aware,
    )
    from tfx_edge.components.core.litert.quantization.quantize import quantize_model
    from tfx_edge.components.core.qat.deployment import plan_deployment, trained_ranges
    from tfx_edge.components.core.qat.held_out_examples import split_held_out
    from tfx_edge.components.core.qat.parity import measure_parity
    from tfx_edge.components.qat_trainer.options import qat_options

    graph = _graph(source)
    options = qat_options(proto.QuantizationAwareTraining(weight_bits=weight_bits))
    _, stream = split_held_out(_features(arguments, graph, data), list(graph.inputs))
    seen = list(itertools.islice(stream, CALIBRATION_BATCHES))
    deployment = plan_deployment(graph, options, seen[0])
    started = time.monotonic()
    result = train_quantization_aware(
        graph, options, _fine_tuning(arguments, data), itertools.chain(seen, stream), deployment.arithmetic
    )
    seconds = time.monotonic() - started
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        write_with_values(str(source), folder, result.values)
        float_model = float_file(pathlib.Path(folder))
    file = quantize_model(
        float_model, deployment.options, trained_ranges(deployment, result.ranges, float_model, seen)
    )
    samples = dict.fromkeys(graph.inputs, data.x_test)
    parity = measure_parity(graph, deployment, result, float_model, file, samples)
    return file, {'agreement': parity.agreement or 0.0, 'within 2': parity.within_2, 'seconds': seconds}


def quantized(source: pathlib.Path, data: Data, *, weight_bits: int = 8) -> bytes:
    """The file of integers that is made without training, over the smallest and largest value of each activation."""
    from tfx_edge import proto
    from tfx_edge.components.core.litert.quantization.quantize import quantize_model
    from tfx_edge.components.core.qat.deployment import plan_deployment, trained_ranges
    from tfx_edge.components.qat_trainer.options import qat_options

    graph, model = _graph(source), float_file(source)
    options = qat_options(proto.QuantizationAwareTraining(weight_bits=weight_bits))
    chosen = np.random.default_rng(0).permutation(len(data.x_train))[:_CALIBRATED]
    examples = dict.fromkeys(graph.inputs, data.x_train[chosen])
    plan = plan_deployment(graph, options, None)
    return quantize_model(model, plan.options, trained_ranges(plan, {}, model, [examples]))


def float_file(folder: pathlib.Path) -> bytes:
    """The `.tflite` file of a SavedModel."""
    from tfx_edge.components.core.dense_function.choice import choose_signature
    from tfx_edge.components.core.litert.conversion.convert import convert_saved_model

    return convert_saved_model(str(folder), choose_signature(str(folder)).name)


def measure(file: bytes, data: Data) -> dict[str, float]:
    """Accuracy of a file with float input and output, its bytes, and what its kernels hold."""
    from tfx_edge.components.core.evaluation.model_files.sizes import zip_bytes
    from tfx_edge.components.core.litert.file.inspect import inspect_model
    from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

    content = inspect_model(file)
    (name,) = content.inputs
    (predictions,) = LiteRTModel(file)({name: data.x_test}).values()
    return {
        'accuracy': float(np.mean(predictions.argmax(1) == data.y_test)),
        'bytes': len(file),
        'zip': zip_bytes(file),
        'zeros': content.kernel_zeros,
        'distinct': content.kernel_max_distinct,
        'integer': content.integer_coverage,
    }


def _graph(folder: pathlib.Path) -> Any:
    from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
    from tfx_edge.components.core.dense_function.choice import choose_signature

    return ServingGraph(str(folder), choose_signature(str(folder)))


def _fine_tuning(arguments: argparse.Namespace, data: Data) -> Any:
    from tfx_edge import proto
    from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

    options = fine_tuning_options(
        proto.FineTuning(num_steps=arguments.steps, batch_size=BATCH, seed=arguments.seed)
    )
    return dataclasses.replace(options, num_examples=len(data.x_train))


def _features(arguments: argparse.Namespace, graph: Any, data: Data) -> Iterator[dict[str, np.ndarray]]:
    (name,) = graph.inputs
    return ({name: images} for images, _ in batches(data, arguments.seed))


def _report(table: str, row: str, **figures: float) -> None:
    print(json.dumps({'table': table, 'row': row, **figures}), flush=True)


def main() -> None:
    """Runs all seeds, and prints the tables."""
    arguments = _arguments()
    if arguments.stage:
        stages = {'keras 2': keras_2_stage, 'tfx-edge': tfx_edge_stage}
        stages[arguments.stage](arguments)
        return
    print(
        f'{arguments.steps} steps each, {arguments.zeros} % zeros, {arguments.clusters} clusters; mean (each seed)'
    )
    for dataset in arguments.datasets:
        # Four bits are tried on the photographs alone.
        tables = [table for table in arguments.tables if table != 'int4' or dataset == 'signs']
        with concurrent.futures.ThreadPoolExecutor(arguments.processes) as pool:
            of_seeds = list(
                pool.map(
                    lambda seed, name=dataset, wanted=tables: _run_seed(arguments, name, wanted, seed),
                    arguments.seeds,
                )
            )
        for table in tables:
            _print(dataset, table, [results[table] for results in of_seeds])


def _run_seed(
    arguments: argparse.Namespace, dataset: str, tables: list[str], seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    results: dict[str, dict[str, dict[str, float]]] = collections.defaultdict(
        lambda: collections.defaultdict(dict)
    )
    with tempfile.TemporaryDirectory() as work:
        for stage in ('keras 2', 'tfx-edge') if tables else ():
            command = [sys.executable, '-W', 'ignore', __file__, '--stage', stage, '--dataset', dataset]
            command += ['--seed', str(seed), '--work', work, '--data', str(arguments.data)]
            command += ['--steps', str(arguments.steps), '--tables', *tables]
            command += ['--zeros', str(arguments.zeros), '--clusters', str(arguments.clusters)]
            command += ['--validation'] if arguments.validation else []
            command += ['--compensation', arguments.compensation]
            for found in stage_results(command, keras_2=stage == 'keras 2'):
                results[found.pop('table')][found.pop('row')].update(found)
    return results


def _print(dataset: str, table: str, of_seeds: list[Mapping[str, Mapping[str, float]]]) -> None:
    print(
        f'\n{dataset + ", " + table:20} accuracy                              file bytes  zip bytes  to first '
        ' zeros  distinct  integer  agree  within 2  seconds'
    )
    first, *_ = TABLES[table]
    for row in TABLES[table]:
        measured = [results[row] for results in of_seeds]
        each = ' '.join(f'{100 * figures["accuracy"]:.2f}' for figures in measured)
        mean = {key: float(np.mean([figures[key] for figures in measured])) for key in measured[0]}
        ratio = np.mean([results[row]['zip'] / results[first]['zip'] for results in of_seeds])
        likeness = f'{mean["agreement"]:7.2%} {mean["within 2"]:8.2%}' if 'agreement' in mean else f'{"":16}'
        seconds = f'{mean["seconds"]:8.1f}' if 'seconds' in mean else ''
        most = max(figures['distinct'] for figures in measured)
        print(
            f'{row:20} {100 * mean["accuracy"]:6.2f} ({each:23}) {mean["bytes"]:14,.0f} {mean["zip"]:10,.0f}'
            f' {ratio:9.3f}  {mean["zeros"]:5.1%}  {most:8.0f}  {mean["integer"]:7.1%} {likeness} {seconds}',
            flush=True,
        )


def add_compensation_argument(parser: argparse.ArgumentParser) -> None:
    """Lets the user see what `Pruning.compensation` is worth."""
    choices = ['FEW_EXAMPLES', 'ALWAYS', 'NEVER']
    parser.add_argument(
        '--compensation', choices=choices, default=choices[0], help='of Pruning; default: %(default)s'
    )


def _arguments() -> argparse.Namespace:
    parser = common_arguments(__doc__)
    parser.add_argument('--tables', nargs='+', choices=list(TABLES), default=list(TABLES))
    parser.add_argument('--steps', type=int, default=1000, help='of each training')
    parser.add_argument('--zeros', type=int, default=50, help='percent, of pruning in the table combined')
    parser.add_argument('--clusters', type=int, default=16, help='in the table combined')
    add_compensation_argument(parser)
    return parser.parse_args()


if __name__ == '__main__':
    main()
