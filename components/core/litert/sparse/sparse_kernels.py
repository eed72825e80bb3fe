"""1x1 kernels of many zeros, stored without them, where XNNPACK then computes with what is left.

An operator DENSIFY before the convolution fills the zeros in for runtimes that compute dense, and tells XNNPACK to
count the zeros of all 1x1 kernels: with more than two thirds it computes sparse. It does so on Arm and in WebAssembly,
not on x86 (`xnn_is_chw_compatible_config` in its src/xnnpack/config.h).
"""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer, inserted_names, sparse_values
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.sparse import padding
from tfx_edge.components.core.litert.sparse.xnnpack_pattern import sparse_part

_LOG = logging.getLogger(__name__)
# Of the answers, relative to the largest: sums in another order differ by less.
_MOST_DIFFERENCE = 1e-4


@dataclasses.dataclass(frozen=True)
class SparseFile:
    """A file, with sparse kernels or as it was.

    Attributes:
      file: the file.
      kernels: names of the tensors that are stored sparse.
      zeros: share of zeros in all 1x1 kernels of the sparse part.
      padded: names of the convolutions before which an operator PAD was put.
      obstacle: why the file is as it was; '' where kernels are sparse.
    """

    file: ModelFile
    kernels: tuple[str, ...] = ()
    zeros: float = 0.0
    padded: tuple[str, ...] = ()
    obstacle: str = ''


def make(model: ModelFile) -> SparseFile:
    """Stores the 1x1 kernels of a float file sparse, where XNNPACK computes with them so.

    Args:
      model: a float32 file, or one of float16 weights.

    Returns:
      The file; the same one for the same input. As it was where something is in the way.

    Raises:
      EdgeError: the new file does not answer as the old one on this machine's runtime.

    Example:
      ```
      made = make(ModelFile(pathlib.Path('mobilenet_80.tflite').read_bytes()))
      print(made.obstacle or made.kernels)
      ```
    """
    content = model.changeable()
    part = sparse_part(content)
    if part.obstacle:
        return SparseFile(model, obstacle=part.obstacle)
    graph = content.subgraphs[0]
    kernels = [graph.tensors[index] for index in part.kernels]
    elements = sum(_values(content, kernel).size for kernel in kernels)
    zeros = sum(int(np.count_nonzero(_values(content, kernel) == 0)) for kernel in kernels)
    # In whole numbers, as XNNPACK compares them.
    if 3 * zeros <= 2 * elements:
        obstacle = (
            f'{zeros / elements:.1%} of the weights in 1x1 kernels are zero; expected more than two thirds'
        )
        return SparseFile(model, zeros=zeros / elements, obstacle=obstacle)
    for operator, around in part.padded:
        padding.write_out(content, graph, operator, around)
    padded = [_output(graph, operator) for operator, _ in part.padded]
    names = [name for index in part.kernels if (name := _store_sparse(content, graph, index))]
    _drop_unused_values(content)
    made = SparseFile(ModelFile.of_content(content), tuple(names), zeros / elements, tuple(padded))
    _require_equal(model, made.file)
    return made


def log(made: SparseFile, plain_bytes: int) -> None:
    """Says what was gained, or why nothing was.

    Args:
      made: the file.
      plain_bytes: of the file that it was made of.
    """
    if made.obstacle:
        _LOG.info('kernels stay dense: XNNPACK would not compute sparse: %s', made.obstacle)
        return
    _LOG.info(
        '%d kernels of 1x1 are stored sparse, %.1f%% zeros in all of them: %d bytes, %.3f of the dense file; XNNPACK '
        'computes sparse on Arm and in browsers, dense on x86',
        len(made.kernels),
        100 * made.zeros,
        len(made.file.data),
        len(made.file.data) / plain_bytes,
    )
    if made.padded:
        _LOG.info('SAME padding is written as PAD, with the same results, before: %s', ', '.join(made.padded))


def has_pointwise_zeros(model: ModelFile) -> bool:
    """Whether more than two thirds of the weights in some 1x1 kernel are zero: someone may expect it to be sparse."""
    content = model.content
    part = (
        constant
        for graph in content.subgraphs
        for tensor in graph.tensors
        if len(tensor.shape if tensor.shape is not None else ()) == 4
        and tuple(tensor.shape[1:3]) == (1, 1)
        and (constant := flatbuffer.constant(content, tensor)) is not None
    )
    return any(3 * np.count_nonzero(values == 0) > 2 * values.size for values in part)


def _values(content: flatbuffer.schema.ModelT, tensor: flatbuffer.schema.TensorT) -> np.ndarray:
    values = flatbuffer.constant(content, tensor)
    assert values is not None
    return values


def _store_sparse(content: flatbuffer.schema.ModelT, graph: flatbuffer.schema.SubGraphT, index: int) -> str:
    """Stores a kernel sparse where that takes fewer bytes; returns its name, '' where it stays dense."""
    tensor = graph.tensors[index]
    name, values = flatbuffer.tensor_name(tensor), _values(content, tensor)
    if values.shape[-1] > sparse_values.MOST_COLUMNS:
        return ''
    stored, sparsity = sparse_values.encode(values)
    if sparse_values.stored_bytes(sparsity, stored) >= values.nbytes:
        return ''
    held = flatbuffer.schema.TensorT()
    held.name, tensor.name = tensor.name, (name + inserted_names.DENSIFIED).encode()
    held.type, held.shape = tensor.type, list(tensor.shape)
    held.sparsity, held.hasRank = sparsity, True
    held.buffer = len(content.buffers)
    buffer = flatbuffer.schema.BufferT()
    buffer.data = np.frombuffer(stored.tobytes(), np.uint8)
    content.buffers.append(buffer)
    graph.tensors.append(held)
    tensor.buffer = 0
    densify = flatbuffer.schema.OperatorT()
    densify.opcodeIndex = flatbuffer.operator_code(content, 'DENSIFY')
    densify.inputs, densify.outputs = [len(graph.tensors) - 1], [index]
    densify.builtinOptionsType = flatbuffer.schema.BuiltinOptions.DensifyOptions
    densify.builtinOptions = flatbuffer.schema.DensifyOptionsT()
    graph.operators.insert(0, densify)
    return name.split(';')[0]


def _drop_unused_values(content: flatbuffer.schema.ModelT) -> None:
    """Empties the buffers that no tensor and no metadata refer to."""
    used = {tensor.buffer for graph in content.subgraphs for tensor in graph.tensors}
    used.update(entry.buffer for entry in content.metadata or ())
    for number, buffer in enumerate(content.buffers):
        if number not in used:
            buffer.data = None


def _output(graph: flatbuffer.schema.SubGraphT, operator: flatbuffer.schema.OperatorT) -> str:
    return flatbuffer.tensor_name(graph.tensors[operator.outputs[0]]).split(';')[0]


def _require_equal(dense: ModelFile, sparse: ModelFile) -> None:
    """Refuses a file that does not answer random inputs as the dense one.

    Raises:
      EdgeError: it does not.
    """
    answers = [_answers(file) for file in (dense, sparse)]
    for name, expected in answers[0].items():
        difference = float(np.abs(answers[1][name] - expected).max(initial=0.0))
        if not difference <= _MOST_DIFFERENCE * max(1.0, float(np.abs(expected).max(initial=0.0))):
            raise EdgeError(
                f'the file with sparse kernels answers otherwise than the dense one (output {name!r} differs by '
                f'{difference:.3g}). Set Quantization.sparse_kernels to false, and report the model.'
            )


def _answers(file: ModelFile) -> dict[str, np.ndarray]:
    model = LiteRTModel(file.data)
    random = np.random.default_rng(0)
    inputs = {
        name: random.uniform(0, 1, [1 if size is None else size for size in spec.shape]).astype(spec.dtype)
        for name, spec in sorted(model.inputs.items())
    }
    return model(inputs)
