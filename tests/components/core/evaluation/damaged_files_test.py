"""Damaged candidates: none ends the process of the pipeline, hangs it, fills its memory, or fails in more than a line.

Run as a script, this file is the process that may not end: it tries each mutation of some files as EdgeEvaluator does,
first what `require_runnable` does in a process of its own (a fork, which may end), then, where that lets the file
pass, what the pipeline's process and its workers do with it.
"""

from __future__ import annotations

import collections
import json
import os
import pathlib
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.model_files import models, sizes
from tfx_edge.components.core.evaluation.model_files.first_run import require_runnable, try_within_limits
from tfx_edge.components.core.evaluation.model_files.range_probe import RangeProbe, integer_tensors
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.activation_memory import peak_activation_bytes
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model

pytestmark = pytest.mark.slow

_MUTATIONS = 3400  # of each file
_EVALUATED = 4  # one of so many that pass the trial
_HANGS = 60  # seconds
_HUGE = (0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x40000000, 0x10000000, 2**24, 2**20, 0x00FFFFFF)
_FACTS = (-(2**31), -2, -1, 0, 1, 2, 3, 7, 100, 255, 2**15, 2**20, 2**31 - 1)
_SCALES = (0.0, -1.0, np.nan, np.inf, 1e38, 1e-38, 1.0)

Content = bytearray
Random = np.random.Generator


class TwoOutputs(tf.Module):
    """A convolution, a depthwise one and two outputs; random weights."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.stem = tf.Variable(random.normal(size=(3, 3, 1, 4)).astype(np.float32))
        self.depth = tf.Variable(random.normal(size=(3, 3, 4, 1)).astype(np.float32))
        self.head = tf.Variable(random.normal(size=(4, 3)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], name='image')])
    def serve(self, image):
        x = tf.nn.relu(tf.nn.conv2d(image, self.stem, 2, 'SAME'))
        x = tf.nn.depthwise_conv2d(x, self.depth, [1, 1, 1, 1], 'SAME')
        x = tf.reshape(tf.reduce_mean(x, axis=(1, 2)), [-1, 4])
        return {'probabilities': tf.nn.softmax(x @ self.head), 'size': tf.sigmoid(x[:, :1])}


def _flipped_bits(random: Random, content: Content) -> None:
    for at in random.integers(len(content), size=random.integers(1, 9)):
        content[at] ^= 1 << int(random.integers(8))


def _other_bytes(random: Random, content: Content) -> None:
    for at in random.integers(len(content), size=random.integers(1, 9)):
        content[at] = int(random.integers(256))


def _truncated(random: Random, content: Content) -> None:
    del content[int(random.integers(len(content))) :]


def _random_field(random: Random, content: Content) -> None:
    _set(content, 4 * int(random.integers(len(content) // 4)), int(random.integers(2**32)))


def _huge_field(random: Random, content: Content) -> None:
    """What may be a size, an offset or a dimension becomes a huge one."""
    _set(content, int(random.choice(_fields(content, 4096))), int(random.choice(_HUGE)))


def _small_field(random: Random, content: Content) -> None:
    """What may be an index or a code becomes another one."""
    _set(content, int(random.choice(_fields(content, 64))), int(random.integers(80)))


def _swapped_fields(random: Random, content: Content) -> None:
    """Two of what may be offsets to tables change places."""
    first, second = map(int, random.choice(_fields(content, len(content)), 2))
    one, other = (struct.unpack_from('<I', content, at)[0] for at in (first, second))
    _set(content, first, other)
    _set(content, second, one)


def _other_facts(random: Random, content: Content) -> None:
    """Well packed, but a tensor or an operator says something else than it did."""
    model = flatbuffer.read(bytes(content))
    graph = model.subgraphs[0]
    tensor = graph.tensors[int(random.integers(len(graph.tensors)))]
    operator = graph.operators[int(random.integers(len(graph.operators)))]
    fact, kind = int(random.choice(_FACTS)), int(random.integers(8))
    if kind == 0 and tensor.shape is not None and len(tensor.shape):
        tensor.shape = _with(random, tensor.shape, fact)
    elif kind == 1:
        tensor.type = int(random.integers(21))
    elif kind == 2:
        tensor.buffer = int(random.integers(len(model.buffers) + 2))
    elif kind == 3:
        operator.opcodeIndex = int(random.integers(len(model.operatorCodes)))
    elif kind == 4:
        operator.inputs = _with(random, operator.inputs, int(random.integers(-1, len(graph.tensors) + 2)))
    elif kind == 5:
        operator.outputs = _with(random, operator.outputs, int(random.integers(-1, len(graph.tensors) + 2)))
    elif tensor.quantization is not None and tensor.quantization.scale is not None:
        if kind == 6:
            tensor.quantization.scale = _with(random, tensor.quantization.scale, random.choice(_SCALES))
        else:
            tensor.quantization.zeroPoint = _with(random, tensor.quantization.zeroPoint, fact)
    content[:] = flatbuffer.write(model)


_KINDS: tuple[Callable[[Random, Content], None], ...] = (
    *(_flipped_bits, _other_bytes, _truncated, _random_field),
    *(_huge_field, _small_field, _swapped_fields, _other_facts),
)


def _set(content: Content, at: int, value: int) -> None:
    struct.pack_into('<I', content, at, value)


def _fields(content: Content, limit: int) -> np.ndarray:
    """Where aligned numbers from 1 to below a limit stand."""
    words = np.frombuffer(bytes(content[: len(content) // 4 * 4]), '<u4')
    return 4 * np.flatnonzero((words > 0) & (words < limit))


def _with(random: Random, values: np.ndarray, value: float) -> np.ndarray:
    changed = np.array(values)
    changed[random.integers(len(changed))] = value
    return changed


def _mutation(model: bytes, seed: int) -> bytes:
    content = bytearray(model)
    _KINDS[seed % len(_KINDS)](np.random.default_rng(seed), content)
    return bytes(content)


def _evaluate(folder: pathlib.Path) -> None:
    """What the pipeline's process and its workers do with a candidate."""
    model = models.load_model(models.find_model(str(folder)))
    image = tf.train.Feature(float_list=tf.train.FloatList(value=np.linspace(0, 1, 64)))
    record = tf.train.Example(features=tf.train.Features(feature={'image': image})).SerializeToString()
    parser = ExampleParser(models.common_inputs({'candidate': model}))
    inputs = models.fitted(model, parser([record] * 3))
    model(inputs)
    content = models.read_tflite(str(folder / models.TFLITE_FILE))
    if integer_tensors(content):
        RangeProbe(content)({name: rows[:1] for name, rows in inputs.items()})
    inspect_model(content)
    peak_activation_bytes(content)
    sizes.file_bytes(content)
    sizes.zip_bytes(content)


def _outcome(step: Callable[[], None]) -> str:
    try:
        step()
    except EdgeError as error:
        return 'refused' if '\n' not in str(error) else f'raised in several lines: {error}'
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the test looks for
        return f'raised {type(error).__name__}: {error}'
    return 'passed'


def _try_in_turn(folder: pathlib.Path, name: str, seeds: Iterator[int], results: int) -> None:
    """In a fork: writes what becomes of each mutation, a line before and after each step."""
    model = (folder / name).read_bytes()
    candidate = folder / f'{name}-candidate'
    candidate.mkdir(exist_ok=True)
    # What TensorFlow takes when it is first used is not the files'.
    (candidate / models.TFLITE_FILE).write_bytes(model)
    _evaluate(candidate)
    passed = 0
    for seed in seeds:
        signal.alarm(_HANGS)  # ends the process, in native code too
        content = _mutation(model, seed)
        (candidate / models.TFLITE_FILE).write_bytes(content)
        os.write(results, f'{json.dumps([seed, "trial", "begun"])}\n'.encode())
        outcome = _outcome(lambda content=content: try_within_limits(content))
        os.write(results, f'{json.dumps([seed, "trial", outcome])}\n'.encode())
        passed += outcome == 'passed'
        if outcome == 'passed' and passed % _EVALUATED == 0:
            os.write(results, f'{json.dumps([seed, "evaluation", "begun"])}\n'.encode())
            _lift_memory_limit()
            outcome = _outcome(lambda: _evaluate(candidate))
            os.write(results, f'{json.dumps([seed, "evaluation", outcome])}\n'.encode())


def _lift_memory_limit() -> None:
    """The trial limits its process, which is not the one that evaluates."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _fuzz(folder: pathlib.Path, name: str, mutations: int) -> None:
    """Writes the outcome of all mutations of a file; one fork goes on where the one before it ended."""
    results = folder / f'{name}.results'
    seed = 0
    with open(results, 'ab', buffering=0) as file:
        while seed < mutations:
            child = os.fork()
            if not child:
                _try_in_turn(folder, name, iter(range(seed, mutations)), file.fileno())
                os._exit(0)
            _, status = os.waitpid(child, 0)
            last, step, _ = json.loads(results.read_text().splitlines()[-1])
            if status:
                code = os.waitstatus_to_exitcode(status)
                death = signal.Signals(-code).name if code < 0 else f'exit status {code}'
                file.write(f'{json.dumps([last, step, f"died of {death}"])}\n'.encode())
            seed = last + 1


@pytest.fixture(scope='module')
def files(float_net, quantized, images, as_float_model, observe) -> Mapping[str, bytes]:
    two_outputs = as_float_model(TwoOutputs())
    ranges = observe(two_outputs, images[:8])
    assert len(ActivationReader(two_outputs).model.outputs) == 2
    return {
        'float': float_net,
        'int8': quantized(images[:8]),
        'two_outputs': quantize_model(two_outputs, QuantizationOptions('INT8', 'INT8'), ranges),
    }


def test_mutations_are_refused_or_run(files: Mapping[str, bytes], tmp_path: pathlib.Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', __file__, str(tmp_path), str(_MUTATIONS), *files],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[tuple[str, int, str], str] = {}
    for name in files:
        for line in (tmp_path / f'{name}.results').read_text().splitlines():
            seed, step, outcome = json.loads(line)
            found[name, seed, step] = outcome
    tried = {place: outcome for place, outcome in found.items() if place[2] == 'trial'}
    deaths = {place: outcome for place, outcome in tried.items() if outcome.startswith('died of')}
    evaluated = {place: outcome for place, outcome in found.items() if place[2] == 'evaluation'}
    print(collections.Counter((step, outcome) for (_, _, step), outcome in found.items()))
    assert len(tried) == _MUTATIONS * len(files) >= 10_000
    assert not {p: o for p, o in tried.items() if p not in deaths and o not in ('passed', 'refused')}
    assert not {p: o for p, o in evaluated.items() if o not in ('passed', 'refused')}
    assert len([o for o in evaluated.values() if o == 'passed']) > 200
    # One of each death, and all that hung.
    for name, seed, _ in {outcome: place for place, outcome in deaths.items()}.values():
        with pytest.raises(EdgeError) as caught:
            require_runnable(_mutation(files[name], seed))
        assert '\n' not in str(caught.value)


if __name__ == '__main__':
    for file_name in sys.argv[3:]:
        if not os.fork():
            _fuzz(pathlib.Path(sys.argv[1]), file_name, int(sys.argv[2]))
            os._exit(0)
    for _ in sys.argv[3:]:
        assert os.wait()[1] == 0
