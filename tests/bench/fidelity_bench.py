"""How finished files answer beside the float model, net by net and mode by mode: `make bench-fidelity`.

Each net of `fidelity_nets` is trained, converted, calibrated on the examples it was trained on and quantized: INT8,
INT16X8 and DYNAMIC_INT8 as TFLiteQuantizer does, and after 200 steps of quantization-aware training (QAT). It is made
as it was asked for (`repair_fidelity` false), and where that is warned of, once more with what the warning names. On
examples that were held out from all of this the file's outputs are compared with those of the SavedModel that came in:
how many classes are the same, and fidelity in dB. The last lines say for how many files the warning and these examples
disagree. One process to a net.
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
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from fidelity_nets import NETS, Net

from tfx_edge import proto
from tfx_edge.components.core.calibration.measurements import Tally
from tfx_edge.components.core.calibration.pipeline import Calibrated
from tfx_edge.components.core.calibration.reference import Reference
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.quantization_aware_training import (
    CALIBRATION_BATCHES,
    train_quantization_aware,
)
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.post_training import recipe
from tfx_edge.components.core.post_training.bound import MIN_DB, Bound
from tfx_edge.components.core.post_training.compared_file import ComparedFile, make_compared
from tfx_edge.components.core.post_training.fidelity import Fidelity, compare
from tfx_edge.components.core.post_training.float_answers import reference_answers
from tfx_edge.components.core.qat.deployment import plan_deployment, trained_ranges
from tfx_edge.components.core.qat.held_out_examples import split_held_out
from tfx_edge.components.core.qat.sound_arithmetic import operators_to_keep
from tfx_edge.components.core.signature import Signature
from tfx_edge.components.qat_trainer.options import qat_options
from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

QAT = 'QAT'
MODES = ('INT8', 'INT16X8', 'DYNAMIC_INT8', QAT)
_CALIBRATED = 500
_COMPARED = 64
# So near the bound, other examples may fall on the other side.
_MARGIN_DB = 2.0
_BATCH = 64

Outputs = Mapping[str, np.ndarray]
Answer = Callable[[Outputs], Outputs]


@dataclasses.dataclass(frozen=True)
class Row:
    """One file.

    Attributes:
      net: its name.
      mode: of the file.
      same: share of the held-out examples' classes that are the float model's; None for a net without classes.
      fidelity: to the SavedModel, on the held-out examples.
      is_warned: whether the step would warn of it.
      remedy: that the warning names and this file has, such as the operators that stay float.
      float_accuracy: of the SavedModel; None where what is right is not known.
      accuracy: of the file.
      float_operators: how many the file has.
      seconds: from the SavedModel to the file.
      fault: why there is no file; '' for one.
    """

    net: str
    mode: str
    same: float | None = None
    fidelity: Fidelity | None = None
    is_warned: bool = False
    remedy: str = ''
    float_accuracy: float | None = None
    accuracy: float | None = None
    float_operators: int = 0
    seconds: float = 0.0
    fault: str = ''


def _share(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'


def _outcome(row: Row) -> str:
    if row.fidelity is None:
        return row.fault
    outputs = row.fidelity.outputs
    listed = [
        f'{output.name} {output.db:.1f}{f" ({output.part})" if output.part else ""}' for output in outputs
    ]
    return ', '.join([*listed, *([row.remedy] if row.remedy else [])])


# Title, width, and what stands in it.
COLUMNS: tuple[tuple[str, int, Callable[[Row], str]], ...] = (
    ('net', 29, lambda row: row.net),
    ('mode', 12, lambda row: row.mode),
    ('same %', 6, lambda row: _share(row.same)),
    ('right %', 7, lambda row: _share(row.accuracy)),
    ('float %', 7, lambda row: _share(row.float_accuracy)),
    ('float ops', 9, lambda row: str(row.float_operators)),
    ('warned', 6, lambda row: 'yes' if row.is_warned else 'no'),
    ('s', 5, lambda row: f'{row.seconds:.1f}'),
    ('dB of each output', 0, _outcome),
)


def as_line(cells: Sequence[str]) -> str:
    """A line of the table."""
    return '  '.join(cell.ljust(width) for cell, (_, width, _) in zip(cells, COLUMNS, strict=True)).rstrip()


class ArrayExamples:
    """What `recipe.CalibrationExamples` asks for, of arrays."""

    def __init__(self, arrays: Mapping[str, np.ndarray], answer: Answer) -> None:
        self._arrays = {name: values[:_CALIBRATED] for name, values in arrays.items()}
        rows = len(next(iter(arrays.values())))
        start = min(_CALIBRATED, rows - _COMPARED)
        self._others = {name: values[start : start + _COMPARED] for name, values in arrays.items()}
        self._answer = answer

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

    def reference(self) -> Reference | None:
        """See `recipe.CalibrationExamples`."""
        return reference_answers(self._answer, self._others, held_out=True)


def make_file(
    mode: str, net: Net, signature: Signature, folder: pathlib.Path, answer: Answer, *, repair: bool
) -> ComparedFile:
    """The finished file of a net whose SavedModel lies in `folder / 'model'`."""
    source = str(folder / 'model')
    bound = Bound(repair=repair)
    if mode == QAT:
        return _trained_file(net, ServingGraph(source, signature), folder, bound)
    float_model = convert_saved_model(source, signature.name)
    inputs = {name: net.calibration[name] for name in signature.inputs}
    asked = recipe.Recipe(QuantizationOptions(mode), bound=bound)
    made = recipe.follow(asked, float_model, ArrayExamples(inputs, answer)).held
    assert made is not None
    return made


def _trained_file(net: Net, graph: ServingGraph, folder: pathlib.Path, bound: Bound) -> ComparedFile:
    options = qat_options(proto.QuantizationAwareTraining())
    fine_tuning = fine_tuning_options(proto.FineTuning(num_steps=200))
    samples, batches = split_held_out(
        _batches({name: net.calibration[name] for name in graph.inputs}), list(graph.inputs)
    )
    seen = list(itertools.islice(batches, CALIBRATION_BATCHES))
    reference = reference_answers(graph.answers, samples or seen[0], held_out=samples is not None)
    assert reference is not None

    def sound(float_model: ModelFile, mode: str) -> tuple[str, ...]:
        return operators_to_keep(float_model, mode, seen, reference, bound) if bound.repair else ()

    deployment = plan_deployment(graph, options, seen[0], sound=sound)
    if deployment.fault:
        raise EdgeError(deployment.fault)
    stream = itertools.chain(seen, batches)
    result = train_quantization_aware(graph, options, fine_tuning, stream, deployment.arithmetic)
    write_with_values(graph.folder, str(folder / 'trained'), result.values)
    float_model = ModelFile(convert_saved_model(str(folder / 'trained'), graph.signature.name))
    ranges = trained_ranges(deployment, result.ranges, float_model, seen)
    return make_compared(float_model, deployment.options, ranges, reference, Bound(repair=False))


def _batches(arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    while True:
        rows = random.permutation(len(next(iter(arrays.values()))))[:_BATCH]
        yield {name: values[rows] for name, values in arrays.items()}


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


def row_of(net: Net, mode: str, expected: Outputs, held: ComparedFile, seconds: float, remedy: str) -> Row:
    """The row of a file."""
    file = held.made.model
    found = LiteRTModel(file)(net.held_out)
    wanted, answered = _classes(net, expected), _classes(net, found)
    return Row(
        net=net.name,
        mode=mode,
        same=_agreement(answered, wanted),
        fidelity=compare(expected, found),
        is_warned=held.is_low,
        remedy=remedy,
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

        def answer(inputs: Outputs) -> Outputs:
            feeds = {key: tf.constant(inputs[key]) for key in signature.inputs}
            return {key: value.numpy() for key, value in serve(**feeds).items()}

        expected = answer(net.held_out)
        for mode in modes:
            for repair in (False, True):
                start = time.monotonic()
                try:
                    held = make_file(mode, net, signature, folder, answer, repair=repair)
                except EdgeError as error:
                    yield Row(
                        name,
                        mode,
                        is_warned=True,
                        seconds=time.monotonic() - start,
                        fault=f'no file: {error}',
                    )
                    continue
                yield row_of(
                    net, mode, expected, held, time.monotonic() - start, _remedy(held) if repair else ''
                )
                if not held.is_low:
                    break


def _remedy(held: ComparedFile) -> str:
    """What a repaired file has, or what else the warning names."""
    if held.lost is not None and held.repaired:
        return f'with {", ".join(held.lost.operators)} in float'
    if held.is_low:
        return f'other modes: {", ".join(f"{mode} {db:.1f}" for mode, db in held.other_modes) or "none"}'
    return 'repaired before training'


def disagreements(lines: Sequence[str]) -> list[str]:
    """What the rows say together: which warnings, or their absence, the held-out examples contradict."""
    rows = [json.loads(line) for line in lines]
    lost = [row for row in rows if row['db'] < MIN_DB - _MARGIN_DB and not row['warned']]
    fine = [row for row in rows if row['db'] > MIN_DB + _MARGIN_DB and row['warned']]
    still = [row for row in rows if row['remedied'] and not row['warned'] and row['db'] < MIN_DB]

    def listed(found: Sequence[Mapping[str, Any]]) -> str:
        return f'{len(found)}' + ''.join(
            f'\n    {row["net"]} {row["mode"]} {row["db"]:.1f} dB' for row in found
        )

    return [
        f'{len(rows)} files; the bound is {MIN_DB:g} dB, {_MARGIN_DB:g} dB around it count as either',
        f'below the bound without a warning: {listed(lost)}',
        f'warned of though above it: {listed(fine)}',
        f'below it with what the warning named: {listed(still)}',
    ]


def _as_json(row: Row) -> str:
    db = -200.0 if row.fidelity is None else max(-200.0, min(200.0, row.fidelity.db))
    content = {
        'net': row.net,
        'mode': row.mode,
        'db': db,
        'warned': row.is_warned,
        'remedied': bool(row.remedy),
    }
    return json.dumps(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--net', nargs='+', choices=list(NETS), default=list(NETS))
    parser.add_argument('--modes', nargs='+', choices=MODES, default=list(MODES))
    arguments = parser.parse_args()
    if len(arguments.net) == 1:
        for row in measure(arguments.net[0], arguments.modes):
            print(as_line([value(row) for _, _, value in COLUMNS]), flush=True)
            print(_as_json(row), file=sys.stderr, flush=True)
        return
    print(as_line([title for title, _, _ in COLUMNS]), flush=True)
    listed: list[str] = []
    for name in arguments.net:
        command = [sys.executable, '-W', 'ignore', __file__, '--net', name, '--modes', *arguments.modes]
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stdout, end='', flush=True)
        listed += [line for line in done.stderr.splitlines() if line.startswith('{"net"')]
        if done.returncode:
            print(f'{name}: {done.stderr.strip().splitlines()[-1]}', flush=True)
    print('\n'.join(['', *disagreements(listed)]))


if __name__ == '__main__':
    main()
