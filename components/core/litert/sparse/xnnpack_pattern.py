"""Which part of a float file XNNPACK computes with sparse kernels, and what keeps it from doing so.

XNNPACK computes sparse where 1x1 convolutions lie between a stem (a 3x3 convolution of three channels) and a mean over
height and width, or a DEPTH_TO_SPACE, and nothing else lies there but what `misfits` lets pass
(`xnn_check_nchw_compatibility` and `xnn_subgraph_rewrite_for_nchw` in its src/subgraph.c; Elsen et al., 2019,
arXiv:1911.09723). With another operator there, a file with sparse kernels is not only slow: LiteRT.js 2.5.3 computes
wrong answers (`tests/bench/sparse_bench.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.sparse.misfits import asymmetric, misfit, stem_misfit
from tfx_edge.components.core.litert.sparse.net import Net
from tfx_edge.components.core.litert.sparse.rewriting import is_only_read_by


@dataclasses.dataclass(frozen=True)
class SparsePart:
    """What XNNPACK would compute with sparse kernels.

    Attributes:
      kernels: the tensors that hold the kernels of the 1x1 convolutions there, in order, one for each convolution.
      stem: the convolution that it begins with.
      spatial: the convolutions there that are larger than 1x1, the stem among them.
      mirrored: some padding there is even in the mirror image only.
      obstacle: why it would compute with none, in one line; '' where only the number of zeros counts.
    """

    kernels: tuple[int, ...] = ()
    stem: flatbuffer.schema.OperatorT | None = None
    spatial: tuple[flatbuffer.schema.OperatorT, ...] = ()
    mirrored: bool = False
    obstacle: str = ''


class _Obstacle(Exception):
    """What is in the way, in one line."""


def sparse_part(graph: Net) -> SparsePart:
    """Follows the operators behind each stem to where the sparse part ends.

    Args:
      graph: of a float file.

    Returns:
      The part, or what is in the way: the first operator that does not belong there, and what to change.

    Example:
      ```
      obstacle = sparse_part(Net(ModelFile(mobilenet).content)).obstacle
      ```
    """
    try:
        return _Walk(graph).part()
    except _Obstacle as obstacle:
        return SparsePart(obstacle=str(obstacle))


class _Walk:
    """Through a graph, in order of execution."""

    def __init__(self, graph: Net) -> None:
        self._graph = graph
        self._inside: set[int] = set()
        self._stem: flatbuffer.schema.OperatorT | None = None
        self._pointwise: list[flatbuffer.schema.OperatorT] = []
        self._spatial: list[flatbuffer.schema.OperatorT] = []
        self._ends = False

    def part(self) -> SparsePart:
        for operator in self._graph.operators:
            if self._inside.intersection(map(int, operator.inputs)):
                self._enter(operator)
            elif self._graph.looks_like_stem(operator):
                self._begin(operator)
        self._require_ends()
        self._require_own_kernels()
        mirrored = not all(self._graph.is_even(operator, mirrored=False) for operator in self._spatial)
        if mirrored:
            self._require_symmetry()
        kernels = tuple(self._graph.held_kernel(operator) for operator in self._pointwise)
        return SparsePart(kernels, self._stem, tuple(self._spatial), mirrored)

    def _begin(self, operator: flatbuffer.schema.OperatorT) -> None:
        """Takes an operator as the stem; XNNPACK would begin at a second one too, and judge its part by itself."""
        reason = stem_misfit(self._graph, operator)
        if not reason and self._stem is not None:
            reason = 'is a second stem; expected one'
        if reason:
            raise _Obstacle(f'{self._graph.name(operator)} {reason}')
        self._stem = operator
        self._spatial.append(operator)
        self._inside.update(map(int, operator.outputs))

    def _enter(self, operator: flatbuffer.schema.OperatorT) -> None:
        """Goes through an operator that reads what is inside."""
        reason = misfit(self._graph, operator)
        if reason:
            raise _Obstacle(f'{self._graph.name(operator)} {reason}')
        for index in self._graph.activations(operator):
            if index not in self._inside:
                raise _Obstacle(
                    f'{self._graph.name(operator)} also reads {self._graph.tensor_name(index)!r}, which does not come '
                    'from the stem'
                )
        self._take(operator)
        if self._is_end(operator):
            self._ends = True
        else:
            self._inside.update(map(int, operator.outputs))

    def _take(self, operator: flatbuffer.schema.OperatorT) -> None:
        kernel = self._graph.kernel(operator) if self._graph.is_convolution(operator) else None
        if kernel is not None:
            (self._pointwise if kernel.shape[1:3] == (1, 1) else self._spatial).append(operator)

    def _is_end(self, operator: flatbuffer.schema.OperatorT) -> bool:
        kind = self._graph.kind(operator)
        if kind != 'MEAN':
            return kind == 'DEPTH_TO_SPACE'
        readers = self._graph.readers(int(operator.outputs[0]))
        fitting = [not misfit(self._graph, reader) for reader in readers]
        if any(fitting) and not all(fitting):
            raise _Obstacle(
                f'{self._graph.name(operator)} is read inside of what would be sparse and behind it'
            )
        for reader, fits in zip(readers, fitting, strict=True):
            # Of another one LiteRT.js 2.5.3 mistakes the layout, and does not load the file.
            if fits and self._graph.kind(reader) != 'CONV_2D':
                raise _Obstacle(
                    f'{self._graph.name(reader)} reads pooled values; expected a 1x1 convolution between, as in '
                    'squeeze and excitation'
                )
        if any(fitting):
            return False
        self._require_end(operator, readers)
        return True

    def _require_end(
        self, operator: flatbuffer.schema.OperatorT, readers: Sequence[flatbuffer.schema.OperatorT]
    ) -> None:
        """Raises an obstacle where what reads a mean would see the channels first, as XNNPACK has them inside."""
        kept = operator.builtinOptions.keepDims
        strange = [reader for reader in readers if not self._graph.takes_mean(reader, kept=kept)]
        if strange or (kept and int(operator.outputs[0]) in self._graph.outputs):
            reader = self._graph.name(strange[0]) if strange else 'an output of the net'
            raise _Obstacle(
                f'{self._graph.name(operator)} keeps one row and one column for {reader}; expected '
                'GlobalAveragePooling2D without keepdims, then Dense'
            )

    def _require_ends(self) -> None:
        """Raises an obstacle where there is no stem, no 1x1 convolution or no end."""
        if not self._inside:
            raise _Obstacle(_no_stem(self._graph))
        for index in sorted(self._graph.outputs):
            if index in self._inside:
                raise _Obstacle(
                    f'the output {self._graph.tensor_name(index)!r} is read inside of what would be sparse; '
                    'expected a mean over height and width before it'
                )
        if not self._pointwise or not self._ends:
            missing = 'mean over height and width' if self._pointwise else '1x1 convolution'
            raise _Obstacle(f'behind the stem there is no {missing}')

    def _require_own_kernels(self) -> None:
        """Raises an obstacle where a kernel is an output, or something else reads it that may be computed apart."""
        for operator in [*self._pointwise, *self._spatial]:
            kernel = self._graph.held_kernel(operator)
            if kernel in self._graph.outputs or not is_only_read_by(
                self._graph, kernel, [*self._pointwise, *self._spatial]
            ):
                raise _Obstacle(f'the kernel of {self._graph.name(operator)} is read elsewhere too')

    def _require_symmetry(self) -> None:
        """Raises an obstacle where the mirror image cannot stand for the image."""
        for operator in self._graph.operators:
            reads = self._inside.intersection(map(int, operator.inputs))
            if reads and asymmetric(self._graph, operator):
                raise _Obstacle(
                    f'{self._graph.name(operator)} does not take the mirror image, which padding needs that has a row '
                    'more after than before; take an input size of 32 n + 1, such as 225: all its halves are odd'
                )
        for operator in self._spatial:
            if not self._graph.is_even(operator, mirrored=True):
                raise _Obstacle(
                    f'{self._graph.name(operator)} pads as much before as after at an even size, and others less '
                    "before than after; take padding 'same' for all"
                )


def _no_stem(graph: Net) -> str:
    """What the first convolution lacks to be a stem."""
    for operator in graph.operators:
        if graph.kind(operator) in ('CONV_2D', 'DEPTHWISE_CONV_2D'):
            return f'{graph.name(operator)}, the first convolution, {stem_misfit(graph, operator)}'
    return 'there is no convolution'
