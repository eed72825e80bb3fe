"""The operators that may be rewritten; in a module of its own, so that its import loads nothing else."""

from __future__ import annotations

COUNT, LOOKUP = 'DenseBincount', 'LookupTableFindV2'
REWRITTEN = (COUNT, LOOKUP)
