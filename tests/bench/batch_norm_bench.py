"""What re-estimating batch norm's statistics is worth: `make bench-batch-norm`.

The nets, data and options of `compression_bench.py`. Each net is compressed once; its SavedModel is measured in
float, on examples that nothing was trained on, as compressed and with the statistics of so many training batches.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np
from compression_bench import BATCH, RATE, Data, batches, export, load_data, train_base

# (what, how much, steps): percent of zeros, or clusters.
POINTS = (('sparse', 90, 600), ('sparse', 75, 0), ('clusters', 8, 600))


def compress(
    source: str, data: Data, point: tuple[str, int, int], seed: int, counts: list[int]
) -> list[dict[str, np.ndarray]]:
    """The values of the compressed net with its statistics as they came, then re-estimated on each count."""
    from tfx_edge import proto
    from tfx_edge.components.clusterer.options import clustering_options
    from tfx_edge.components.core.compression.batch_norm import re_estimate
    from tfx_edge.components.core.compression.clustering import cluster
    from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
    from tfx_edge.components.core.compression.pruning import prune
    from tfx_edge.components.core.dense_function.choice import choose_signature
    from tfx_edge.components.pruner.options import pruning_options
    from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

    kind, amount, steps = point
    graph = ServingGraph(source, choose_signature(source, ''))
    (name,) = graph.inputs

    def stream() -> Iterator[dict[str, np.ndarray]]:
        return ({name: images} for images, _ in batches(data, seed))

    options = fine_tuning_options(
        proto.FineTuning(num_steps=steps, batch_size=BATCH, learning_rate=RATE, seed=seed)
    )
    if kind == 'clusters':
        clustering = clustering_options(proto.Clustering(number_of_clusters=amount))
        values = cluster(graph, clustering, options, stream())
    else:
        pruning = pruning_options(proto.Pruning(target_sparsity=amount / 100))
        values = prune(graph, pruning, options, stream())
    return [values, *({**values, **re_estimate(graph, values, stream(), count)} for count in counts)]


def accuracy(source: str, values: Mapping[str, np.ndarray], data: Data) -> float:
    """The share of held-out examples that the float SavedModel gets right with these values."""
    import tensorflow as tf

    from tfx_edge.components.core.compression.graph.checkpoint import write_with_values

    with tempfile.TemporaryDirectory() as target:
        write_with_values(source, target, values)
        function = tf.saved_model.load(target).signatures['serving_default']
        (output,) = function(image=tf.constant(data.x_test)).values()
    return float(np.mean(np.argmax(output, 1) == data.y_test))


def main() -> None:
    """Trains each seed's net, compresses it at each point, and prints one line for each point."""
    arguments = _arguments()
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    columns = [f'{count} batches' for count in arguments.batches]
    print('accuracy of the float SavedModel: mean (each seed)')
    print(_line('dataset', 'point', ['as it came', *columns]))
    for dataset in arguments.datasets:
        data = load_data(arguments.data, dataset)
        measured: dict[tuple[str, int, int], list[list[float]]] = {point: [] for point in POINTS}
        floats = []
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as source:
                export(train_base(data, seed), pathlib.Path(source))
                floats.append(accuracy(source, {}, data))
                for point in POINTS:
                    variants = compress(source, data, point, seed, arguments.batches)
                    measured[point].append([accuracy(source, values, data) for values in variants])
        print(_line(dataset, 'float net', [_summary(floats)]), flush=True)
        for (kind, amount, steps), rows in measured.items():
            cells = [_summary(column) for column in zip(*rows, strict=True)]
            print(_line(dataset, f'{kind} {amount}, {steps} steps', cells), flush=True)


def _line(dataset: str, point: str, cells: list[str]) -> str:
    return f'{dataset:8} {point:24} {" ".join(f"{cell:32}" for cell in cells)}'.rstrip()


def _summary(accuracies: list[float] | tuple[float, ...]) -> str:
    return f'{np.mean(accuracies):.4f} ({" ".join(f"{value:.4f}" for value in accuracies)})'


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    default = pathlib.Path(__file__).parents[2] / '..' / 'shared' / 'data'
    parser.add_argument('--data', type=pathlib.Path, default=default, help='folder with the .npz files')
    parser.add_argument('--datasets', nargs='+', default=['signs', 'spoken'])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--batches', nargs='+', type=int, default=[10, 50], help='to re-estimate on')
    return parser.parse_args()


if __name__ == '__main__':
    main()
