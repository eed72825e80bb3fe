"""Values of a report as a page shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tfx_edge.components.core.page_template import number

# Larger whole numbers are no longer exact in a float.
_MOST_EXACT = 2.0**53


def finite(value: Any) -> float | None:
    """The number, or None for what is no finite number.

    Args:
      value: of a report, of any type.

    Returns:
      A float.

    Example:
      >>> finite(3), finite(float('nan')), finite(None)
      (3.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number that no float holds
        return None


def figure_text(value: Any) -> str:
    """A figure: bytes and cycles with all digits, others with six; nothing for what was not measured.

    Args:
      value: of a report, of any type.

    Returns:
      The text.

    Example:
      >>> figure_text(1234567.0), figure_text(0.123456789), figure_text(None)
      ('1,234,567', '0.123457', '')
    """
    measured = finite(value)
    if measured is None:
        return ''
    return number(int(measured) if measured.is_integer() and abs(measured) < _MOST_EXACT else measured)


def metric_text(metric: Mapping[str, Any] | None) -> str:
    """A metric with its interval, where it has one.

    Args:
      metric: a `MetricRow`, or None where it was not measured.

    Returns:
      The text; '' for None.

    Example:
      >>> metric_text({'value': 0.9749, 'low': 0.96, 'high': 0.98})
      '0.9749 (0.96 to 0.98)'
    """
    value, low, high = (figure_text((metric or {}).get(name)) for name in ('value', 'low', 'high'))
    return f'{value} ({low} to {high})' if value and low and high else value


def shortened(text: str, length: int) -> str:
    """The text, or its beginning where it is longer than a drawing has room for.

    Args:
      text: any.
      length: in letters.

    Returns:
      At most `length` letters.

    Example:
      >>> shortened('zeros50-clusters16-qat-int8', 12)
      'zeros50-clu…'
    """
    return text if len(text) <= length else text[: max(length - 1, 0)] + '…'
