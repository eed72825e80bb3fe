"""Decides whether examples are raw, so that the transform graph is applied to them, or transformed already."""

from __future__ import annotations

import dataclasses

from tfx_edge.components.core.errors import EdgeError

RAW, TRANSFORMED = 'raw', 'transformed'
# Custom property of an Examples artifact in which a user states the stage.
STAGE_PROPERTY = 'tfx_edge_examples'


@dataclasses.dataclass(frozen=True)
class Stages:
    """What a sample of examples shows of their stage.

    Attributes:
      inputs: the model's, by name.
      not_raw: why the transform graph makes no inputs of them, or ''.
      surely_not_raw: why it makes none without the raw features that no example of the sample has, or ''.
      not_transformed: why they do not hold the inputs, or ''.
    """

    inputs: tuple[str, ...]
    not_raw: str
    surely_not_raw: str
    not_transformed: str


@dataclasses.dataclass(frozen=True)
class Origin:
    """What is known of the examples from their artifact or their schema.

    Attributes:
      stage: RAW, TRANSFORMED or ''.
      reason: where that is known from, as the end of a sentence.
      certain: whether it holds whatever the examples look like.
    """

    stage: str = ''
    reason: str = ''
    certain: bool = False


@dataclasses.dataclass(frozen=True)
class Decision:
    """RAW or TRANSFORMED, and why, as the end of a sentence."""

    stage: str
    reason: str


def decide_stage(
    found: Stages, origin: Origin = Origin(), schema: Origin = Origin(), subject: str = 'the examples'
) -> Decision:
    """Decides by the step that wrote the examples, by their schema, and by the stage that they fit.

    A feature with the name of an input decides nothing: raw examples have it too where the transform keeps names. The
    step that wrote the examples decides; where it is not known, the examples must fit one of the stages only.

    Args:
      found: what some examples say.
      origin: who wrote them.
      schema: which stage their schema describes.
      subject: how messages name them.

    Returns:
      What they are, and why.

    Raises:
      EdgeError: they are neither, or may be either.

    Example:
      >>> decide_stage(Stages(('x',), '', '', "an example has no feature 'x'")).stage
      'raw'
    """
    if origin.stage and origin.certain:
        return Decision(origin.stage, origin.reason)
    if found.not_raw and found.not_transformed:
        if origin.stage == RAW:
            raise EdgeError(found.not_raw)
        raise EdgeError(
            f'{subject} are neither what the transform graph takes ({_clause(found.not_raw)}) nor what it makes '
            f'({_clause(found.not_transformed)}); give the examples that Transform was given, or those that it wrote.'
        )
    if found.not_transformed:
        return Decision(
            RAW, 'they do not hold what the model takes, and the transform graph makes it of them'
        )
    if found.not_raw or (found.surely_not_raw and origin.stage != RAW):
        return Decision(TRANSFORMED, 'they hold what the model takes, and not what the transform graph does')
    reasons = {known.stage: known.reason for known in (schema, origin) if known.stage}
    if found.surely_not_raw:
        reasons[TRANSFORMED] = 'none of the first examples holds what it makes their inputs of'
    if len(reasons) == 1:
        ((stage, reason),) = reasons.items()
        return Decision(stage, reason)
    raise EdgeError(_question(found, reasons, subject))


def _question(found: Stages, reasons: dict[str, str], subject: str) -> str:
    names = ', '.join(repr(name) for name in found.inputs[:3])
    doubt = ', but '.join(reasons.values()) or 'nothing says whether an ExampleGen or Transform wrote them'
    return (
        f'it is not known whether {subject} are raw or transformed: they fit the raw features of the transform '
        f'graph, and hold the inputs of the model ({names}) as well; {doubt}. If they are transformed, leave out '
        f'transform_graph; if they are raw, set the custom property {STAGE_PROPERTY!r} of the artifact to {RAW!r}.'
    )


def _clause(sentence: str) -> str:
    """A message without its remedy."""
    return sentence.split(';')[0].rstrip('.')
