"""Which step wrote an Examples artifact, as far as the artifact shows."""

from __future__ import annotations

from tfx import types

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_stage import RAW, STAGE_PROPERTY, TRANSFORMED, Origin
from tfx_edge.components.tfx_interface.tfx_names import PAYLOAD_FORMAT_PROPERTY_NAME

# Keys of Transform's outputs. The local runner writes to ROOT/STEP/KEY/EXECUTION, and with several inputs to a
# numbered folder in it; Kubeflow to …/KEY.
_TRANSFORMED_EXAMPLES = 'transformed_examples'
_POST_TRANSFORM_SCHEMA = 'post_transform_schema'


def origin_of_examples(examples: types.Artifact) -> Origin:
    """Who wrote the examples.

    An artifact that an executor gets does not name the step that wrote it. It has a URI that ends in the output's
    key, which is fixed for Transform, and the custom properties that the step set: an ExampleGen sets the payload
    format, and Transform does not.

    Args:
      examples: an Examples artifact, as an executor gets it.

    Returns:
      RAW, TRANSFORMED, or nothing.

    Raises:
      EdgeError: the user's own property says something else.
    """
    if examples.has_custom_property(STAGE_PROPERTY):
        stage = examples.get_string_custom_property(STAGE_PROPERTY)
        if stage not in (RAW, TRANSFORMED):
            raise EdgeError(
                f'the custom property {STAGE_PROPERTY!r} of the examples {examples.uri} is {stage!r}; '
                f'expected {RAW!r} or {TRANSFORMED!r}.'
            )
        return Origin(stage, f'the property {STAGE_PROPERTY!r} says so', certain=True)
    if output_key(examples.uri) == _TRANSFORMED_EXAMPLES:
        return Origin(TRANSFORMED, 'Transform wrote them', certain=True)
    if examples.has_custom_property(PAYLOAD_FORMAT_PROPERTY_NAME):
        return Origin(RAW, 'they have the payload format that an ExampleGen sets')
    return Origin()


def origin_of_schema(schema: types.Artifact) -> Origin:
    """Which examples a schema describes, by who wrote it."""
    if output_key(schema.uri) == _POST_TRANSFORM_SCHEMA:
        return Origin(TRANSFORMED, 'their schema is the one that Transform wrote')
    return Origin()


def output_key(uri: str) -> str:
    """The output key under which an artifact was written, by the layout of its URI.

    Example:
      >>> output_key('/pipelines/taxi/Transform/transformed_examples/5')
      'transformed_examples'
    """
    parts = uri.rstrip('/').split('/')
    while len(parts) > 1 and parts[-1].isdigit():
        parts.pop()
    return parts[-1]
