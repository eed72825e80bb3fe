"""Warns of a pruned last layer in which few weights are left for each output."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.output_weights import output_weights
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite

_LOG = logging.getLogger(__name__)
# With 3.2 weights for each class nets keep their accuracy, with 2.6 they begin to lose it, with 1.6 they lose a fifth
# (`make bench-compression ARGS="--validation --seeds 3 4 --points 'sparse 80' 'sparse 84' 'sparse 87' 'sparse 90'"`).
_FEWEST = 3


def warn_of_thin_outputs(
    graph: ServingGraph, sites: Sequence[WeightSite], kept: Mapping[str, int], *, others: str
) -> None:
    """Warns where fewer than three weights are kept for each output of a last layer.

    A class that reads one or two of the units in front of it can hardly be told from the others, however long the net
    is trained. The last layer often holds so few of all weights that its zeros save next to nothing.

    Args:
      graph: the signature.
      sites: of the weights that are pruned.
      kept: how many of each weight's values are not zero, by variable key.
      others: what else helps, for the message; '' for nothing.

    Example:
      ```
      warn_of_thin_outputs(graph, sites, {'layers/1/kernel': 16}, others=", or set scope='GLOBAL'")
      ```
    """
    last = output_weights(graph)
    for site in sites:
        key, shape = site.variable.key, site.variable.value.shape
        outputs = int(np.prod([shape[axis] for axis in site.channel_axes])) if site.channel_axes else 0
        if key in last and kept[key] < min(_FEWEST * outputs, site.variable.value.size):
            _LOG.warning(
                '%s keeps %d of %d weights for %s: with fewer than %d for each, most models answer much worse. '
                "Leave it dense with exclude=['^%s$']%s.",
                site.variable.name,
                kept[key],
                site.variable.value.size,
                'one output' if outputs == 1 else f'{outputs} outputs',
                _FEWEST,
                re.escape(site.variable.name),
                others,
            )
