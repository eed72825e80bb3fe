"""Which operators may be written in others; apart from what does it, so that reading it imports nothing."""

from __future__ import annotations

COUNT, LOOKUP = 'DenseBincount', 'LookupTableFindV2'
REWRITTEN = (COUNT, LOOKUP)
