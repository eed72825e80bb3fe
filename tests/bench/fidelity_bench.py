"""How finished files answer beside the float model, net by net and mode by mode: `make bench-fidelity`.

Each net of `fidelity_nets` is trained, converted, calibrated on the examples it was trained on and quantized: INT8,
INT16X8 and DYNAMIC_INT8 as TFLiteQuantizer does, and after 200 steps of quantization-aware training (QAT). On examples
that were held out the file's outputs are compared with those of the SavedModel that came in: how many classes are the
same, and the ratio of signal to noise of each output, 10 * log10(variance / mean squared error), in dB. One process to
a net.
"""

from __future__ import annotations

import os

# Read when TensorFlow is imported.
os.environ.update(
    TF_CPP_MIN_LOG_LEVEL='3',
    TF_NUM_INTRAOP_THREADS='1',
    TF_NUM_INTEROP_THREADS='1',
    CUDA_VISIBLE_DEVICES='-1',
)

import argparse
import dataclasses
import itertools
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from fidelity_nets import NETS, Net

from tfx_edge import proto
from tfx_edge.components.core.calibration.measurements import Tally
from tfx_edge.components.core.calibration.pipeline import Calibrated
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.quantization_aware_training import (
    CALIBRATION_BATCHES,
    train_quantization_aware,
)
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.activation_reader import ActivationReader
from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.litert.inspect import inspect_model
from tfx_edge.components.core.litert.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantize import quantize_model
from tfx_edge.components.core.post_training import recipe
from tfx_edge.components.core.signature import Signature, choose_signature
from tfx_edge.components.fine_tuning_options import fine_tuning_options
from tfx_edge.components.qat_trainer.deployment import plan_deployment, trained_ranges
from tfx_edge.components.qat_trainer.options import qat_options

QAT = 'QAT'
MODES = ('INT8', 'INT16X8', 'DYNAMIC_INT8', QAT)
_CALIBRATED = 500
_BATCH = 64

Outputs = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
    """One file.

    Attributes:
      net: its name.
      mode: of the file.
      same: share of the held-out examples' classes that are the float model's; None for a net without classes.
      decibels: ratio of signal to noise by output of real numbers.
      equal: share of equal values by output of integers.
      float_accuracy: of the SavedModel; None where what is right is not known.
      accuracy: of the file.
      float_operators: how many the file has.
      seconds: from the SavedModel to the file.
      fault: why there is no file; '' for one.
    """

    net: str
    mode: str
    same: float | None = None
    decibels: Mapping[str, float] = dataclasses.field(default_factory=dict)
    equal: Mapping[str, float] = dataclasses.field(default_factory=dict)
    float_accuracy: float | None = None
    accuracy: float | None = None
    float_operators: int = 0
    seconds: float = 0.0
    fault: str = ''


def _share(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'


def _outcome(row: Row) -> str:
    parts = [f'{name} {decibels:.1f}' for name, decibels in row.decibels.items()]
    parts += [f'{name} {_share(share)} % equal' for name, share in row.equal.items()]
    return row.fault or ', '.join(parts)


# Title, width, and what stands in it.
COLUMNS: tuple[tuple[str, int, Callable[[Row], str]], ...] = (
    ('net', 29, lambda row: row.net),
    ('mode', 12, lambda row: row.mode),
    ('same %', 6, lambda row: _share(row.same)),
    ('right %', 7, lambda row: _share(row.accuracy)),
    ('float %', 7, lambda row: _share(row.float_accuracy)),
    ('float ops', 9, lambda row: str(row.float_operators)),
    ('s', 5, lambda row: f'{row.seconds:.1f}'),
    ('dB of each output', 0, _outcome),
)


def as_line(cells: Sequence[str]) -> str:
    """A line of the table."""
    return '  '.join(cell.ljust(width) for cell, (_, width, _) in zip(cells, COLUMNS, strict=True)).rstrip()


class ArrayExamples:
    """What `recipe.CalibrationExamples` asks for, of arrays."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = {name: values[:_CALIBRATED] for name, values in arrays.items()}

    def calibrate(
        self, float_model: bytes, channel_means_of: Sequence[str], *, histograms: bool
    ) -> Calibrated:
        """See `recipe.CalibrationExamples`."""
        reader = ActivationReader(float_model)
        tally = Tally(histograms=histograms, channel_means_of=channel_means_of)
        for row in range(len(next(iter(self._arrays.values())))):
            tally.add(reader.views({name: values[row : row + 1] for name, values in self._arrays.items()}))
        found = tally.measurements()
        means = {name: sums.means() for name, sums in found.channel_sums.items()}
        return Calibrated(found.statistics, means, found.examples)

    def sample(self) -> dict[str, np.ndarray]:
        """See `recipe.CalibrationExamples`."""
        return {name: values[:64] for name, values in self._arrays.items()}


def make_file(mode: str, net: Net, signature: Signature, folder: pathlib.Path) -> bytes:
    """The finished file of a net whose SavedModel lies in `folder / 'model'`."""
    source = str(folder / 'model')
    if mode == QAT:
        return _trained_file(net, ServingGraph(source, signature), folder)
    float_model = convert_saved_model(source, signature.name)
    inputs = {name: net.calibration[name] for name in signature.inputs}
    return recipe.follow(recipe.Recipe(QuantizationOptions(mode)), float_model, ArrayExamples(inputs)).model


def _trained_file(net: Net, graph: ServingGraph, folder: pathlib.Path) -> bytes:
    options = qat_options(proto.QuantizationAwareTraining())
    fine_tuning = fine_tuning_options(proto.FineTuning(num_steps=200))
    batches = _batches({name: net.calibration[name] for name in graph.inputs})
    seen = list(itertools.islice(batches, CALIBRATION_BATCHES))
    deployment = plan_deployment(graph, options, seen[0])
    if deployment.fault:
        raise EdgeError(deployment.fault)
    stream = itertools.chain(seen, batches)
    result = train_quantization_aware(graph, options, fine_tuning, stream, deployment.arithmetic)
    write_with_values(graph.folder, str(folder / 'trained'), result.values)
    float_model = convert_saved_model(str(folder / 'trained'), graph.signature.name)
    ranges = trained_ranges(deployment, result.ranges, float_model, seen)
    return quantize_model(float_model, deployment.options, ranges)


def _batches(arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    while True:
        rows = random.permutation(len(next(iter(arrays.values()))))[:_BATCH]
        yield {name: values[rows] for name, values in arrays.items()}


def _decibels(expected: np.ndarray, found: np.ndarray) -> float:
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    error = np.mean(np.square(found - expected))
    with np.errstate(divide='ignore'):
        return float(10 * np.log10(np.var(expected) / error)) if error else np.inf


def _classes(net: Net, outputs: Outputs) -> np.ndarray | None:
    if net.class_output is None:
        return None
    values = outputs[net.class_output]
    if np.issubdtype(values.dtype, np.integer):
        return values
    return values > 0.5 if net.independent else values.argmax(-1)


def _agreement(found: np.ndarray | None, expected: np.ndarray | None) -> float | None:
    if found is None or expected is None:
        return None
    return float(np.mean(found.reshape(expected.shape) == expected))


def compare(net: Net, mode: str, expected: Outputs, file: bytes, seconds: float) -> Row:
    """The row of a file."""
    found = LiteRTModel(file)(net.held_out)
    wanted, answered = _classes(net, expected), _classes(net, found)
    whole = {name for name, values in expected.items() if np.issubdtype(values.dtype, np.integer)}
    return Row(
        net=net.name,
        mode=mode,
        same=_agreement(answered, wanted),
        decibels={n: _decibels(values, found[n]) for n, values in expected.items() if n not in whole},
        equal={name: float(np.mean(found[name] == expected[name])) for name in sorted(whole)},
        float_accuracy=_agreement(wanted, net.right),
        accuracy=_agreement(answered, net.right),
        float_operators=len(inspect_model(file).float_ops),
        seconds=seconds,
    )


def measure(name: str, modes: Sequence[str]) -> Iterator[Row]:
    """The rows of a net."""
    net = NETS[name]()
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        net.build(folder / 'model')
        source = str(folder / 'model')
        signature = choose_signature(source, net.signature_name)
        serve = tf.saved_model.load(source).signatures[signature.name]
        inputs = {key: tf.constant(net.held_out[key]) for key in signature.inputs}
        expected = {key: value.numpy() for key, value in serve(**inputs).items()}
        for mode in modes:
            start = time.monotonic()
            try:
                file = make_file(mode, net, signature, folder)
                yield compare(net, mode, expected, file, time.monotonic() - start)
            except EdgeError as error:
                yield Row(name, mode, seconds=time.monotonic() - start, fault=f'no file: {error}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--net', nargs='+', choices=list(NETS), default=list(NETS))
    parser.add_argument('--modes', nargs='+', choices=MODES, default=list(MODES))
    arguments = parser.parse_args()
    if len(arguments.net) == 1:
        for row in measure(arguments.net[0], arguments.modes):
            print(as_line([value(row) for _, _, value in COLUMNS]), flush=True)
        return
    print(as_line([title for title, _, _ in COLUMNS]), flush=True)
    for name in arguments.net:
        command = [sys.executable, '-W', 'ignore', __file__, '--net', name, '--modes', *arguments.modes]
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stdout, end='', flush=True)
        if done.returncode:
            print(f'{name}: {done.stderr.strip().splitlines()[-1]}', flush=True)


if __name__ == '__main__':
    main()
