"""Artifacts as the launcher describes them and as executors get them.

TFX's own functions for this are in a module that imports all of its components.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tfx_edge.pipelines.kubeflow import launcher_messages

if TYPE_CHECKING:
    from tfx import types

# Ids are 64-bit integers, and the launcher has names.
_IDS = 1 << 63


def from_messages(given: Mapping[str, pipeline_spec_pb2.ArtifactList]) -> dict[str, list[types.Artifact]]:
    """The artifacts of a step's inputs or outputs, as an executor gets them.

    Args:
      given: of an ExecutorInput, with types.

    Returns:
      By key; each has its URI, its properties, and an id that is made of its name.

    Raises:
      ImportError: the class of a type cannot be imported.
      AttributeError: there is no such class in its module.
    """
    return {key: [_artifact(message) for message in messages.artifacts] for key, messages in given.items()}


def to_message(artifact: types.Artifact, names: Mapping[int, str]) -> pipeline_spec_pb2.RuntimeArtifact:
    """An output artifact as TFX describes it to the launcher.

    Args:
      artifact: with what the executor wrote into its properties.
      names: of `names_by_id`.
    """
    metadata: dict[str, Any] = {
        key: _plain(value) for key, value in artifact.mlmd_artifact.properties.items()
    }
    for key, value in artifact.mlmd_artifact.custom_properties.items():
        is_taken = key in artifact.artifact_type.properties
        metadata[f'{_prefix()}{key}' if is_taken else key] = (
            artifact.get_json_value_custom_property(key) if value.HasField('struct_value') else _plain(value)
        )
    message = pipeline_spec_pb2.RuntimeArtifact(uri=artifact.uri, name=names.get(artifact.id, ''))
    json_format.ParseDict(metadata, message.metadata)
    return message


def names_by_id(*given: Mapping[str, pipeline_spec_pb2.ArtifactList]) -> dict[int, str]:
    """The launcher's names of artifacts, by the ids that TFX makes of them."""
    return {
        _id(artifact.name): artifact.name
        for by_key in given
        for artifact in launcher_messages.each_artifact(by_key)
        if artifact.name
    }


def _artifact(message: pipeline_spec_pb2.RuntimeArtifact) -> types.Artifact:
    artifact: types.Artifact = _class(launcher_messages.title(message.type))()
    artifact.uri = message.uri
    if message.name:
        artifact.id = _id(message.name)
    kinds = artifact.artifact_type.properties
    for key, value in json_format.MessageToDict(message.metadata).items():
        if key in kinds and _set_property(artifact, key, value):
            continue
        bare = key.removeprefix(_prefix())
        artifact.set_json_value_custom_property(bare if bare in kinds else key, value)
    # TFX's getters see custom properties only in the message, into which this writes them.
    artifact.mlmd_artifact  # noqa: B018
    return artifact


def _set_property(artifact: types.Artifact, key: str, value: Any) -> bool:
    """Sets a property that the artifact's type has; a value that does not suit it becomes a custom property."""
    attempts = (value, int(value)) if isinstance(value, float) and value.is_integer() else (value,)
    for attempt in attempts:
        try:
            setattr(artifact, key, attempt)
            return True
        except ValueError:
            continue
    return False


def _class(title: str) -> Any:
    """The class of a type: by TFX's table for its own, and by the title as a path for others."""
    from tfx.orchestration.kubeflow.v2 import compiler_utils

    module, _, name = compiler_utils.TITLE_TO_CLASS_PATH.get(title, title).rpartition('.')
    return getattr(importlib.import_module(module), name)


def _prefix() -> str:
    from tfx.types import artifact

    return artifact.CUSTOM_PROPERTIES_PREFIX


def _plain(value: Any) -> Any:
    """What a value of ML Metadata holds, as JSON has it; None for one that holds nothing."""
    kind = value.WhichOneof('value')
    return None if kind is None else float(value.int_value) if kind == 'int_value' else getattr(value, kind)


def _id(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % _IDS
