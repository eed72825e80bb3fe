"""What a constraint costs in each training step: `make bench-step-cost`.

A dense net of 2.1 million weights and the small convolutional net of `compression_bench.py`, on one thread, batches
of 64. Each side is compared with its own loop without a constraint (tfx-edge distils, the toolkit trains on labels),
and with that of the toolkit, which is Keras 2's `fit`; each in a process of its own, in turn; of the rounds the median
counts. Time is that of the processor, which other programs on the machine change little; peak memory is that of the
process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

_WIDTHS, _BATCH = (1024, 1024, 256, 10), 64
_SHAPES = {'dense': (784,), 'convolutional': (32, 32, 1)}
_CASES = {'dense': ('float', 'prune', 'cluster 32', 'qat'), 'convolutional': ('float', 'qat')}


def make_net(net: str) -> Any:
    """784, 1024, 1024, 256 and 10 units, or three convolutions with batch norm and two dense layers."""
    from tf_keras import Sequential, layers

    if net == 'convolutional':
        import compression_bench

        return compression_bench.make_net(_SHAPES[net])
    hidden = [layers.Dense(width, activation='relu') for width in _WIDTHS[:-1]]
    return Sequential(
        [layers.Input(_SHAPES[net], name='image'), *hidden, layers.Dense(_WIDTHS[-1], activation='softmax')]
    )


class Stream:
    """Endless batches that note the processor time at which each was asked for."""

    def __init__(self, net: str) -> None:
        random = np.random.default_rng(0)
        self.images = random.random((_BATCH * 8, *_SHAPES[net]), np.float32)
        self.labels = random.integers(0, _WIDTHS[-1], _BATCH * 8)
        self.times: list[float] = []

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            for start in range(0, len(self.images), _BATCH):
                self.times.append(time.process_time())
                yield self.images[start : start + _BATCH], self.labels[start : start + _BATCH]

    def milliseconds(self, steps: int) -> float:
        """Mean of the steps but the first tenth, which holds what is compiled once."""
        return 1000 * (self.times[steps - 1] - self.times[steps // 10]) / (steps - 1 - steps // 10)


def by_tfx_edge(net: str, case: str, steps: int, folder: str) -> Stream:
    """Runs our training loop."""
    import tensorflow as tf

    from tfx_edge import proto
    from tfx_edge.components.clusterer.options import clustering_options
    from tfx_edge.components.core.compression.clustering import cluster
    from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
    from tfx_edge.components.core.compression.pruning import prune
    from tfx_edge.components.core.compression.quantization_aware_training import train_quantization_aware
    from tfx_edge.components.core.compression.training.fine_tuning import fine_tune
    from tfx_edge.components.core.dense_function.choice import choose_signature
    from tfx_edge.components.core.qat.deployment import plan_deployment
    from tfx_edge.components.pruner.options import pruning_options
    from tfx_edge.components.qat_trainer.options import qat_options
    from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

    graph = ServingGraph(folder, choose_signature(folder, ''))
    (name,) = graph.inputs
    options = fine_tuning_options(proto.FineTuning(num_steps=steps, batch_size=_BATCH), has_module=False)
    stream = Stream(net)
    batches = ({name: images} for images, _ in stream)
    if case == 'prune':
        prune(graph, pruning_options(proto.Pruning(target_sparsity=0.8)), options, batches)
    elif case == 'cluster 32':
        cluster(graph, clustering_options(proto.Clustering(number_of_clusters=32)), options, batches)
    elif case == 'qat':
        qat, first = qat_options(proto.QuantizationAwareTraining()), next(batches)
        arithmetic = plan_deployment(graph, qat, first).arithmetic
        train_quantization_aware(graph, qat, options, itertools.chain([first], batches), arithmetic)
    else:
        variables = {v.key: tf.Variable(v.value) for v in graph.variables if v.trainable}

        def forward(inputs: Any, fetch: Any) -> Any:
            return graph.call(inputs, {key: tf.identity(v) for key, v in variables.items()}, fetch)

        fine_tune(graph, forward, list(variables.values()), batches, options)
    return stream


def by_toolkit(net: str, case: str, steps: int, folder: str) -> Stream:
    """Runs Keras 2's own loop on the toolkit's model."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    model, callbacks = make_net(net), []
    if case == 'prune':
        schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.8, 0, steps * 3 // 4)
        model = tfmot.sparsity.keras.prune_low_magnitude(model, schedule)
        callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    elif case == 'cluster 32':
        start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
        model = tfmot.clustering.keras.cluster_weights(
            model, number_of_clusters=32, cluster_centroids_init=start
        )
    elif case == 'qat':
        model = tfmot.quantization.keras.quantize_model(model)
    model.compile(tf_keras.optimizers.Adam(1e-3), 'sparse_categorical_crossentropy')
    stream = Stream(net)
    model.fit(iter(stream), steps_per_epoch=steps, epochs=1, verbose=0, callbacks=callbacks)
    return stream


def main() -> None:
    """Runs all cases in turn, and prints one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--steps', type=int, default=600)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--nets', nargs='+', choices=list(_CASES), default=list(_CASES))
    parser.add_argument('--cases', nargs='+', default=['prune', 'cluster 32', 'qat'], help='beside float')
    for hidden in ('--side', '--net', '--case', '--folder'):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side == 'export':
        from compression_bench import export

        export(make_net(arguments.net), pathlib.Path(arguments.folder))
    elif arguments.side:
        run = by_tfx_edge if arguments.side == 'tfx-edge' else by_toolkit
        stream = run(arguments.net, arguments.case, arguments.steps, arguments.folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({'milliseconds': stream.milliseconds(arguments.steps), 'peak': peak}))
    else:
        print("net            side      case         CPU ms/step  to its float loop  to Keras' loop  peak MB")
        for net in arguments.nets:
            _compare(net, arguments)


def _compare(net: str, arguments: argparse.Namespace) -> None:
    cases = [case for case in _CASES[net] if case in ('float', *arguments.cases)]
    sides = ('toolkit', 'tfx-edge')
    with tempfile.TemporaryDirectory() as work:
        folder = os.path.join(work, 'net')
        _run('export', net, 'float', folder, arguments)
        measured: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(arguments.rounds):
            for case in cases:
                for side in sides:
                    measured.setdefault((side, case), []).append(_run(side, net, case, folder, arguments))
    keras = [found['milliseconds'] for found in measured['toolkit', 'float']]
    for side in sides:
        base = [found['milliseconds'] for found in measured[side, 'float']]
        for case in cases:
            times = [found['milliseconds'] for found in measured[side, case]]
            ratio, to_keras = (np.median(np.array(times) / np.array(other)) for other in (base, keras))
            peak = np.median([found['peak'] for found in measured[side, case]])
            print(
                f'{net:14} {side:9} {case:12} {np.median(times):11.1f}  {ratio:17.2f}  {to_keras:14.2f}  {peak:7.0f}',
                flush=True,
            )


def _run(side: str, net: str, case: str, folder: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, '-W', 'ignore', __file__, '--side', side, '--net', net, '--case', case]
    command += ['--folder', folder, '--steps', str(arguments.steps)]
    environment = {
        **os.environ,
        'TF_USE_LEGACY_KERAS': '0' if side == 'tfx-edge' else '1',
        'TF_CPP_MIN_LOG_LEVEL': '3',
        'TF_NUM_INTRAOP_THREADS': '1',
        'TF_NUM_INTEROP_THREADS': '1',
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1]) if side != 'export' else {}


if __name__ == '__main__':
    main()
