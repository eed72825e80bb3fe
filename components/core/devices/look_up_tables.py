"""A second file, for microcontrollers: kernels of few values as look-up tables, which TensorFlow Lite Micro decodes.

Each kernel of at most 2^b integers takes b bits a weight and a table: one for the kernel, or one for each output
channel. An operator TFLM_DECODE in front of each consumer fills it in. LiteRT does not load such a file. What the
runtime does not read is left out: open sizes, and names of tensors but for inputs and outputs.

See `tflite_micro.compression` in the wheel, and Han et al., 2016, arXiv:1510.00149, section 3.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import math
import warnings
from collections.abc import Mapping, Sequence, Set

import numpy as np

from tfx_edge.components.core.devices import tflite_micro
from tfx_edge.components.core.devices.micro_runtime import MicroInputs
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile

FILE_NAME = 'tflite_micro'

_LOG = logging.getLogger(__name__)
_MOST_BITS = 7
# Of a table's header.
_HEADER_BYTES = 16
# A kernel is compressed without a trial where this much is saved, for each channel and besides.
_CERTAIN_BYTES, _CERTAIN_BYTES_OF_CHANNEL = 2048, 32
_DECODE = 'TFLM_DECODE'
# In a table's header: the entries from one channel's table to the next.
_STRIDE_BYTE = 6


@dataclasses.dataclass(frozen=True)
class TabledKernel:
    """A kernel as a look-up table.

    Attributes:
      name: of the tensor.
      bits: of an index.
      tables: how many there are: 1, or one for each channel.
      plain_bytes: of its integers.
      stored_bytes: of its indices and tables.
    """

    name: str
    bits: int
    tables: int
    plain_bytes: int
    stored_bytes: int


@dataclasses.dataclass(frozen=True)
class MicroFile:
    """The file for microcontrollers.

    Attributes:
      data: its bytes.
      kernels: that are look-up tables.
      left: names of the other kernels, with the reason.
      examples: on which it answered as the plain file, to the last bit.
    """

    data: bytes
    kernels: tuple[TabledKernel, ...]
    left: Mapping[str, str]
    examples: int


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A kernel, its place in the file, and how it would be stored."""

    subgraph: int
    tensor: int
    axis: int | None
    channels: int
    tabled: TabledKernel

    @property
    def saved(self) -> int:
        return self.tabled.plain_bytes - self.tabled.stored_bytes

    @property
    def saves_for_certain(self) -> bool:
        return self.saved > _CERTAIN_BYTES + _CERTAIN_BYTES_OF_CHANNEL * self.channels

    def spec(self) -> str:
        """Its entry in the tool's own language."""
        mode = 'per_tensor:' if self.axis is None else f'per_channel:\n            axis: {self.axis}'
        return (
            f'  - subgraph: {self.subgraph}\n    tensor: {self.tensor}\n    compression:\n      - lut:\n'
            f'          index_bitwidth: {self.tabled.bits}\n          {mode}\n'
        )


def require_tool() -> None:
    """Refuses to go on where TensorFlow Lite Micro is not installed.

    Raises:
      EdgeError: with the command that brings it.
    """
    try:
        importlib.metadata.version('tflite-micro')
    except importlib.metadata.PackageNotFoundError:
        raise EdgeError(
            f'Quantization.for_micro needs TensorFlow Lite Micro; {tflite_micro.ABSENT}.'
        ) from None


def make(model: ModelFile, inputs: Mapping[str, np.ndarray]) -> MicroFile:
    """Stores the kernels as look-up tables that become smaller by it, and proves that the file answers the same.

    Native code runs in this process, which a bad file may end.

    Args:
      model: an integer `.tflite` file.
      inputs: of the examples to prove it on, by input name, arrays of shape (rows, ...).

    Returns:
      The file; the same one for the same input.

    Raises:
      EdgeError: the runtime does not load the plain file, no kernel becomes smaller, or an answer differs.

    Example:
      ```
      made = make(ModelFile(pathlib.Path('digits_int8.tflite').read_bytes()), {'image': images})
      print([(kernel.name, kernel.bits) for kernel in made.kernels])  # [('conv2d/kernel', 4)]
      ```
    """
    arena = _arena_bytes(model)
    candidates, left = _candidates(model)
    chosen, data = _smaller(model, candidates)
    for candidate in candidates:
        if candidate not in chosen:
            left[candidate.tabled.name] = 'the table, and what decodes it, takes more bytes than is saved'
    if not chosen:
        raise EdgeError(
            'Quantization.for_micro: no kernel of the file becomes smaller as a look-up table '
            f'({_first_reasons(left)}). Put a Clusterer with number_of_clusters 16 or fewer before, or leave '
            'for_micro unset.'
        )
    examples = MicroInputs(model, inputs)
    _require_equal(model, data, chosen, examples, arena)
    return MicroFile(data, tuple(candidate.tabled for candidate in chosen), left, examples.rows)


def log(made: MicroFile, plain_bytes: int) -> None:
    """Says what was gained and what was left.

    Args:
      made: the file.
      plain_bytes: of the file that it was made of.
    """
    _LOG.info(
        'for microcontrollers: %d of %d kernels as look-up tables, %d bytes, %.3f of the plain file without metadata; '
        'equal to the last bit on %d examples',
        len(made.kernels),
        len(made.kernels) + len(made.left),
        len(made.data),
        len(made.data) / plain_bytes,
        made.examples,
    )
    for name, reason in made.left.items():
        _LOG.info('for microcontrollers: %s stays as it is: %s', name, reason)


def _arena_bytes(model: ModelFile) -> int:
    recorded = tflite_micro.record(model)
    if recorded.arena_bytes is not None:
        return recorded.arena_bytes
    missing = recorded.missing_operators
    reason = f'it lacks {", ".join(missing)}' if missing else recorded.refusal
    raise EdgeError(
        f'Quantization.for_micro: TensorFlow Lite Micro does not load the file ({reason}); make it with mode INT8 '
        'and without such operators, or leave for_micro unset.'
    )


def _candidates(model: ModelFile) -> tuple[list[_Candidate], dict[str, str]]:
    """The kernels that could become tables, those that save most first; and the names of others, with the reason."""
    candidates, left = [], {}
    for subgraph, graph in enumerate(model.content.subgraphs):
        for number, tensor in enumerate(graph.tensors):
            if flatbuffer.TENSOR_TYPES[tensor.type] != 'INT8':
                continue
            values = flatbuffer.constant(model.content, tensor)
            if values is None or not values.size:
                continue
            name = flatbuffer.tensor_name(tensor)
            found = [c for c in _ways(name, subgraph, number, tensor, values) if c.saved > 0]
            if found:
                candidates.append(max(found, key=lambda candidate: candidate.saved))
            else:
                left[name] = f'{len(np.unique(values))} different integers in {values.size} weights'
    return sorted(candidates, key=lambda c: (-c.saved, c.subgraph, c.tensor)), left


def _ways(
    name: str, subgraph: int, number: int, tensor: flatbuffer.schema.TensorT, values: np.ndarray
) -> list[_Candidate]:
    """One table, and where the kernel has a scale for each channel, a table for each."""
    scales = tensor.quantization.scale if tensor.quantization is not None else None
    channels = 1 if scales is None else len(scales)
    axes: list[int | None] = [None]
    if channels > 1:
        axes.append(int(tensor.quantization.quantizedDimension))
    ways = []
    for axis in axes:
        slices = [values] if axis is None else list(np.moveaxis(values, axis, 0))
        most = max(len(np.unique(part)) for part in slices)
        bits = max(1, math.ceil(math.log2(most)))
        if bits <= _MOST_BITS:
            stored = math.ceil(values.size * bits / 8) + _HEADER_BYTES + len(slices) * most
            kernel = TabledKernel(name, bits, len(slices), values.size, stored)
            ways.append(_Candidate(subgraph, number, axis, channels, kernel))
    return ways


def _smaller(model: ModelFile, candidates: Sequence[_Candidate]) -> tuple[list[_Candidate], bytes]:
    """Those that make the file smaller, and the file: tried one after the other where that is not certain."""
    chosen = [candidate for candidate in candidates if candidate.saves_for_certain]
    data = _compressed(model, chosen)
    for candidate in candidates:
        if candidate not in chosen:
            tried = _compressed(model, [*chosen, candidate])
            if len(tried) < len(data):
                chosen, data = [*chosen, candidate], tried
    return chosen, data


def _compressed(model: ModelFile, candidates: Sequence[_Candidate]) -> bytes:
    """The file with some kernels as tables, and without what the runtime does not read."""
    content = model.changeable()
    if candidates:
        from tflite_micro import compression

        specs = compression.parse_yaml('tensors:\n' + ''.join(candidate.spec() for candidate in candidates))
        with warnings.catch_warnings():
            # Of kernels that share their bytes with a tensor that stays: these make no file smaller, and are named.
            warnings.simplefilter('ignore')
            content = flatbuffer.parse(bytearray(compression.compress(model.data, specs)))
        _correct_tables(
            content, {candidate.tabled.name for candidate in candidates if candidate.axis is None}
        )
    _leave_out_unread(content)
    return flatbuffer.write(content)


def _leave_out_unread(content: flatbuffer.schema.ModelT) -> None:
    for graph in content.subgraphs:
        named = {int(index) for index in (*graph.inputs, *graph.outputs)}
        for number, tensor in enumerate(graph.tensors):
            if number not in named:
                tensor.name = None
            tensor.shapeSignature = None


def _correct_tables(content: flatbuffer.schema.ModelT, names: Set[str]) -> None:
    """Takes the scales off the indices, and sets the stride to 0 in the headers of kernels with one table.

    The decoder takes the number of tables from the scales of the kernel, so that of a kernel with one table and many
    scales all channels but the first are read from behind the table (tflite-micro #3685). With a stride of 0 from one
    table to the next every channel reads the first, as it does where the fault is mended (#3691).
    """
    for graph in content.subgraphs:
        for operator in graph.operators:
            if flatbuffer.operator_name(content, operator) != _DECODE:
                continue
            for indices, table in zip(operator.inputs[::2], operator.inputs[1::2], strict=True):
                tensor = graph.tensors[indices]
                tensor.quantization = None
                if flatbuffer.tensor_name(tensor) in names:
                    buffer = content.buffers[graph.tensors[table].buffer]
                    header = np.array(buffer.data, np.uint8)
                    header[_STRIDE_BYTE] = 0
                    buffer.data = header


def _require_equal(
    model: ModelFile, data: bytes, chosen: Sequence[_Candidate], examples: MicroInputs, arena: int
) -> None:
    """Refuses a file that does not answer every example as the plain one does.

    Raises:
      EdgeError: with the names of the kernels that are decoded wrong.
    """
    # Decoded kernels take the arena too.
    arena += sum(candidate.tabled.plain_bytes for candidate in chosen)
    plain = examples.answers(model.data, arena)
    if _equal(plain, examples.answers(data, arena)):
        return
    alone = (
        c.tabled.name for c in chosen if not _equal(plain, examples.answers(_compressed(model, [c]), arena))
    )
    raise EdgeError(
        'Quantization.for_micro: the file for microcontrollers answers otherwise than the plain file; wrong as look-up '
        f'tables: {", ".join(alone) or "several kernels together"}. Leave for_micro unset, and report this version of '
        f'tflite-micro ({importlib.metadata.version("tflite-micro")}).'
    )


def _equal(first: Sequence[Sequence[np.ndarray]], second: Sequence[Sequence[np.ndarray]]) -> bool:
    pairs = (
        (a, b) for one, other in zip(first, second, strict=True) for a, b in zip(one, other, strict=True)
    )
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def _first_reasons(left: Mapping[str, str]) -> str:
    reasons = [f'{name}: {reason}' for name, reason in left.items()]
    more = f', and {len(reasons) - 3} more' if len(reasons) > 3 else ''
    return ', '.join(reasons[:3]) + more if reasons else 'it has no int8 kernel'
