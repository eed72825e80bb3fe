"""How slices and metrics of TFMA are named in reports."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

# A number of `report.json`; 'nan', 'inf' or '-inf' where it is none.
Number: TypeAlias = float | str
# Features of a slice with their values; [] for all examples.
SliceFeatures: TypeAlias = list[tuple[str, Any]]


def sub_key(key: Any) -> str:
    """The class or rank a metric is for, and how classes were averaged: 'class_id=3', 'macro_average', ''."""
    parts = [
        f'{field}={getattr(key.sub_key, field).value}'
        for field in ('class_id', 'k', 'top_k')
        if key.sub_key.HasField(field)
    ]
    return ' '.join([*parts, *filter(None, [key.aggregation_type.WhichOneof('type')])])


def number(value: float) -> Number:
    """A value for JSON, which has no NaN and no infinity: these become strings."""
    return value if math.isfinite(value) else str(float(value))


def slice_features(slice_key: Any) -> SliceFeatures:
    """A slice's features and values; [] for all examples."""
    return [(single.column, _slice_value(single)) for single in slice_key.single_slice_keys]


def _slice_value(single: Any) -> Any:
    kind = single.WhichOneof('kind')
    value = getattr(single, kind) if kind else ''
    if isinstance(value, bytes):
        return value.decode('utf-8', 'replace')
    return number(value) if isinstance(value, float) else value
