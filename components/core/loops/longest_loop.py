"""The most rounds of a loop that is unrolled; in a module of its own, so that its import loads nothing else."""

from __future__ import annotations

# Each round is a copy of the loop's body: with more rounds there would be thousands of operators.
MOST_ROUNDS = 128
