"""What the launcher gives a step and what the step answers, made fit for TFX and for the launcher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from google.protobuf import json_format, struct_pb2
from google.protobuf import message as protobuf_message
from kfp.pipeline_spec import pipeline_spec_pb2

from tfx_edge.components.core.errors import EdgeError

# Kubeflow's own artifacts, such as the 'executor-logs' that it adds to a step's outputs: TFX has no class for them.
_OWN_TYPES = 'system.'
# A blessing's properties that name a model by its id (TFX's `components.evaluator.constants`).
_MODEL_IDS = ('current_model_id', 'baseline_model_id')


def parse(text: str, message: protobuf_message.Message, what: str) -> None:
    """Fills a message from JSON; fields of a newer Kubeflow are ignored.

    Raises:
      EdgeError: the text is something else.
    """
    try:
        json_format.Parse(text, message, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise EdgeError(
            f'{what} is not the JSON of {message.DESCRIPTOR.name} ({error}); run this as a step of a compiled pipeline.'
        ) from error


def fit_for_tfx(
    executor_input: pipeline_spec_pb2.ExecutorInput,
    inputs_spec: pipeline_spec_pb2.ComponentInputsSpec,
    path: Callable[[str], str],
) -> None:
    """Changes what the launcher gave so that TFX can read it.

    Inputs come without their types, which are in the spec. Outputs that Kubeflow added are removed.

    Args:
      executor_input: is changed.
      inputs_spec: of the step's component.
      path: returns the path of an artifact's files for its URI.

    Raises:
      EdgeError: an input has no type, neither of its own nor in the spec.
    """
    for key, artifacts in executor_input.inputs.artifacts.items():
        for artifact in artifacts.artifacts:
            if not title(artifact.type):
                if key not in inputs_spec.artifacts:
                    raise EdgeError(
                        f'input {key!r} has no artifact type; compile the pipeline with tfx-edge compile.'
                    )
                artifact.type.CopyFrom(inputs_spec.artifacts[key].artifact_type)
    outputs = executor_input.outputs.artifacts
    for key in list(outputs):
        if any(is_own(artifact.type) for artifact in outputs[key].artifacts):
            del outputs[key]
    for artifact in each_artifact(executor_input.inputs.artifacts, outputs):
        artifact.uri = path(artifact.uri)


def fit_for_launcher(
    output: pipeline_spec_pb2.ExecutorOutput, uri: Callable[[str], str], names: Mapping[int, str]
) -> None:
    """Changes TFX's output so that the launcher can publish it.

    Paths become URIs again, in the metadata too (a blessing names its model). A model's id in a blessing becomes the
    model's name: on Kubeflow TFX makes ids of names, which a double does not hold exactly. A null cannot be
    published, so its key is removed.

    Args:
      output: is changed.
      uri: returns the URI that a path came from; other texts stay as they are.
      names: of the inputs, by the ids that TFX made of them.
    """
    rounded = {float(number): name for number, name in names.items()}
    for artifact in each_artifact(output.artifacts):
        artifact.uri = uri(artifact.uri)
        fields = artifact.metadata.fields
        for key in list(fields):
            kind = fields[key].WhichOneof('kind')
            if kind in (None, 'null_value'):
                del fields[key]
            elif kind == 'string_value':
                fields[key].string_value = uri(fields[key].string_value)
            elif key in _MODEL_IDS and fields[key].number_value in rounded:
                fields[key].string_value = rounded[fields[key].number_value]


def add_metadata(
    executor_input: pipeline_spec_pb2.ExecutorInput, driver_output: pipeline_spec_pb2.ExecutorOutput
) -> None:
    """Adds the metadata that a driver found for the outputs (span, version, fingerprint) to the executor's input."""
    for key, artifacts in driver_output.artifacts.items():
        for known, found in zip(
            executor_input.outputs.artifacts[key].artifacts, artifacts.artifacts, strict=True
        ):
            known.metadata.MergeFrom(_without_nulls(found.metadata))


def is_own(schema: pipeline_spec_pb2.ArtifactTypeSchema) -> bool:
    """Whether a type is one of Kubeflow's own, such as that of the logs or pages that it shows."""
    return title(schema).startswith(_OWN_TYPES)


def title(schema: pipeline_spec_pb2.ArtifactTypeSchema) -> str:
    """The name of an artifact's type, such as 'tfx.Model'; '' if there is none."""
    if schema.schema_title:
        return schema.schema_title
    for line in schema.instance_schema.splitlines():
        name, _, value = line.partition(':')
        if name == 'title':
            return value.strip().strip('\'"')
    return ''


def _without_nulls(metadata: struct_pb2.Struct) -> struct_pb2.Struct:
    kept = struct_pb2.Struct()
    for key, value in metadata.fields.items():
        if value.WhichOneof('kind') not in (None, 'null_value'):
            kept.fields[key].CopyFrom(value)
    return kept


def each_artifact(
    *by_key: Mapping[str, pipeline_spec_pb2.ArtifactList],
) -> Iterator[pipeline_spec_pb2.RuntimeArtifact]:
    for artifacts in by_key:
        for key in artifacts:
            yield from artifacts[key].artifacts
