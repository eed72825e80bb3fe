"""The integers of quantized numbers: their bounds, and the real size of one step.

By LiteRT's 8-bit quantization specification, activations of 8 bits use all integers, with a zero point; activations of
16 bits and kernels use a symmetric narrow range, without the lowest integer.
"""

from __future__ import annotations

BITS = {'INT4': 4, 'INT8': 8, 'INT16': 16}
# Smallest and largest, by type of a tensor.
BOUNDS = {'INT4': (-8, 7), 'INT8': (-128, 127), 'UINT8': (0, 255), 'INT16': (-32768, 32767)}


def largest(bits: int) -> int:
    """The largest integer of a symmetric narrow range: 127 for 8 bits, 7 for 4, 32767 for 16.

    Example:
      >>> largest(8)
      127
    """
    return 2 ** (bits - 1) - 1


def narrow_bounds(bits: int) -> tuple[int, int]:
    """The smallest and the largest integer of a symmetric narrow range.

    Example:
      >>> narrow_bounds(16)
      (-32767, 32767)
    """
    return -largest(bits), largest(bits)


def levels(bits: int) -> int:
    """How many integers there are.

    Example:
      >>> levels(8)
      256
    """
    return 2**bits


def steps(bits: int) -> int:
    """How many steps lie between the lowest and the highest integer of a full range: 255 for 8 bits.

    Example:
      >>> steps(8)
      255
    """
    return levels(bits) - 1


def narrow_steps(bits: int) -> int:
    """How many steps lie between the ends of a symmetric narrow range: 254 for 8 bits, 65534 for 16.

    Example:
      >>> narrow_steps(16)
      65534
    """
    return 2 * largest(bits)


def activation_scale(low: float, high: float, bits: int) -> float:
    """The real size of one step of an activation.

    Args:
      low: smallest real number, at most 0.
      high: largest, at least 0.
      bits: 8 for a full range with a zero point, 16 for a symmetric one.

    Returns:
      The scale.

    Example:
      >>> activation_scale(-1.0, 2.0, 8)
      0.011764705882352941
    """
    return max(-low, high) / largest(bits) if bits == 16 else (high - low) / steps(bits)
