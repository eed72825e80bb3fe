"""1x1 kernels of many zeros, stored without them, where XNNPACK then computes with what is left.

An operator DENSIFY before the convolution fills the zeros in for runtimes that compute dense, and tells XNNPACK to
count the zeros of all 1x1 kernels: with more than two thirds it computes sparse. It does so on Arm and in WebAssembly,
not on x86 (`xnn_is_chw_compatible_config` in its src/xnnpack/config.h).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer, inserted_names, sparse_values
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.sparse.net import Net
from tfx_edge.components.core.litert.sparse.rewriting import mirror, pad_evenly
from tfx_edge.components.core.litert.sparse.xnnpack_pattern import SparsePart, sparse_part

_LOG = logging.getLogger(__name__)
# Of the answers: relative to the largest, and to what one rounding of the input changes.
_MOST_DIFFERENCE = 1e-4
_ROUNDINGS = 30


@dataclasses.dataclass(frozen=True)
class SparseFile:
    """A file, with sparse kernels or as it was.

    Attributes:
      file: the file.
      kernels: names of the tensors that are stored sparse.
      zeros: share of zeros in all 1x1 kernels of the sparse part.
      padded: names of the convolutions before which an operator PAD was put or changed.
      mirrored: they compute on the mirror image.
      obstacle: why the file is as it was; '' where kernels are sparse.
    """

    file: ModelFile
    kernels: tuple[str, ...] = ()
    zeros: float = 0.0
    padded: tuple[str, ...] = ()
    mirrored: bool = False
    obstacle: str = ''


def make(model: ModelFile) -> SparseFile:
    """Stores the 1x1 kernels of a float file sparse, where XNNPACK computes with them so.

    Args:
      model: a float32 file.

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
    whole = Net(content)
    part = sparse_part(whole)
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
    padded = _pad_evenly(whole, part)
    unique = dict.fromkeys(part.kernels)
    names = [name for index in unique if (name := _store_sparse(content, graph, index))]
    if not names:
        return SparseFile(model, zeros=zeros / elements, obstacle='no kernel becomes smaller by it')
    _drop_unused_values(content)
    made = SparseFile(ModelFile.of_content(content), tuple(names), zeros / elements, padded, part.mirrored)
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
        _LOG.info(
            'padding is written as PAD, as much on all sides%s, with the same results, before: %s',
            ' of the mirror image' if made.mirrored else '',
            ', '.join(made.padded),
        )


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


def _pad_evenly(graph: Net, part: SparsePart) -> tuple[str, ...]:
    """Lets all strided convolutions of a part have the padding that XNNPACK asks for; returns their names."""
    halves = {}
    for operator in part.spatial:
        kernel = graph.kernel(operator)
        assert kernel is not None
        is_pad = graph.pad_before(operator) is not None and not graph.is_even(operator, mirrored=False)
        if is_pad or (graph.is_same(operator) and graph.strides(operator) != (1, 1)):
            halves[id(operator)] = kernel.shape[1] // 2
    if part.mirrored:
        assert part.stem is not None
        mirror(graph, part.stem, sorted({graph.held_kernel(operator) for operator in part.spatial}))
    changed = [operator for operator in part.spatial if id(operator) in halves]
    for operator in changed:
        pad_evenly(graph, operator, halves[id(operator)])
    return tuple(graph.tensor_name(int(operator.outputs[0])) for operator in changed)


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
    # The older place of metadata.
    used.update(map(int, content.metadataBuffer if content.metadataBuffer is not None else ()))
    for number, buffer in enumerate(content.buffers):
        if number not in used:
            buffer.data = None


def _require_equal(dense: ModelFile, sparse: ModelFile) -> None:
    """Refuses a file that does not answer a random input as the dense one.

    Sums are made in another order. What that changes is judged by what the dense file makes of rounding its input.

    Raises:
      EdgeError: it does not.
    """
    before, after = LiteRTModel(dense.data), LiteRTModel(sparse.data)
    inputs = _random_inputs(before)
    expected, rounded, found = before(inputs), before(_rounded(inputs)), after(inputs)
    for name, values in expected.items():
        largest = float(np.abs(values[np.isfinite(values)].astype(np.float64)).max(initial=0.0))
        allowed = _MOST_DIFFERENCE * max(1.0, largest) + _ROUNDINGS * _difference(rounded[name], values)
        if not _difference(found[name], values) <= allowed:
            raise EdgeError(
                f'the file with sparse kernels answers otherwise than the dense one (output {name!r} differs by '
                f'{_difference(found[name], values):.3g}). Set Quantization.sparse_kernels to false, and report the '
                'model.'
            )


def _random_inputs(model: LiteRTModel) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        name: random.uniform(0, 1, [1 if size is None else size for size in spec.shape]).astype(spec.dtype)
        for name, spec in sorted(model.inputs.items())
    }


def _rounded(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The next larger numbers; integers as they are."""
    return {
        name: np.nextafter(values, values.dtype.type(2))
        if np.issubdtype(values.dtype, np.floating)
        else values
        for name, values in inputs.items()
    }


def _difference(values: np.ndarray, expected: np.ndarray) -> float:
    """The largest; numbers that are not finite count as equal where they are the same."""
    same = (values == expected) | (np.isnan(values) & np.isnan(expected))
    return float(np.abs(values[~same].astype(np.float64) - expected[~same]).max(initial=0.0))
