"""Routes without TFX, for tests of what a search does with them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

_LEVELS = {
    'pruning': ('', 'zeros50', 'zeros75', 'zeros90'),
    'clustering': ('', 'clusters16', 'clusters8'),
    'qat': ('', 'qat', 'qatw4'),
    'quantization': ('float16', 'int8', 'int4x8'),
}
# A file computes as was simulated.
_MODE = {'qat': 'int8', 'qatw4': 'int4x8'}


def routes() -> list[Any]:
    """As `planned_routes` gives them: 60 of the 108 combinations, in the order of a tree."""
    found = []
    for steps in itertools.product(*_LEVELS.values()):
        *_, qat, mode = steps
        if _MODE.get(qat, mode) == mode:
            stages = [
                SimpleNamespace(level=level, step=step)
                for level, step in zip(_LEVELS, steps, strict=True)
                if step
            ]
            name = '-'.join(stage.step for stage in stages)
            found.append(SimpleNamespace(name=name, stages=tuple(stages), training=''))
    return found
