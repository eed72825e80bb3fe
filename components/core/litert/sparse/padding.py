"""How many zeros a convolution of a file reads around its input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer

# Before and after, of height and of width.
Around = tuple[tuple[int, int], tuple[int, int]]


def same_around(size: Sequence[int | None], kernel: Sequence[int], stride: Sequence[int]) -> Around | None:
    """What SAME padding adds (TensorFlow, `tf.nn.convolution`).

    Args:
      size: height and width of the input.
      kernel: of the kernel.
      stride: in both directions.

    Returns:
      Rows and columns of zeros; None where a size is open.

    Example:
      >>> same_around((224, 224), (3, 3), (2, 2))
      ((0, 1), (0, 1))
    """
    found = []
    for length, taps, step in zip(size, kernel, stride, strict=True):
        if length is None:
            return None
        total = max((-(-length // step) - 1) * step + taps - length, 0)
        found.append((total // 2, total - total // 2))
    return found[0], found[1]


def is_even(
    around: Around | None, size: Sequence[int | None], taps: int, stride: int, *, mirrored: bool
) -> bool:
    """Whether a convolution yields the same with half a kernel of zeros on all sides.

    SAME padding at an even size and stride 2 has one row less before than after. In the mirror image it is the other
    way around, and a last row more is one that no window reaches: there even padding yields the same. Padding that is
    even at an even size is not so in the mirror image, where the windows lie one row further.

    Args:
      around: the rows and columns of zeros.
      size: height and width within them.
      taps: height and width of the kernel.
      stride: in both directions, 1 or 2.
      mirrored: ask of the mirror image, in height and width.

    Example:
      >>> [is_even(((0, 1), (0, 1)), (224, 224), 3, 2, mirrored=mirrored) for mirrored in (False, True)]
      [False, True]
    """
    half = taps // 2
    if around is None or None in size:
        return False
    expected = [
        (half - 1, half)
        if mirrored and stride == 2 and length is not None and length % 2 == 0
        else (half, half)
        for length in size
    ]
    return list(around) == expected


def of_pad(
    content: flatbuffer.schema.ModelT,
    graph: flatbuffer.schema.SubGraphT,
    operator: flatbuffer.schema.OperatorT,
) -> Around | None:
    """What an operator PAD adds.

    Args:
      content: a model.
      graph: one of its graphs.
      operator: a PAD of that graph.

    Returns:
      Rows and columns; None where it pads something else too, or by amounts that the file does not hold.
    """
    amounts = flatbuffer.constant(content, graph.tensors[operator.inputs[1]])
    # XNNPACK takes amounts of no other type.
    if amounts is None or amounts.dtype != np.int32 or amounts.shape != (4, 2) or amounts[[0, 3]].any():
        return None
    (top, bottom), (left, right) = ((int(before), int(after)) for before, after in amounts[1:3])
    return (top, bottom), (left, right)
