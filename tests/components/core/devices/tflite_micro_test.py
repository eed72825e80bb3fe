"""The arena is the smallest that works, missing operators are named, and no file makes it raise or guess."""

from __future__ import annotations

import importlib.metadata
import pathlib
import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest

from tfx_edge.components.core.devices import tflite_micro
from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.activation_memory import peak_activation_bytes

_LOAD = (
    'import pathlib, sys\n'
    'from tflite_micro import runtime\n'
    'runtime.Interpreter.from_bytes(pathlib.Path(sys.argv[1]).read_bytes(), arena_size=int(sys.argv[2])).invoke()'
)


@pytest.mark.usefixtures('micro')
@pytest.mark.parametrize('which', ['float', 'int8', 'int8 with float I/O', 'int16 activations'])
def test_arena_is_the_smallest_that_works(
    files: Mapping[str, bytes], which: str, tmp_path: pathlib.Path
) -> None:
    costs = tflite_micro.profile(files[which])
    path = tmp_path / 'model.tflite'
    path.write_bytes(files[which])

    def works(arena: int) -> bool:
        done = subprocess.run([sys.executable, '-c', _LOAD, str(path), str(arena)], capture_output=True)
        return done.returncode == 0

    assert works(costs.arena_bytes)
    # The runtime aligns the arena to 16 bytes.
    assert not works(costs.arena_bytes - 17)
    assert costs.arena_bytes > peak_activation_bytes(files[which])
    assert costs.tool == f'tflite-micro {importlib.metadata.version("tflite-micro")}'
    assert (costs.device, costs.settings) == ('tflite-micro', '64-bit host')
    assert (costs.cycles, costs.cpu_operators, costs.absent, costs.obstacle) == (None, None, '', '')


@pytest.mark.slow
@pytest.mark.usefixtures('micro')
def test_large_arena_is_recorded(tmp_path: pathlib.Path) -> None:
    """Larger than the runtime is offered at first."""
    import keras

    layer = keras.Sequential([keras.Input((1024, 1024, 4), name='x'), keras.layers.MaxPool2D(2)])
    layer.export(tmp_path / 'saved_model', verbose=False)
    model = convert_saved_model(str(tmp_path / 'saved_model'), 'serving_default')
    least = peak_activation_bytes(model)
    assert least > 2**24
    assert least < tflite_micro.profile(model).arena_bytes < least + 4096


@pytest.mark.slow
@pytest.mark.usefixtures('micro')
def test_all_missing_operators_are_named(tmp_path: pathlib.Path) -> None:
    import tensorflow as tf

    class Net(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 4), tf.float32, name='image')])
        def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            x = tf.nn.local_response_normalization(tf.nn.relu(image))
            x = tf.nn.local_response_normalization(tf.nn.max_pool2d(x, 2, 2, 'VALID'))
            return {'largest': tf.math.top_k(tf.reshape(x, (-1, 16)), 3).values}

    net = Net()
    tf.saved_model.save(net, str(tmp_path / 'saved_model'), signatures={'serving_default': net.__call__})
    model = convert_saved_model(str(tmp_path / 'saved_model'), 'serving_default')
    costs = tflite_micro.profile(model)
    assert costs.missing_operators == ('LOCAL_RESPONSE_NORMALIZATION', 'TOPK_V2')
    assert '(it lacks LOCAL_RESPONSE_NORMALIZATION, TOPK_V2)' in costs.obstacle
    assert costs.arena_bytes is None


@pytest.mark.usefixtures('micro')
def test_missing_custom_operator_is_named(files: Mapping[str, bytes]) -> None:
    content = flatbuffer.read(files['float'])
    (pool,) = [op for op in content.subgraphs[0].operators if flatbuffer.operator_name(content, op) == 'MEAN']
    code = content.operatorCodes[pool.opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = flatbuffer.schema.BuiltinOperator.CUSTOM
    code.customCode = b'OurOwnPool'
    pool.builtinOptionsType, pool.builtinOptions = 0, None
    assert tflite_micro.profile(flatbuffer.write(content)).missing_operators == ('OurOwnPool',)


@pytest.mark.usefixtures('micro')
def test_what_the_runtime_refuses_otherwise_is_reported(files: Mapping[str, bytes]) -> None:
    costs = tflite_micro.profile(files['dynamic int8'])
    assert 'Hybrid models are not supported' in costs.obstacle
    assert 'CONV_2D' in costs.obstacle
    assert '\n' not in costs.obstacle
    assert (costs.arena_bytes, costs.missing_operators) == (None, ())


@pytest.mark.usefixtures('micro')
def test_file_that_ends_the_process_is_reported(files: Mapping[str, bytes]) -> None:
    content = flatbuffer.read(files['int8'])
    graph = content.subgraphs[0]
    (pool,) = [op for op in graph.operators if flatbuffer.operator_name(content, op) == 'MEAN']
    graph.tensors[pool.outputs[0]].type = flatbuffer.schema.TensorType.STRING
    costs = tflite_micro.profile(flatbuffer.write(content))
    assert '(SIGSEGV)' in costs.obstacle
    assert costs.arena_bytes is None


@pytest.mark.usefixtures('micro')
def test_mutated_file_is_refused_or_reported(files: Mapping[str, bytes]) -> None:
    random = np.random.default_rng(1)
    for _ in range(12):
        damaged = bytearray(files['int8'])
        for position in random.integers(0, len(damaged), 4):
            damaged[position] = random.integers(0, 256)
        try:
            costs = tflite_micro.profile(bytes(damaged))
        except EdgeError as error:
            assert '\n' not in str(error)  # noqa: PT017 - either is right
        else:
            assert (costs.arena_bytes is None) == bool(costs.obstacle)
            assert '\n' not in costs.obstacle


def test_truncated_file_is_an_edge_error(files: Mapping[str, bytes]) -> None:
    with pytest.raises(EdgeError, match='cannot be loaded'):
        tflite_micro.profile(files['int8'][:900])


def test_no_wheel_is_reported_with_the_remedy(
    files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_found(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'version', not_found)
    costs = tflite_micro.profile(files['int8'])
    assert costs == DeviceCosts('tflite-micro', absent=costs.absent)
    assert costs.absent.startswith('install tfx-edge[tflite-micro]')
