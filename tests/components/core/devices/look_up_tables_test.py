"""The file for microcontrollers is smaller, answers as the plain one to the last bit, or is refused by name."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden import files as golden
from tfx_edge.components.core.devices import look_up_tables
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.isolation.isolated_process import run_isolated
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile

pytestmark = pytest.mark.usefixtures('micro')

_CONVOLUTION = (32, 3, 3, 16)
_IMAGES = {'image': np.random.default_rng(3).random((16, 8, 8, 1)).astype(np.float32)}


def _few_valued(change: Callable[[np.ndarray], np.ndarray]) -> ModelFile:
    """The int8 file of the digits, with other integers in its kernels."""
    content = ModelFile.of(golden.digits_int8()).changeable()
    for tensor in content.subgraphs[0].tensors:
        values = flatbuffer.constant(content, tensor)
        if values is not None and values.dtype == np.int8:
            content.buffers[tensor.buffer].data = change(values).astype(np.int8).tobytes()
    return ModelFile.of(flatbuffer.write(content))


def _in_steps(number: int) -> Callable[[np.ndarray], np.ndarray]:
    """At most this many integers in each kernel."""
    step = 256 // number
    return lambda values: values.astype(int) // step * step


@pytest.fixture(scope='module')
def sixteen() -> ModelFile:
    return _few_valued(_in_steps(16))


def test_a_kernel_of_sixteen_integers_takes_half_a_byte_a_weight(sixteen: ModelFile) -> None:
    made = run_isolated(look_up_tables.make, sixteen, _IMAGES)
    (kernel,) = (k for k in made.kernels if k.plain_bytes == np.prod(_CONVOLUTION))
    assert (kernel.bits, kernel.tables) == (4, 1)
    assert kernel.stored_bytes <= kernel.plain_bytes / 2 + 16 + 16
    assert len(made.data) < len(sixteen.data) - 1024
    assert made.examples == len(_IMAGES['image'])
    assert made == run_isolated(look_up_tables.make, sixteen, _IMAGES)


def test_what_the_runtime_does_not_read_is_left_out(sixteen: ModelFile) -> None:
    (graph,) = ModelFile(look_up_tables.make(sixteen, _IMAGES).data).content.subgraphs
    assert all(tensor.shapeSignature is None for tensor in graph.tensors)
    ends = {*map(int, graph.inputs), *map(int, graph.outputs)}
    assert {number for number, tensor in enumerate(graph.tensors) if tensor.name} == ends


def test_fewer_integers_take_fewer_bytes() -> None:
    sizes = [len(look_up_tables.make(_few_valued(_in_steps(n)), _IMAGES).data) for n in (16, 8, 4)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_a_table_for_each_channel_where_one_for_all_is_too_large() -> None:
    def shifted(values: np.ndarray) -> np.ndarray:
        """Four integers in each output channel, which are others in the next."""
        channels = np.arange(values.shape[0]).reshape(-1, *[1] * (values.ndim - 1))
        return values.astype(int) // 64 * 16 + channels

    made = look_up_tables.make(_few_valued(shifted), _IMAGES)
    (kernel,) = (k for k in made.kernels if k.plain_bytes == np.prod(_CONVOLUTION))
    assert (kernel.bits, kernel.tables) == (2, _CONVOLUTION[0])


def test_kernels_that_would_not_become_smaller_are_named(
    sixteen: ModelFile, caplog: pytest.LogCaptureFixture
) -> None:
    made = look_up_tables.make(sixteen, _IMAGES)
    content = sixteen.content
    kernels = {
        flatbuffer.tensor_name(tensor)
        for tensor in content.subgraphs[0].tensors
        if flatbuffer.TENSOR_TYPES[tensor.type] == 'INT8' and flatbuffer.is_constant(content, tensor)
    }
    assert {kernel.name for kernel in made.kernels} | made.left.keys() == kernels
    assert not {kernel.name for kernel in made.kernels} & made.left.keys()
    with caplog.at_level(logging.INFO):
        look_up_tables.log(made, len(sixteen.data))
    assert all(name in caplog.text for name in made.left)


def test_a_file_without_few_valued_kernels_is_refused_with_the_remedy() -> None:
    with pytest.raises(EdgeError, match=r'no kernel .* different integers in .* number_of_clusters 16'):
        look_up_tables.make(ModelFile.of(golden.digits_int8()), _IMAGES)


def test_the_decoders_fault_is_found_and_the_kernel_named(
    sixteen: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the remedy (tflite-micro #3685) all channels but the first are read from behind the table."""
    monkeypatch.setattr(look_up_tables, '_correct_tables', lambda content, names: None)
    with pytest.raises(EdgeError, match=r'answers otherwise .*; wrong as look-up tables: .*kernel'):
        look_up_tables.make(sixteen, _IMAGES)


def test_a_file_that_the_runtime_lacks_operators_for_is_refused(sixteen: ModelFile) -> None:
    content = sixteen.changeable()
    code = content.operatorCodes[content.subgraphs[0].operators[0].opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = flatbuffer.schema.BuiltinOperator.CUSTOM
    code.customCode = b'OurOwn'
    with pytest.raises(EdgeError, match=r'does not load the file \(it lacks .*OurOwn'):
        look_up_tables.make(ModelFile.of_content(content), _IMAGES)


@settings(max_examples=15, deadline=None)
@given(number=st.integers(2, 40), seed=st.integers(0, 2**16))
def test_whatever_the_codebook_the_answers_are_those_of_the_plain_file(number: int, seed: int) -> None:
    codebook = np.random.default_rng(seed).choice(np.arange(-127, 128), number, replace=False)
    file = _few_valued(lambda values: codebook[values.astype(int) % number])
    made = look_up_tables.make(file, _IMAGES)
    assert made.kernels[0].bits == max(1, int(np.ceil(np.log2(number))))
    assert len(made.data) < len(file.data)
