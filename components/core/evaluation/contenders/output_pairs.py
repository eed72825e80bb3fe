"""Which outputs of two models are held against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class AnswerPairs:
    """Which outputs have an answer that both models should give.

    Attributes:
      candidate: name of the candidate's ModelSpec; '' where it is alone.
      baseline: name of the baseline's; None where there is none, or nothing to compare.
      outputs: the candidate's output names to the baseline's; a single output under ''.
      obstacle: why top-1 agreement means nothing, or ''.
    """

    candidate: str
    baseline: str | None
    outputs: Mapping[str, str]
    obstacle: str = ''


def compare_outputs(
    candidate: str,
    candidate_outputs: Mapping[str, Shape],
    baseline: str,
    baseline_outputs: Mapping[str, Shape],
    *,
    asides: Collection[str] = (),
    are_named: tuple[bool, bool] | None = None,
) -> AnswerPairs:
    """Pairs the outputs of two models by name (a single one with a single one, whatever their names).

    Top-1 agreement means something where each output is one vector of at least two classes.

    Args:
      candidate: name of its ModelSpec.
      candidate_outputs: shapes by name, None for an open dimension; dimension 0 is the batch.
      baseline: name of its ModelSpec.
      baseline_outputs: as the candidate's.
      asides: outputs of the candidate to leave out, such as a key; all count where there are no others.
      are_named: for candidate and baseline, whether TFMA's predictions are keyed by output name; None if that holds
        for models with several outputs and no others.

    Returns:
      What to compare; nothing, and why, where top-1 agreement means nothing.
    """
    ours, theirs = candidate_outputs, baseline_outputs
    pairs, obstacle = _pairs(ours, theirs)
    if obstacle:
        return AnswerPairs(candidate, None, {}, obstacle)
    answers = {name: other for name, other in pairs.items() if name not in asides} or pairs
    for name, other in answers.items():
        shape, other_shape = ours[name], theirs[other]
        if len(shape) != 2 or shape[1] == 1:
            obstacle = (
                f'output {name!r} has the shape {shape}, not (batch, classes) with two classes or more; '
                'leave min_agreement unset and bound the metric instead'
            )
            return AnswerPairs(candidate, None, {}, obstacle)
        if len(other_shape) != 2 or (None not in (shape[1], other_shape[1]) and shape[1] != other_shape[1]):
            obstacle = f'output {name!r} has the shape {shape}, but {other_shape} in the baseline'
            return AnswerPairs(candidate, None, {}, obstacle)
    return AnswerPairs(candidate, baseline, _as_predicted(answers, are_named or (len(ours) > 1,) * 2))


def pair_outputs(
    candidate_outputs: Mapping[str, Shape],
    baseline_outputs: Mapping[str, Shape],
    *,
    are_named: tuple[bool, bool] | None = None,
) -> tuple[dict[str, str], str]:
    """Pairs the outputs whose values can be compared, whatever they mean.

    Args:
      candidate_outputs: shapes by name, None for an open dimension; dimension 0 is the batch.
      baseline_outputs: as the candidate's.
      are_named: as for `compare_outputs`.

    Returns:
      The candidate's output names to the baseline's, a single output under '', and ''. Or nothing, and why.

    Example:
      >>> pair_outputs({'output_0': (None, 10)}, {'probabilities': (None, 10)})
      ({'': ''}, '')
    """
    pairs, obstacle = _pairs(candidate_outputs, baseline_outputs)
    for name, other in pairs.items():
        shape, other_shape = candidate_outputs[name], baseline_outputs[other]
        fits = len(shape) == len(other_shape) and all(
            None in (size, other_size) or size == other_size
            for size, other_size in zip(shape[1:], other_shape[1:], strict=True)
        )
        if not fits:
            return {}, f'output {name!r} has the shape {shape}, but {other_shape} in the baseline'
    return _as_predicted(pairs, are_named or (len(candidate_outputs) > 1,) * 2), obstacle


def _pairs(ours: Mapping[str, Shape], theirs: Mapping[str, Shape]) -> tuple[dict[str, str], str]:
    single = len(ours) == len(theirs) == 1
    pairs = dict(zip(ours, theirs, strict=True)) if single else {name: name for name in ours}
    if set(pairs.values()) != set(theirs):
        return {}, f'the candidate has the outputs {sorted(ours)}, the baseline {sorted(theirs)}'
    return pairs, ''


def _as_predicted(pairs: dict[str, str], are_named: tuple[bool, bool]) -> dict[str, str]:
    """The pairs by the names in TFMA's predictions, which have a model's only output without a name."""
    return {ours if are_named[0] else '': theirs if are_named[1] else '' for ours, theirs in pairs.items()}
