"""Whether examples are raw, and a transform graph is still to be applied to them, or what it made of raw ones."""

from __future__ import annotations

import dataclasses

from tfx_edge.components.core.errors import EdgeError

RAW, TRANSFORMED = 'raw', 'transformed'
# How a user settles it, as a custom property of the Examples artifact.
STAGE_PROPERTY = 'tfx_edge_examples'


@dataclasses.dataclass(frozen=True)
class Stages:
    """What some examples say themselves.

    Attributes:
      inputs: the model's, by name.
      not_raw: why the transform graph makes no inputs of them, or ''.
      surely_not_raw: why it makes none when it is given no raw feature that none of the examples has, or ''.
      not_transformed: why they do not hold the inputs, or ''.
    """

    inputs: tuple[str, ...]
    not_raw: str
    surely_not_raw: str
    not_transformed: str


@dataclasses.dataclass(frozen=True)
class Origin:
    """What is known of the examples from elsewhere than the examples.

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
    """Decides from where the examples come, from their schema, and from what fits.

    A feature that bears the name of an input decides nothing: transforms that keep names make it so in raw examples
    as well. What counts is the step that wrote them; without that, that they fit one of both only.

    Args:
      found: what some examples say.
      origin: who wrote them.
      schema: which of both their schema describes.
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
    told = {known.stage: known.reason for known in (schema, origin) if known.stage}
    if found.surely_not_raw:
        told[TRANSFORMED] = 'none of the first examples holds what it makes their inputs of'
    if len(told) == 1:
        ((stage, reason),) = told.items()
        return Decision(stage, reason)
    raise EdgeError(_question(found, told, subject))


def _question(found: Stages, told: dict[str, str], subject: str) -> str:
    names = ', '.join(repr(name) for name in found.inputs[:3])
    doubt = ', but '.join(told.values()) or 'nothing says whether an ExampleGen or Transform wrote them'
    return (
        f'it cannot be told whether {subject} are raw or transformed: they fit the raw features of the transform '
        f'graph, and hold the inputs of the model ({names}) as well; {doubt}. If they are transformed, leave out '
        f'transform_graph; if they are raw, set the custom property {STAGE_PROPERTY!r} of the artifact to {RAW!r}.'
    )


def _clause(sentence: str) -> str:
    """A message without its remedy."""
    return sentence.split(';')[0].rstrip('.')
