"""In which order the local runner walks the routes of an EdgeSelector, and when it has seen enough of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tfx.proto.orchestration import pipeline_pb2

from tfx_edge import proto
from tfx_edge.components.core.selection.route import Route
from tfx_edge.components.edge_selector import keys
from tfx_edge.components.edge_selector.options import decode_routes, objective
from tfx_edge.components.tfx_interface import exec_properties
from tfx_edge.pipelines.tolerated_failures import selectors


@dataclasses.dataclass(frozen=True)
class Walk:
    """The routes of one EdgeSelector.

    Attributes:
      routes: those with few steps first.
      selector: the id of the EdgeSelector.
      users: ids of the components that come right after each, by its id.
      stop_at_first: whether a candidate that holds every limit ends the walk.
      budget_minutes: after which no other route is begun; 0 for no budget.
    """

    routes: tuple[Route, ...]
    selector: str = ''
    users: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    stop_at_first: bool = False
    budget_minutes: float = 0

    def enough(
        self, done: Iterable[str], lost: Iterable[str], minutes: float, holds_all: Callable[[str], bool]
    ) -> str:
        """Why no other route is begun; '' where the walk goes on, or a route is under way.

        Args:
          done: ids of the components that have run.
          lost: of those that have failed, or cannot run.
          minutes: since the run began.
          holds_all: whether the candidate of an EdgeEvaluator, by its id, holds every limit.

        Returns:
          The reason, for a log.
        """
        ran, gone = set(done), set(lost)
        finished = [route for route in self.routes if ran.issuperset(route.components)]
        settled = {step for route in finished for step in route.components}
        open_ones = [
            route for route in self.routes if route not in finished and not gone & set(route.components)
        ]
        under_way = any(ran & (set(route.components) - settled) for route in open_ones)
        if not finished or under_way:
            return ''
        blessed = [route for route in finished if self.stop_at_first and holds_all(route.components[-1])]
        if blessed:
            return f'{blessed[0].name} holds every limit (Selection.stop_at_first)'
        if self.budget_minutes and minutes >= self.budget_minutes:
            return f'the budget of {self.budget_minutes:g} minutes is spent (Selection.budget_minutes)'
        return ''

    def only_of_others(self, done: Iterable[str], lost: Iterable[str]) -> list[str]:
        """The components that have not run and that only unfinished routes need.

        Args:
          done: ids of the components that have run.
          lost: of those that have failed, or cannot run; their routes have a reason already.

        Returns:
          Their ids, in the order of the walk. One that something else needs, such as another EdgeSelector, is not
          among them.
        """
        ran, gone = set(done), set(lost)
        left = [
            step
            for route in self.routes
            if not gone & set(route.components)
            for step in route.components
            if step not in ran
        ]
        kept = list(dict.fromkeys(left))
        while needed := [step for step in kept if self.users.get(step, frozenset()) - {*kept, self.selector}]:
            kept = [step for step in kept if step not in needed]
        return kept


def walks(pipeline: pipeline_pb2.Pipeline) -> list[Walk]:
    """The walk of each EdgeSelector of a pipeline.

    Args:
      pipeline: compiled by TFX, with the parameters of the run in it.

    Returns:
      In the order of the pipeline.

    Raises:
      EdgeError: a selection that came with the run is at fault.
    """
    users = {
        node.pipeline_node.node_info.id: frozenset(node.pipeline_node.downstream_nodes)
        for node in pipeline.nodes
    }
    return [_walk(node, users) for node in selectors(pipeline)]


def in_order_of_walk(pipeline: pipeline_pb2.Pipeline) -> list[pipeline_pb2.Pipeline.PipelineOrNode]:
    """The nodes route by route, each behind those that it needs.

    TFX sorts them by their distance from the start, so that the first candidate would be there when nearly all are.

    Args:
      pipeline: compiled by TFX.

    Returns:
      All nodes.
    """
    nodes = {node.pipeline_node.node_info.id: node for node in pipeline.nodes}
    routes = [route for walk in walks(pipeline) for route in walk.routes]
    wanted = [*(step for route in routes for step in route.components), *nodes]
    ordered: dict[str, Any] = {}
    for step in wanted:
        for needed in _with_upstream(step, nodes, ordered):
            ordered[needed] = nodes[needed]
    return list(ordered.values())


def _with_upstream(
    step: str, nodes: Mapping[str, pipeline_pb2.Pipeline.PipelineOrNode], ordered: Mapping[str, Any]
) -> Iterator[str]:
    if step not in nodes or step in ordered:
        return
    for before in nodes[step].pipeline_node.upstream_nodes:
        yield from _with_upstream(before, nodes, ordered)
    yield step


def _walk(node: pipeline_pb2.PipelineNode, users: Mapping[str, frozenset[str]]) -> Walk:
    config = exec_properties.decode(_parameter(node, keys.SELECTION_CONFIG), proto.Selection)
    objective(config)  # refused now, not when everything is made
    routes = decode_routes(_parameter(node, keys.ROUTES) or '[]')
    by_steps = sorted(routes, key=lambda route: len(route.components))
    return Walk(
        tuple(by_steps),
        node.node_info.id,
        users,
        config.stop_at_first,
        config.budget_minutes,
    )


def _parameter(node: pipeline_pb2.PipelineNode, key: str) -> str:
    # Asking a map of protobuf for a key puts it there.
    known = node.parameters.parameters
    return str(known[key].field_value.string_value) if key in known else ''
