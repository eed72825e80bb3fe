"""What the whole chain costs when there are few examples: `make bench-little-data`.

Nets that were trained on all training examples, as their users did, are pruned, clustered and trained for int8 with
default options on some of these examples. Accuracy is that of the float file and of the int8 file, both run by LiteRT
on examples that nothing was trained or calibrated on; the table shows what each step costs, in points.

Each finished chain is kept in the folder `--cache`, from which an interrupted bench goes on; give another folder, or
empty it, after a change of the code.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from compression_bench import Data, batches, common_arguments, export, load_data, make_net, stage_results
from qat_bench import (
    add_compensation_argument,
    compressed,
    float_file,
    measure,
    quantization_aware,
    quantized,
)
from run_cache import Cache, add_cache_argument

_BASE_STEPS = 1500
STEPS = ('float', 'int8 after training', 'pruned', 'clustered', 'shipped')


def make_mobilenet(shape: tuple[int, ...]) -> Any:
    """A CNN of 30 thousand weights in the manner of MobileNetV2: inverted residuals around depthwise convolutions."""
    from tf_keras import Model, layers

    def convolved(x: Any, filters: int, size: int, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, size, strides, padding='same', use_bias=False)(x)
        return layers.BatchNormalization()(x)

    inputs = layers.Input(shape, name='image')
    x = layers.ReLU(6.0)(convolved(inputs, 16, 3))
    for filters, strides in ((16, 2), (16, 1), (24, 2), (24, 1), (32, 2), (32, 1)):
        wide = layers.ReLU(6.0)(convolved(x, 4 * x.shape[-1], 1))
        wide = layers.DepthwiseConv2D(3, strides, padding='same', use_bias=False)(wide)
        narrow = convolved(layers.ReLU(6.0)(layers.BatchNormalization()(wide)), filters, 1)
        x = layers.Add()([x, narrow]) if narrow.shape == x.shape else narrow
    x = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(convolved(x, 64, 1)))
    return Model(inputs, layers.Dense(10, activation='softmax')(x))


def make_resnet(shape: tuple[int, ...]) -> Any:
    """A CNN of 75 thousand weights in the manner of ResNet: three stages of one residual block of two convolutions."""
    from tf_keras import Model, layers

    inputs = layers.Input(shape, name='image')
    x = layers.ReLU()(
        layers.BatchNormalization()(layers.Conv2D(16, 3, padding='same', use_bias=False)(inputs))
    )
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = layers.Conv2D(filters, 3, strides, padding='same', use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding='same', use_bias=False)(y))
        if y.shape != x.shape:
            x = layers.BatchNormalization()(layers.Conv2D(filters, 1, strides, use_bias=False)(x))
        x = layers.ReLU()(layers.Add()([x, y]))
    return Model(inputs, layers.Dense(10, activation='softmax')(layers.GlobalAveragePooling2D()(x)))


NETS: Mapping[str, Callable[[tuple[int, ...]], Any]] = {
    'table': make_net,
    'mobilenet': make_mobilenet,
    'resnet': make_resnet,
}


def train_stage(arguments: argparse.Namespace) -> None:
    """Trains the net on all examples, in a process of Keras 2."""
    data = load_data(arguments.data, arguments.dataset, validation=arguments.validation)
    Cache(arguments.work).made('base', lambda folder: _train(arguments, data, folder / 'base'))


def _train(arguments: argparse.Namespace, data: Data, folder: pathlib.Path) -> None:
    import tf_keras

    tf_keras.utils.set_random_seed(arguments.seed)
    model = NETS[arguments.net](data.x_train.shape[1:])
    schedule = tf_keras.optimizers.schedules.CosineDecay(1e-3, _BASE_STEPS)
    model.compile(tf_keras.optimizers.Adam(schedule), 'sparse_categorical_crossentropy')
    for _, batch in zip(range(_BASE_STEPS), batches(data, arguments.seed), strict=False):
        model.train_on_batch(*batch)
    export(model, folder)


def compress_stage(arguments: argparse.Namespace) -> None:
    """Runs the chain on each number of examples, and prints the accuracies of each."""
    data = load_data(arguments.data, arguments.dataset, validation=arguments.validation)
    cache = Cache(arguments.work)
    base = arguments.work / 'base' / 'base'
    for number in arguments.examples:
        if cache.found(run_name(number, arguments)) is None:
            with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
                found = _chain(arguments, pathlib.Path(folder), base, few(data, number, arguments.seed), data)
            cache.keep(run_name(number, arguments), found)


def _chain(
    arguments: argparse.Namespace, folder: pathlib.Path, base: pathlib.Path, some: Data, data: Data
) -> dict[str, float]:
    """The accuracy after each step of the chain."""
    base = shutil.copytree(base, folder / 'base')
    pruned = compressed(arguments, base, some, 'prune')
    clustered = compressed(arguments, pruned, some, 'cluster')
    files = {
        'float': float_file(base),
        'int8 after training': quantized(base, some),
        'pruned': float_file(pruned),
        'clustered': float_file(clustered),
    }
    found = {name: measure(file, data)['accuracy'] for name, file in files.items()}
    return {**found, 'shipped': quantization_aware(arguments, clustered, some)['accuracy']}


def run_name(examples: int, arguments: argparse.Namespace) -> str:
    """The name of a chain in the cache."""
    asked = '' if arguments.compensation == 'FEW_EXAMPLES' else f', compensation {arguments.compensation}'
    return f'{examples or "all"} examples, {arguments.steps} steps{asked}'


def few(data: Data, number: int, seed: int) -> Data:
    """So many of the training examples; all for 0."""
    chosen = np.random.default_rng([seed, 1]).permutation(len(data.x_train))[: number or None]
    return dataclasses.replace(data, x_train=data.x_train[chosen], y_train=data.y_train[chosen])


def main() -> None:
    """Runs all seeds, and prints one line for each set, net and number of examples."""
    arguments = _arguments()
    if arguments.stage:
        {'train': train_stage, 'compress': compress_stage}[arguments.stage](arguments)
        return
    print(
        f'defaults but for {arguments.steps} steps; int8: what it loses to the float file, in points (each seed)'
    )
    print('dataset  net        examples    float  int8 after training   pruned  clustered  shipped')
    with tempfile.TemporaryDirectory() as temporary:
        cache = arguments.cache or pathlib.Path(temporary)
        nets = [(dataset, net) for dataset in arguments.datasets for net in arguments.nets]
        with concurrent.futures.ThreadPoolExecutor(arguments.processes) as pool:
            runs = {
                net: [pool.submit(_run_seed, arguments, cache, *net, seed) for seed in arguments.seeds]
                for net in nets
            }
            for net, of_net in runs.items():
                of_seeds = [run.result() for run in of_net]
                for number in arguments.examples:
                    _print(*net, number, [found[number] for found in of_seeds])


def _run_seed(
    arguments: argparse.Namespace, cache: pathlib.Path, dataset: str, net: str, seed: int
) -> dict[int, dict[str, float]]:
    work = cache / f'{dataset} {net} {seed}{" validation" if arguments.validation else ""}'
    for stage in ('train', 'compress'):
        command = [sys.executable, '-W', 'ignore', __file__, '--stage', stage, '--dataset', dataset]
        command += ['--net', net, '--seed', str(seed), '--work', str(work), '--data', str(arguments.data)]
        command += ['--steps', str(arguments.steps), '--examples', *map(str, arguments.examples)]
        command += ['--validation'] if arguments.validation else []
        command += ['--compensation', arguments.compensation]
        for _ in stage_results(command, keras_2=stage == 'train'):
            pass  # a stage leaves its results in the cache
    return {number: Cache(work).found(run_name(number, arguments)) or {} for number in arguments.examples}


def _print(dataset: str, net: str, number: int, of_seeds: list[dict[str, float]]) -> None:
    mean = {step: float(np.mean([found[step] for found in of_seeds])) for step in STEPS}
    each = ' '.join(f'{100 * (found["float"] - found["shipped"]):.2f}' for found in of_seeds)
    lost = {step: 100 * (mean['float'] - mean[step]) for step in STEPS}
    print(
        f'{dataset:8} {net:10} {number or "all":>8} {100 * mean["float"]:8.2f} {lost["int8 after training"]:20.2f}'
        f' {lost["pruned"]:8.2f} {lost["clustered"]:10.2f} {lost["shipped"]:8.2f} ({each})',
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = common_arguments(__doc__)
    parser.add_argument('--nets', nargs='+', choices=list(NETS), default=list(NETS))
    parser.add_argument('--examples', nargs='+', type=int, default=[200, 500, 0], help='0 for all')
    parser.add_argument('--steps', type=int, default=1000, help='of each training')
    add_compensation_argument(parser)
    add_cache_argument(parser)
    parser.add_argument('--net', help=argparse.SUPPRESS)
    parser.set_defaults(zeros=50, clusters=16)
    return parser.parse_args()


if __name__ == '__main__':
    main()
