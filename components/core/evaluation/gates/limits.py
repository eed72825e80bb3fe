"""The fields of EdgeEvaluation that set limits, in the order of the report's gates."""

from __future__ import annotations

from tfx_edge.components.core.evaluation.gates.gate import Limit

MIN_AGREEMENT = Limit(
    'min_agreement', lambda v: 0 < v <= 1, 'a share above 0, at most 1', against_baseline=True
)
MAX_FILE_BYTES, MAX_ZIP_BYTES = (
    Limit(field, lambda v: v > 0, 'a number of bytes above 0')
    for field in ('max_file_bytes', 'max_zip_bytes')
)
MAX_LATENCY_RATIO = Limit('max_latency_ratio', lambda v: v > 0, 'a ratio above 0', against_baseline=True)
FULL_INTEGER = Limit('require_full_integer', lambda v: v in (False, True), 'true or false', off=False)
MAX_CLIPPING, MIN_RANGE_USED = (
    Limit(field, lambda v: 0 <= v <= 1, f'a share from 0 to 1, where {off:g} switches it off', off=off)
    for field, off in (('max_clipping', 1.0), ('min_range_used', 0.0))
)

LIMITS: tuple[Limit, ...] = (
    MIN_AGREEMENT,
    MAX_FILE_BYTES,
    MAX_ZIP_BYTES,
    MAX_LATENCY_RATIO,
    FULL_INTEGER,
    MAX_CLIPPING,
    MIN_RANGE_USED,
)
