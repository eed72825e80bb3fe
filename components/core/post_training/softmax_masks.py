"""Bounds masks in front of a softmax: brings them as near to the scores as leaves its output the same.

A softmax does not see what lies far enough below its maximum: its output holds steps of 1/256 (int16: 1/32768), and
n values that are each exp(-m) of the largest one add up to less than half a step where m is the logarithm of 2 n over
a step. A mask of -1e9, or of the smallest float32, has the effect of one that lies m below the lowest score; but in
integers its range leaves the scores no steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from tfx_edge.components.core.integer_types import levels
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.modes import activation_bits
from tfx_edge.components.core.post_training.fidelity import compare

Range = tuple[float, float]
Ranges = Mapping[str, Range]

# Operators whose output holds the values of their input, or some of these, in another shape.
_SHAPING = frozenset(
    ('BROADCAST_TO', 'EXPAND_DIMS', 'RESHAPE', 'SLICE', 'SQUEEZE', 'STRIDED_SLICE', 'TILE', 'TRANSPOSE')
)
# A mask that is this many times the scores' range and margin away leaves the scores too few steps.
_DWARFS = 4.0
# Number of scores assumed where the last dimension of a softmax is open.
_MANY = 512
_ROUNDING = 1e-6
# Far above the fidelity of eight bits.
_ALIKE_DB = 50.0


@dataclasses.dataclass(frozen=True)
class BoundedMasks:
    """A float file whose masks are near, and the ranges of its activations.

    Attributes:
      file: the same graph and names.
      ranges: (minimum, maximum) by tensor name.
      masks: names of the tensors in which masks and scores meet, in order of execution.
    """

    file: ModelFile
    ranges: Ranges
    masks: tuple[str, ...]


def bound_masks(float_model: bytes | ModelFile, ranges: Ranges, mode: str) -> BoundedMasks:
    """Bounds masks that are added to the scores of a softmax, or selected in their place.

    What is bounded: numbers that are selected (where(mask, scores, -1e9)), and masks that are added, made by a
    product of 0 to 1 and a constant, by a selection of constants, or given as an input, which is then cut off where it
    is rounded. Only such softmaxes may read them. A mask that is not far from the scores stays as it is.

    Args:
      float_model: a float32 `.tflite` file.
      ranges: (minimum, maximum) by tensor name, as calibrated.
      mode: a mode with integer activations.

    Returns:
      The file with bounded constants, and the ranges of its activations; `masks` is empty where nothing was bounded.

    Example:
      >>> bound_masks(model, ranges, 'INT8').ranges['attention/SelectV2']
      (-19.4, 7.1)
    """
    file = ModelFile.of(float_model)
    if not any(limits[0] < 0 for limits in ranges.values()):
        return BoundedMasks(file, ranges, ())
    work = _Work(file.changeable(), dict(ranges), mode)
    masks = work.bound()
    return (
        BoundedMasks(ModelFile.of_content(work.content), work.ranges, masks)
        if masks
        else BoundedMasks(file, ranges, ())
    )


def answers_alike(
    float_model: bytes | ModelFile, bounded: bytes | ModelFile, inputs: Mapping[str, np.ndarray]
) -> bool:
    """Whether a file with bounded masks has the float model's answers, as nearly as integer softmaxes can hold them.

    Args:
      float_model: the float file as it was converted.
      bounded: of `bound_masks`.
      inputs: arrays of shape (examples, ...) by input name.
    """
    expected, found = (LiteRTModel(ModelFile.of(model).data)(inputs) for model in (float_model, bounded))
    return compare(expected, found).db >= _ALIKE_DB


@dataclasses.dataclass(frozen=True)
class _Sum:
    """A mask added to scores: the ADD, its operands, the margin below the scores, and the tensors up to the softmax."""

    operator: flatbuffer.schema.OperatorT
    mask: int
    scores: int
    margin: float
    chain: tuple[int, ...]


class _Work:
    """One file while it is changed."""

    def __init__(self, content: flatbuffer.schema.ModelT, ranges: dict[str, Range], mode: str) -> None:
        self.content, self.ranges = content, ranges
        self._step = 2.0 / levels(activation_bits(mode))
        self._graph = content.subgraphs[0]
        self._maker = {int(i): op for op in self._graph.operators for i in op.outputs}
        self._readers: dict[int, list[flatbuffer.schema.OperatorT]] = {}
        for operator in self._graph.operators:
            for index in operator.inputs:
                self._readers.setdefault(int(index), []).append(operator)

    def bound(self) -> tuple[str, ...]:
        """Bounds all masks; returns the names of the tensors where they meet scores."""
        sums: list[_Sum] = []
        masks = []
        for softmax in [op for op in self._graph.operators if self._kind(op) == 'SOFTMAX']:
            chain = self._shaped_from(int(softmax.inputs[0]))
            maker = self._maker.get(chain[-1])
            margin = self._margin(int(softmax.inputs[0]))
            if maker is None or any(index in self._outputs for index in chain):
                continue
            if self._kind(maker) in ('SELECT', 'SELECT_V2') and self._bound_selection(maker, margin, chain):
                masks.append(self._name(chain[-1]))
            elif self._kind(maker) == 'ADD':
                sums += [found for found in [self._sum(maker, margin, chain)] if found is not None]
        roots = {
            root: [s for s in sums if self._shaped_from(s.mask)[-1] == root]
            for root in dict.fromkeys(self._shaped_from(s.mask)[-1] for s in sums)
        }
        for root, together in roots.items():
            if self._bound_added(root, together):
                masks += [self._name(int(entry.operator.outputs[0])) for entry in together]
        if masks:
            self._drop_what_nothing_reads()
        return tuple(masks)

    @property
    def _outputs(self) -> set[int]:
        return {int(index) for index in self._graph.outputs}

    def _kind(self, operator: flatbuffer.schema.OperatorT) -> str:
        return flatbuffer.operator_name(self.content, operator)

    def _name(self, index: int) -> str:
        return flatbuffer.tensor_name(self._graph.tensors[index])

    def _range(self, index: int) -> Range | None:
        return self.ranges.get(self._name(index))

    def _margin(self, softmax_input: int) -> float:
        shape = flatbuffer.shape(self._graph.tensors[softmax_input])
        return math.log(2 * (shape[-1] if shape and shape[-1] else _MANY) / self._step)

    def _shaped_from(self, index: int) -> tuple[int, ...]:
        """The tensor and those before it that hold its values in another shape, in reverse order of execution."""
        chain = [index]
        while (maker := self._maker.get(chain[-1])) is not None and self._kind(maker) in _SHAPING:
            chain.append(int(maker.inputs[0]))
        return tuple(chain)

    def _sum(
        self, operator: flatbuffer.schema.OperatorT, margin: float, chain: tuple[int, ...]
    ) -> _Sum | None:
        """The sum of scores and a mask that is far below them; None for any other sum."""
        if not self._read_by_one(chain) or operator.builtinOptions.fusedActivationFunction:
            return None
        for mask, scores in (operator.inputs, reversed(operator.inputs)):
            far, near = self._range(int(mask)), self._range(int(scores))
            if far is None or near is None:
                continue
            width = near[1] - near[0] + margin
            if far[0] < -_DWARFS * width and abs(far[1]) <= width:
                return _Sum(operator, int(mask), int(scores), margin, chain)
        return None

    def _bound_added(self, root: int, sums: list[_Sum]) -> bool:
        """Bounds a mask that is added to the scores of one softmax or several; returns whether this was possible."""
        added = {id(entry.operator) for entry in sums}
        tensors = list(self._shapes_of(root))
        readers = [
            op for index in tensors for op in self._readers.get(index, ()) if self._kind(op) not in _SHAPING
        ]
        if any(id(op) not in added for op in readers) or self._outputs & {*tensors}:
            return False
        distance = 0.0
        for entry in sums:
            near = self._range(entry.scores)
            assert near is not None
            distance = max(distance, near[1] - near[0] + entry.margin)
        if not self._bound_maker(root, -distance):
            return False
        for index in tensors:
            low, high = self.ranges[self._name(index)]
            self.ranges[self._name(index)] = max(low, -distance), high
        for entry in sums:
            near = self._range(entry.scores)
            assert near is not None
            self._set(entry.chain, near[0] - entry.margin)
        return True

    def _bound_maker(self, root: int, lowest: float) -> bool:
        """Bounds the constants that a mask is made of; returns whether it is an input or made of such constants."""
        maker = self._maker.get(root)
        if maker is None:
            # An input of the model is cut off where it is rounded.
            return root in {int(index) for index in self._graph.inputs}
        constants = [int(i) for i in maker.inputs if self._is_float_constant(int(i))]
        if self._kind(maker) == 'MUL' and len(constants) == 1:
            (other,) = {int(i) for i in maker.inputs} - {*constants}
            share = self._range(other)
            if share is None or share[0] < -_ROUNDING or share[1] > 1 + _ROUNDING:
                return False
        elif self._kind(maker) not in ('SELECT', 'SELECT_V2') or len(constants) != 2:
            return False
        for index in constants:
            self._replace(maker, index, lowest)
        return True

    def _bound_selection(
        self, operator: flatbuffer.schema.OperatorT, margin: float, chain: tuple[int, ...]
    ) -> bool:
        """Bounds the mask that is selected in place of scores; returns whether there was one to bound."""
        if not self._read_by_one(chain):
            return False
        first, second = (int(index) for index in operator.inputs[1:])
        for mask, scores in ((first, second), (second, first)):
            far, near = self._values(mask), self._range(scores)
            if far is None or near is None:
                continue
            lowest = near[0] - margin
            if far[1] > near[1] or far[0] >= lowest - _DWARFS * (near[1] - lowest):
                continue
            if self._is_float_constant(mask):
                self._replace(operator, mask, lowest)
            elif far[1] < lowest and self._kind(operator) == 'SELECT_V2':
                # Computed (a constant, broadcast), but far below the scores throughout: one number has the same effect.
                self._replace(operator, mask, lowest, np.array(lowest, np.float32))
            else:
                continue
            self._set(chain, lowest)
            return True
        return False

    def _values(self, index: int) -> Range | None:
        """The smallest and the largest value of a constant, or of an activation as it was calibrated."""
        if not self._is_float_constant(index):
            return self._range(index)
        values = flatbuffer.constant(self.content, self._graph.tensors[index])
        return (float(values.min()), float(values.max())) if values is not None and values.size else None

    def _is_float_constant(self, index: int) -> bool:
        tensor = self._graph.tensors[index]
        return flatbuffer.TENSOR_TYPES[tensor.type] == 'FLOAT32' and flatbuffer.is_constant(
            self.content, tensor
        )

    def _read_by_one(self, chain: tuple[int, ...]) -> bool:
        return all(len(self._readers.get(index, ())) == 1 for index in chain)

    def _shapes_of(self, root: int) -> Iterator[int]:
        """The tensor and those after it that hold its values in another shape."""
        yield root
        for operator in self._readers.get(root, ()):
            if self._kind(operator) in _SHAPING and int(operator.inputs[0]) == root:
                yield from self._shapes_of(int(operator.outputs[0]))

    def _set(self, chain: tuple[int, ...], lowest: float) -> None:
        for index in chain:
            high = self.ranges[self._name(index)][1]
            # A tensor that was masked throughout, in every example, has only this value.
            self.ranges[self._name(index)] = lowest, max(high, lowest)

    def _replace(
        self,
        operator: flatbuffer.schema.OperatorT,
        index: int,
        lowest: float,
        values: np.ndarray | None = None,
    ) -> None:
        """Gives the operator a constant of its own: the values, or those of the old one with nothing below `lowest`."""
        old = self._graph.tensors[index]
        if values is None:
            held = flatbuffer.constant(self.content, old)
            assert held is not None
            values = np.maximum(held, np.float32(lowest))
        buffer = flatbuffer.schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.content.buffers.append(buffer)
        tensor = flatbuffer.schema.TensorT()
        tensor.name = (old.name or b'') + f'/bounded_{len(self._graph.tensors)}'.encode()
        tensor.type, tensor.shape = old.type, np.array(values.shape, np.int32)
        tensor.buffer = len(self.content.buffers) - 1
        self._graph.tensors.append(tensor)
        place = [int(i) for i in operator.inputs].index(index)
        operator.inputs[place] = len(self._graph.tensors) - 1

    def _drop_what_nothing_reads(self) -> None:
        """Removes operators whose results nothing reads since constants were replaced."""
        while True:
            read = {int(i) for op in self._graph.operators for i in op.inputs} | self._outputs
            kept = [op for op in self._graph.operators if any(int(i) in read for i in op.outputs)]
            if len(kept) == len(self._graph.operators):
                return
            self._graph.operators = kept
