"""Which failures of steps a run goes on after, read off the pipeline: those that an EdgeSelector can do without.

An EdgeSelector takes candidates, each of which may be missing. Other steps must not run without an optional input that
they were given: an EdgeEvaluator would not compare, a Pusher would push what nothing has blessed, and most components
take their schema as optional. Where such a step leads to an EdgeSelector, the failure ends the run; any other is
skipped.

Here a step is lost if it failed or cannot run any more. The causes of a loss are the failed steps that led to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tfx.dsl.compiler import constants
from tfx.proto.orchestration import pipeline_pb2

_SELECTOR = '.EdgeSelector'


def selectors(pipeline: pipeline_pb2.Pipeline) -> list[pipeline_pb2.PipelineNode]:
    """The EdgeSelectors of a pipeline; without one, no failure is tolerated.

    Args:
      pipeline: compiled by TFX; its nodes are in the order in which they run.

    Returns:
      Their nodes.

    Example:
      ```
      if selectors(pipeline):
          run_each_step(pipeline)
      ```
    """
    return [node.pipeline_node for node in pipeline.nodes if _is_selector(node.pipeline_node)]


def _is_selector(node: pipeline_pb2.PipelineNode) -> bool:
    return bool(node.node_info.type.name.endswith(_SELECTOR))


def skipped_steps(pipeline: pipeline_pb2.Pipeline, failed: Sequence[str]) -> dict[str, str]:
    """The steps that cannot run any more after others failed.

    That is a step that needs what a lost step would have made, or that was told to run after a lost step. A step all of
    whose inputs are lost has nothing to do, also an EdgeSelector. One that lost an optional input is skipped where no
    EdgeSelector is downstream of it.

    Args:
      pipeline: compiled by TFX.
      failed: ids of the steps that failed, in this order.

    Returns:
      By id, in the order of the pipeline: which failed step is the cause, the first one if there are several.

    Example:
      ```
      skipped_steps(pipeline, ['Pruner'])  # {'EdgeEvaluator.pruned': 'Pruner'}
      ```
    """
    causes = _causes(_steps(pipeline), failed)
    return {step: _first(causes[step], failed) for step in causes if step not in failed}


def failure_to_raise(pipeline: pipeline_pb2.Pipeline, failed: Sequence[str]) -> str | None:
    """Whether the run ends with the last of the failures, and then by which.

    Args:
      pipeline: compiled by TFX.
      failed: ids of the steps that failed, in this order. All but the last are tolerated.

    Returns:
      None if the last one is tolerated too: an EdgeSelector that is downstream of it can still run. Otherwise the
      failed step to report: the first one for which an EdgeSelector cannot run any more, if the last contributed to
      that; or the last itself.

    Example:
      ```
      failure_to_raise(pipeline, ['Pruner'])  # None: there is another branch
      failure_to_raise(pipeline, ['Pruner', 'Clusterer'])  # 'Pruner': that was the last branch
      ```
    """
    steps, last = _steps(pipeline), failed[-1]
    causes = _causes(steps, failed)
    lost_selectors = set[str]()
    is_awaited = False
    for step in steps:
        if step.id in failed:
            if step.id == last and step.is_selector:
                return last
        elif step.id in causes:
            if step.is_selector and last in causes[step.id]:
                lost_selectors |= causes[step.id]
        elif last in _causes_among(step.makers, causes):
            if not step.is_selector:
                return last  # it would run without an input, and an EdgeSelector would take the result
            is_awaited = True
    if is_awaited:
        return None
    return _first(lost_selectors, failed) if lost_selectors else last


@dataclasses.dataclass(frozen=True)
class _Step:
    """What of a node decides.

    Attributes:
      id: of the component.
      is_selector: whether it is an EdgeSelector.
      needed: ids of the steps without which it cannot run.
      makers: ids of all steps that make an input of it; '' stands for what other pipelines or runs made.
    """

    id: str
    is_selector: bool
    needed: frozenset[str]
    makers: frozenset[str]


def _steps(pipeline: pipeline_pb2.Pipeline) -> list[_Step]:
    return [_step(node.pipeline_node, pipeline.pipeline_info.id) for node in pipeline.nodes]


def _step(node: pipeline_pb2.PipelineNode, pipeline: str) -> _Step:
    makers = {key: frozenset(_makers(node, key, pipeline)) for key in node.inputs.inputs}
    all_makers = frozenset[str]().union(*makers.values())
    needed = [makers[key] for key, spec in node.inputs.inputs.items() if spec.min_count > 0]
    # TFX lists the steps of inputs and those that were only told to come before in one.
    before = frozenset(node.upstream_nodes) - all_makers
    return _Step(
        node.node_info.id,
        _is_selector(node),
        before.union(*needed) - {''},
        all_makers,
    )


def _makers(node: pipeline_pb2.PipelineNode, key: str, pipeline: str) -> Iterator[str]:
    """The steps that make an input, also where it is put together of hidden ones."""
    spec = node.inputs.inputs[key]
    for channel in spec.channels:
        yield _maker(channel, pipeline)
    parts = list(spec.mixed_inputs.input_keys)
    if spec.HasField('input_graph_ref'):
        graph = node.inputs.input_graphs[spec.input_graph_ref.graph_id]
        parts += [
            part.input_node.input_key
            for part in graph.nodes.values()
            if part.WhichOneof('kind') == 'input_node'
        ]
    for part in parts:
        yield from _makers(node, part, pipeline)
    if spec.static_inputs.artifact_ids:
        yield ''


def _maker(channel: pipeline_pb2.InputSpec.Channel, pipeline: str) -> str:
    """The step of this run that fills a channel; '' if there is none."""
    if channel.producer_node_query.id:
        return channel.producer_node_query.id
    # A copy of a channel, such as `as_optional()` makes, has the step in the names of contexts alone.
    names = {query.type.name: query.name.field_value.string_value for query in channel.context_queries}
    prefix = f'{pipeline}.'
    node = names.get(constants.NODE_CONTEXT_TYPE_NAME, '')
    is_of_run = constants.PIPELINE_RUN_CONTEXT_TYPE_NAME in names and node.startswith(prefix)
    return node[len(prefix) :] if is_of_run else ''


def _causes(steps: Sequence[_Step], failed: Sequence[str]) -> dict[str, frozenset[str]]:
    """The lost steps, in the order of the pipeline, with the failed ones that are the cause."""
    leading = _leading_to_selectors(steps)
    causes: dict[str, frozenset[str]] = {}
    for step in steps:
        if step.id in failed:
            causes[step.id] = frozenset({step.id})
            continue
        needed = _causes_among(step.needed, causes)
        found = needed or _causes_among(step.makers, causes)
        has_all_lost = step.makers <= causes.keys()
        if found and (needed or has_all_lost or step.id not in leading):
            causes[step.id] = found
    return causes


def _leading_to_selectors(steps: Sequence[_Step]) -> set[str]:
    """The EdgeSelectors, and what is upstream of them."""
    leading = set[str]()
    for step in reversed(steps):
        if step.is_selector or step.id in leading:
            leading |= {step.id, *step.needed, *step.makers}
    return leading


def _causes_among(steps: Iterable[str], causes: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*(causes.get(step, ()) for step in steps))


def _first(among: Iterable[str], failed: Sequence[str]) -> str:
    return min(among, key=failed.index)
