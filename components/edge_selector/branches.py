"""The components of each candidate's branch, read off the channels that a pipeline connects them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfx import types


def branches(
    candidates: Sequence[types.BaseChannel], evaluations: Sequence[types.BaseChannel]
) -> list[tuple[str, ...]]:
    """The ids of the components that make and evaluate each candidate.

    Args:
      candidates: Channels of Model.
      evaluations: Channels of tfx_edge.EdgeEvaluation, one for each.

    Returns:
      For each candidate in the order in which they run; the last is its EdgeEvaluator. Those that every candidate
      needs, such as a Trainer, belong to no branch.
    """
    found = [
        _upstream(evaluation, _upstream(candidate, {}))
        for candidate, evaluation in zip(candidates, evaluations, strict=True)
    ]
    shared = set(found[0]).intersection(*found[1:]) if len(found) > 1 else set()
    return [
        _named(
            [name for name in names if name not in shared],
            [_producer(candidate, f'candidate-{place}'), _producer(evaluation, f'evaluation-{place}')],
        )
        for place, (names, candidate, evaluation) in enumerate(
            zip(found, candidates, evaluations, strict=True)
        )
    ]


def _named(upstream: Sequence[str], makers: Sequence[str]) -> tuple[str, ...]:
    """The branch, which ends with what makes and evaluates the candidate, known to TFX or not."""
    return (*(name for name in upstream if name not in makers), *makers)


def _producer(channel: types.BaseChannel, otherwise: str) -> str:
    """The id of the component that fills a channel."""
    return str(getattr(channel, 'producer_component_id', None) or otherwise)


def _upstream(channel: Any, found: dict[str, None]) -> dict[str, None]:
    """Adds the components that a channel needs, the first ones first."""
    component = getattr(channel, 'producer_component', None)
    if component is None or component.id in found:
        return found
    for source in component.inputs.values():
        _upstream(source, found)
    found[component.id] = None
    return found
