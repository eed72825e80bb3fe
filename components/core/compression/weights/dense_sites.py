"""Weights of fully connected layers, as the file has them: with a scale for each unit, or one in all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tfx_edge.components.core.compression.weights.weight_sites import WeightSite
from tfx_edge.components.core.dense_scales import PER_TENSOR


def with_dense_scales(sites: Sequence[WeightSite], dense_scales: str) -> tuple[WeightSite, ...]:
    """The sites with the scales that were asked for.

    Args:
      sites: of `find_weight_sites`, which have a scale for each unit.
      dense_scales: PER_CHANNEL, or PER_TENSOR for one scale in all in kernels of fully connected layers.

    Returns:
      The sites, in their order.
    """
    return tuple(map(_with_one_scale, sites)) if dense_scales == PER_TENSOR else tuple(sites)


def _with_one_scale(site: WeightSite) -> WeightSite:
    uses = tuple(map(_with_one_scale, site.uses))
    return dataclasses.replace(site, uses=uses, one_scale=site.fully_connected)
