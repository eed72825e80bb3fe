"""The weights of the last layers, which compute the outputs."""

from __future__ import annotations

from tfx_edge.components.core.compression.graph.graph_scopes import reached
from tfx_edge.components.core.compression.graph.lifted_variables import FUNCTION_ATTRIBUTES
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import weight_uses


def output_weights(graph: ServingGraph) -> frozenset[str]:
    """Keys of the variables whose operations give what no other weight's operation reads.

    Weights in loops and branches, and those before one, are not among them.

    Example:
      ```
      last = output_weights(graph)  # of a net of two dense layers: {'layers/1/kernel'}
      ```
    """
    uses = [(scope, site) for scope, _, site in weight_uses(graph) if not scope.is_body]
    last = set()
    for scope, site in uses:
        behind = reached(scope.consumers.get(site.node, ()), scope.consumers)
        read_on = any(other.node in behind for _, other in uses)
        if not read_on and not any(scope.nodes[name].op in FUNCTION_ATTRIBUTES for name in behind):
            last.add(site.variable.key)
    return frozenset(last)
