"""How many bits each weight is to have in the deployed file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tfx_edge.components.core.compression.weights.precisions import FLOAT, Precisions
from tfx_edge.components.core.compression.weights.weight_selection import select_weight_sites
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite
from tfx_edge.components.core.errors import EdgeError


def weight_precisions(sites: Sequence[WeightSite], wanted: Precisions) -> dict[str, int]:
    """The bits of each weight, FLOAT for one that stays float.

    A weight that `include` and `exclude` leave out stays float; of the others each has the bits of the first override
    whose expression is found in its name, and `weight_bits` where none is.

    Args:
      sites: the weights.
      wanted: what the user asks for.

    Returns:
      By variable key.

    Raises:
      EdgeError: nothing is left to quantize, or an override matches no weight.

    Example:
      >>> weight_precisions(sites, options)
      {'layer/kernel': 4, 'head/kernel': 0}
    """
    selected = {
        site.variable.key for site in select_weight_sites(sites, wanted.include, wanted.exclude, 'quantize')
    }
    for pattern, _ in wanted.overrides:
        if not any(re.search(pattern, site.variable.name) for site in sites):
            found = ', '.join(site.variable.name for site in sites)
            raise EdgeError(
                f'the override {pattern!r} is found in the name of no weight (found: {found}); correct the pattern.'
            )
    return {
        site.variable.key: _bits(site.variable.name, wanted) if site.variable.key in selected else FLOAT
        for site in sites
    }


def _bits(name: str, wanted: Precisions) -> int:
    for pattern, bits in wanted.overrides:
        if re.search(pattern, name):
            return bits
    return wanted.weight_bits
