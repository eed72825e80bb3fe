"""How long a loop may be that is written out; apart from what does it, so that reading it imports nothing."""

from __future__ import annotations

# Each round is a copy of the loop's body: thousands of operators from here on.
MOST_ROUNDS = 128
