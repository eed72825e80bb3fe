"""Which steps are skipped after failures, and which failures end a run, of pipelines as TFX compiles them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tfx import v1 as tfx
from tfx.dsl.compiler import compiler
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.input_resolution import canned_resolver_functions
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import channel, channel_utils, component_spec, standard_artifacts

from tfx_edge.pipelines.tolerated_failures import failure_to_raise, selectors, skipped_steps

pytestmark = pytest.mark.slow

_MODEL = standard_artifacts.Model


class _Spec(component_spec.ComponentSpec):
    PARAMETERS: dict[str, Any] = {}
    INPUTS = {
        **{
            f'optional_{place}': component_spec.ChannelParameter(type=_MODEL, optional=True, allow_empty=True)
            for place in range(4)
        },
        'needed': component_spec.ChannelParameter(type=_MODEL, optional=True, allow_empty=False),
    }
    OUTPUTS = {'model': component_spec.ChannelParameter(type=_MODEL)}


class Step(base_component.BaseComponent):
    """Takes sources that may be missing, and one that it needs, if it is given; it is no EdgeSelector."""

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(base_executor.EmptyExecutor)

    def __init__(self, *sources: Any, needed: Any = None) -> None:
        inputs = {f'optional_{place}': out(source) for place, source in enumerate(sources)}
        if needed is not None:
            inputs['needed'] = out(needed)
        super().__init__(_Spec(model=channel.Channel(type=_MODEL), **inputs))


class EdgeSelector(Step):
    """With the name that makes a run go on."""


def out(node: Any) -> Any:
    return node.outputs['model'] if hasattr(node, 'outputs') else node


def maker(name: str) -> Any:
    return Step().with_id(name)


def taker(source: Any, name: str) -> Any:
    return Step(needed=source).with_id(name)


def compiled(*nodes: Any) -> pipeline_pb2.Pipeline:
    pipeline = tfx.dsl.Pipeline(
        'branches',
        '/root',
        components=list(nodes),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config('/db'),
    )
    return compiler.Compiler().compile(pipeline)


def fork(*more: Any) -> list[Any]:
    """Two branches from one source, with a consumer in each, and a selector of their ends."""
    source = maker('source')
    a, b = taker(source, 'a'), taker(source, 'b')
    evaluate_a, evaluate_b = taker(a, 'evaluate_a'), taker(b, 'evaluate_b')
    selector = EdgeSelector(a, evaluate_a, b, evaluate_b).with_id('selector')
    return [
        source, a, b, evaluate_a, evaluate_b, taker(a, 'push_a'), selector, taker(selector, 'push'), *more,
    ]  # fmt: skip


def after(pipeline: pipeline_pb2.Pipeline, *failed: str) -> tuple[dict[str, str], str | None]:
    return skipped_steps(pipeline, failed), failure_to_raise(pipeline, failed)


def test_a_failed_branch_takes_only_what_needs_it() -> None:
    pipeline = compiled(*fork())
    assert selectors(pipeline)
    assert after(pipeline, 'a') == ({'evaluate_a': 'a', 'push_a': 'a'}, None)
    assert after(pipeline, 'evaluate_b') == ({}, None)
    assert after(pipeline, 'evaluate_b', 'a') == ({'evaluate_a': 'a', 'push_a': 'a'}, None)


@pytest.mark.parametrize(
    ('failed', 'raised'),
    [
        # The last candidate is lost: the first failure is where to look.
        (['a', 'b'], 'a'),
        (['b', 'a'], 'b'),
        # Before the fork, and what nothing downstream waits for.
        (['source'], 'source'),
        (['push_a'], 'push_a'),
        (['a', 'selector'], 'selector'),
        (['a', 'push'], 'push'),
    ],
)
def test_the_failure_that_ends_a_run(failed: Sequence[str], raised: str) -> None:
    assert failure_to_raise(compiled(*fork()), failed) == raised


def test_without_a_selector_every_failure_ends_the_run() -> None:
    a, b = maker('a'), maker('b')
    pipeline = compiled(a, b, Step(a, b).with_id('chooser'))
    assert not selectors(pipeline)
    assert failure_to_raise(pipeline, ['a']) == 'a'


@pytest.mark.parametrize('is_direct', [True, False])
def test_another_step_with_an_optional_input_is_not_run_without_it(is_direct: bool) -> None:
    baseline, b = maker('baseline'), maker('b')
    trained = baseline if is_direct else taker(baseline, 'trained')
    evaluate = Step(trained, needed=b).with_id('evaluate')
    nodes = [baseline, b, evaluate, EdgeSelector(b, evaluate, baseline).with_id('selector')]
    pipeline = compiled(*nodes, *([] if is_direct else [trained]))
    assert failure_to_raise(pipeline, ['baseline']) == 'baseline'
    # That step is lost already, and loses nothing more.
    assert after(pipeline, 'b') == ({'evaluate': 'b'}, None)
    assert after(pipeline, 'b', 'baseline')[1] == 'b'


def test_a_selector_is_lost_with_an_input_that_it_needs() -> None:
    a, b, needed = maker('a'), maker('b'), maker('needed')
    pipeline = compiled(a, b, needed, EdgeSelector(a, b, needed=needed).with_id('selector'))
    assert after(pipeline, 'a') == ({}, None)
    assert after(pipeline, 'a', 'needed') == ({'selector': 'needed'}, 'needed')


def test_selectors_one_after_the_other_and_beside_each_other() -> None:
    a, b, c, d = (maker(name) for name in 'abcd')
    first = EdgeSelector(a, b).with_id('first')
    pipeline = compiled(
        a, b, c, d, first, EdgeSelector(first, c).with_id('second'), EdgeSelector(d).with_id('other')
    )
    assert after(pipeline, 'b', 'a') == ({'first': 'b'}, None)
    assert after(pipeline, 'b', 'a', 'c') == ({'first': 'b', 'second': 'b'}, 'b')
    # A selector that fails itself is no branch of the next.
    assert failure_to_raise(pipeline, ['first']) == 'first'
    # What has a selector of its own is not the fault of others.
    assert after(pipeline, 'a', 'd') == ({'other': 'd'}, 'd')


def test_a_selector_that_was_lost_before_is_not_the_fault_of_later_failures() -> None:
    a, b = maker('a'), maker('b')
    both = EdgeSelector(a, b).with_id('both')
    pipeline = compiled(a, b, EdgeSelector(a).with_id('only_a'), both, taker(both, 'push'))
    assert after(pipeline, 'a') == ({'only_a': 'a'}, None)
    assert failure_to_raise(pipeline, ['a', 'push']) == 'push'


def test_a_step_that_was_told_to_run_later_is_skipped() -> None:
    a, b = maker('a'), maker('b')
    later = taker(b, 'later')
    later.add_upstream_node(a)
    selector = EdgeSelector(a, b, later).with_id('selector')
    assert after(compiled(a, b, later, selector), 'a') == ({'later': 'a'}, None)


def test_a_selector_that_was_told_to_run_later_is_lost() -> None:
    a, b, gate = (maker(name) for name in ('a', 'b', 'gate'))
    selector = EdgeSelector(a, b).with_id('selector')
    selector.add_upstream_node(gate)
    assert after(compiled(a, b, gate, selector), 'gate') == ({'selector': 'gate'}, 'gate')


def test_inputs_that_are_put_together_of_others() -> None:
    a, b = maker('a'), maker('b')
    both = taker(channel_utils.union([out(a), out(b)]), 'both')
    with tfx.dsl.Cond(out(a).future()[0].uri != 'none'):
        conditional = taker(b, 'conditional')
    latest = Step(b, needed=canned_resolver_functions.latest_created(out(a), n=1)).with_id('latest')
    selector = EdgeSelector(b, both, conditional, latest).with_id('selector')
    pipeline = compiled(a, b, both, conditional, latest, selector)
    assert after(pipeline, 'a') == ({'both': 'a', 'conditional': 'a', 'latest': 'a'}, None)


@pytest.mark.parametrize('strategy', ['LatestArtifactStrategy', 'LatestBlessedModelStrategy'])
def test_a_resolver_is_not_run_without_what_it_resolves(strategy: str) -> None:
    a, b = maker('a'), maker('b')
    resolver = tfx.dsl.Resolver(
        strategy_class=getattr(tfx.dsl.experimental, strategy), model=out(a), model_blessing=out(a)
    ).with_id('resolver')
    pipeline = compiled(a, b, resolver, EdgeSelector(resolver, b).with_id('selector'))
    assert after(pipeline, 'a') == ({'resolver': 'a'}, None)
    assert after(pipeline, 'b') == ({}, None)


def test_a_resolver_that_lost_one_input_of_two_ends_the_run() -> None:
    a, b = maker('a'), maker('b')
    resolver = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy, model=out(a), model_blessing=out(b)
    ).with_id('resolver')
    pipeline = compiled(a, b, resolver, EdgeSelector(resolver, b).with_id('selector'))
    assert failure_to_raise(pipeline, ['a']) == 'a'


def test_a_pusher_of_a_branch_is_not_run_without_model_or_blessing() -> None:
    """All inputs of TFX's Pusher are optional, and it takes a model without a blessing for a good one."""
    a, b = maker('a'), maker('b')
    evaluate = taker(a, 'evaluate')
    push = Step(a, evaluate).with_id('push')
    pipeline = compiled(a, b, evaluate, push, EdgeSelector(a, evaluate, b).with_id('selector'))
    assert after(pipeline, 'evaluate') == ({'push': 'evaluate'}, None)
    assert after(pipeline, 'a') == ({'evaluate': 'a', 'push': 'a'}, None)


def test_a_schema_is_optional_for_components_but_no_branch_is_run_without() -> None:
    data, schema = maker('data'), maker('schema')
    branches = [Step(schema, needed=data).with_id(name) for name in 'ab']
    pipeline = compiled(data, schema, *branches, EdgeSelector(*branches).with_id('selector'))
    assert failure_to_raise(pipeline, ['schema']) == 'schema'
    assert failure_to_raise(pipeline, ['data']) == 'data'


def test_a_copy_of_a_channel_has_the_same_maker() -> None:
    a, b = maker('a'), maker('b')
    selector = EdgeSelector(out(a).as_optional(), out(b).as_optional()).with_id('selector')
    pipeline = compiled(a, b, selector)
    assert after(pipeline, 'a') == ({}, None)
    assert after(pipeline, 'a', 'b') == ({'selector': 'a'}, 'a')


def test_what_other_runs_made_is_not_lost() -> None:
    a = maker('a')
    before = channel.Channel(type=_MODEL, producer_component_id='a', output_key='model')
    pipeline = compiled(a, EdgeSelector(a, before).with_id('selector'))
    assert after(pipeline, 'a') == ({}, None)


def test_looking_at_a_pipeline_changes_nothing_of_it() -> None:
    pipeline = compiled(*fork())
    before = pipeline.SerializeToString(deterministic=True)
    after(pipeline, 'a', 'b')
    assert pipeline.SerializeToString(deterministic=True) == before
