"""Reports of a selection, as `selection.json` holds them."""

from __future__ import annotations

from typing import Any

ZIP = {'key': 'zip_bytes', 'title': 'zip bytes', 'is_objective': True}
CYCLES = {'key': 'ethos-u55-128 cycles', 'title': 'ethos-u55-128: cycles', 'is_objective': False}


def kernel(name: str = 'conv/kernel', limit: float = 1.0, **changed: Any) -> dict[str, Any]:
    counts = {'before': [1, 4, 1], 'after': [1, 9, 0], 'zeros': 9, 'distinct': 16}
    counts |= {'zeros_before': 0, 'distinct_before': 6}
    return {'name': name, 'limit': limit, **counts, **changed}


def candidate(route: str, zip_bytes: float | None = 9000, metric: float | None = 0.97, **changed: Any) -> Any:
    """A candidate that is blessed and on the front, unless it is changed."""
    return {
        'route': route,
        'steps': route.split('-'),
        'recipe': '',
        'verdict': 'BLESSED',
        'reasons': [],
        'outcome': f'outcome of {route}',
        'on_front': True,
        'metric': None if metric is None else {'value': metric, 'low': None, 'high': None},
        'figures': {'zip_bytes': zip_bytes},
        'report': '',
        'weights': [],
        **changed,
    }


def report(*candidates: Any, chosen: str | None = None, **changed: Any) -> dict[str, Any]:
    """A selection by zip bytes; the first is chosen unless another is named."""
    return {
        'format_version': 1,
        'verdict': 'BLESSED',
        'chosen': candidates[0]['route'] if chosen is None else chosen,
        'reason': 'zip bytes 7,000, the lowest of 2 that hold every limit',
        'examples': 2000,
        'metric': {
            'name': 'accuracy',
            'output': '',
            'higher_is_better': True,
            'interval': '',
            'is_objective': False,
            'baseline': {'value': 0.98, 'low': None, 'high': None},
        },
        'axes': [ZIP],
        'candidates': list(candidates),
        'notes': [],
        **changed,
    }
