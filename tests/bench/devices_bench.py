"""What zeros and codebooks save on devices: `make bench-devices`.

The data and the net of `compression_bench.py`, compressed and then trained for int8, each with the same steps, by
tfx-edge at its defaults. Of each int8 file: its accuracy, the bytes of its DEFLATE zip, the bytes of the file that
`Quantization.for_micro` makes of it for TensorFlow Lite Micro (proved on the examples that accuracy is of), the flash
and the cycles that Arm's Vela reports. Ratios are those to the file without compression, the mean over the seeds.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from compression_bench import (
    BATCH,
    Data,
    batches,
    common_arguments,
    export,
    load_data,
    rows_of_seed,
    train_base,
)
from qat_bench import measure, trained_file

# By name in the table, what Pruner and Clusterer are asked for.
COURSES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    'int8': (),
    '50 % zeros': ({'target_sparsity': 0.5},),
    '75 % zeros': ({'target_sparsity': 0.75, 'scope': 'GLOBAL'},),
    '2 of 4 zero': ({'structure': {'m_of_n': {'m': 2, 'n': 4}}},),
    '16 clusters': ({'number_of_clusters': 16},),
    '8 clusters': ({'number_of_clusters': 8},),
    '50 % zeros, 16 clusters': ({'target_sparsity': 0.5}, {'number_of_clusters': 16}),
}
DEVICES = ('ethos-u55-128', 'ethos-u65-256', 'ethos-u85-256')
# The figure that a device is known for, in the table.
_FIGURES = (
    ('zip', 'zip bytes'),
    ('micro', 'TFLM bytes'),
    ('ethos-u55-128 flash_bytes', 'U55 flash'),
    ('ethos-u65-256 cycles', 'U65 cycles'),
    ('ethos-u85-256 cycles', 'U85 cycles'),
)


def keras_2_stage(arguments: argparse.Namespace) -> None:
    """Trains what all start from, in a process of Keras 2."""
    data = load_data(arguments.data, arguments.dataset, validation=arguments.validation)
    export(train_base(data, arguments.seed), arguments.work / 'base')


def tfx_edge_stage(arguments: argparse.Namespace) -> None:
    """Makes the file of each course, and measures it."""
    data = load_data(arguments.data, arguments.dataset, validation=arguments.validation)
    for course in arguments.courses:
        folder = arguments.work / 'base'
        for number, asked in enumerate(COURSES[course]):
            target = arguments.work / f'{course} {number}'
            compress(arguments, folder, target, data, asked)
            folder = target
        file, _ = trained_file(arguments, folder, data)
        figures = {**measure(file, data), **costs(file, data)}
        print(json.dumps({'row': course, **figures}), flush=True)


def compress(
    arguments: argparse.Namespace,
    source: pathlib.Path,
    target: pathlib.Path,
    data: Data,
    asked: Mapping[str, Any],
) -> None:
    """Writes the SavedModel that Pruner or Clusterer makes of another."""
    from tfx_edge import proto
    from tfx_edge.components.clusterer.options import clustering_options
    from tfx_edge.components.core.compression.clustering import cluster
    from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
    from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
    from tfx_edge.components.core.compression.pruning import prune
    from tfx_edge.components.core.dense_function.choice import choose_signature
    from tfx_edge.components.pruner.options import pruning_options
    from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

    graph = ServingGraph(str(source), choose_signature(str(source)))
    (name,) = graph.inputs
    settings = proto.FineTuning(num_steps=arguments.steps, batch_size=BATCH, seed=arguments.seed)
    options = dataclasses.replace(fine_tuning_options(settings), num_examples=len(data.x_train))
    stream = ({name: images} for images, _ in batches(data, arguments.seed))
    if 'number_of_clusters' in asked:
        values = cluster(graph, clustering_options(proto.Clustering(**asked)), options, stream)
    else:
        values = prune(graph, pruning_options(proto.Pruning(**asked)), options, stream)
    target.mkdir()
    write_with_values(str(source), str(target), values)


def costs(file: bytes, data: Data) -> dict[str, float]:
    """Bytes for microcontrollers, where the file becomes smaller for them, and what Vela reports."""
    from tfx_edge.components.core.devices import look_up_tables
    from tfx_edge.components.core.devices.profile import profile
    from tfx_edge.components.core.errors import EdgeError
    from tfx_edge.components.core.isolation.isolated_process import run_isolated
    from tfx_edge.components.core.litert.file.inspect import inspect_model
    from tfx_edge.components.core.litert.file.model_file import ModelFile

    (name,) = inspect_model(file).inputs
    try:
        micro = len(run_isolated(look_up_tables.make, ModelFile.of(file), {name: data.x_test}).data)
    except EdgeError as error:
        if 'no kernel of the file becomes smaller' not in str(error):
            raise
        micro = len(file)
    found: dict[str, float] = {'micro': micro}
    for device in DEVICES:
        reported = profile(file, device)
        for figure in ('cycles', 'flash_bytes', 'dram_bytes', 'sram_bytes'):
            value = getattr(reported, figure)
            if value is not None:
                found[f'{device} {figure}'] = value
    return found


def main() -> None:
    """Runs all seeds, and prints a table for each data set."""
    arguments = _arguments()
    if arguments.stage:
        {'keras 2': keras_2_stage, 'tfx-edge': tfx_edge_stage}[arguments.stage](arguments)
        return
    print(
        f'{arguments.steps} steps each; accuracy: mean (each seed); then the figure, and its ratio to that of int8'
    )
    for dataset in arguments.datasets:
        with concurrent.futures.ThreadPoolExecutor(arguments.processes) as pool:
            of_seeds = list(
                pool.map(
                    lambda seed, name=dataset: rows_of_seed(__file__, arguments, name, seed), arguments.seeds
                )
            )
        _print(dataset, arguments.courses, of_seeds)


def _print(dataset: str, courses: list[str], of_seeds: list[dict[str, dict[str, float]]]) -> None:
    print(f'\n{dataset:24} accuracy                       {"".join(f"{title:>20}" for _, title in _FIGURES)}')
    for course in courses:
        measured = [results[course] for results in of_seeds]
        each = ' '.join(f'{100 * figures["accuracy"]:.2f}' for figures in measured)
        columns = ''
        for key, _ in _FIGURES:
            value = np.mean([figures[key] for figures in measured])
            ratio = np.mean([results[course][key] / results[courses[0]][key] for results in of_seeds])
            columns += f'{value:13,.0f} {ratio:6.3f}'
        accuracy = np.mean([figures['accuracy'] for figures in measured])
        print(f'{course:24} {100 * accuracy:6.2f} ({each:23}){columns}', flush=True)


def _arguments() -> argparse.Namespace:
    parser = common_arguments(__doc__)
    parser.add_argument('--courses', nargs='+', choices=list(COURSES), default=list(COURSES))
    parser.add_argument('--steps', type=int, default=1000)
    return parser.parse_args()


if __name__ == '__main__':
    main()
