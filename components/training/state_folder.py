"""Where a training keeps its state, so that the same training finds it when it is started anew."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from tfx import types

from tfx_edge.components.core.compression.training.fine_tuning_options import FineTuningOptions
from tfx_edge.components.core.compression.training.state_place import state_place
from tfx_edge.components.core.content_digest import content_digest
from tfx_edge.components.tfx_interface import artifacts
from tfx_edge.components.tfx_interface.example_files import split_files

# Another version of these may compute other bytes.
_DECISIVE_PACKAGES = ('tfx-edge', 'tensorflow', 'keras', 'numpy')


def state_folder(
    output: types.Artifact,
    source: str,
    input_dict: artifacts.ArtifactDict,
    options: FineTuningOptions,
    properties: Mapping[str, Any],
) -> str:
    """The folder of a training's state; named by a hash of what decides the result.

    It lies beside the outputs of all runs: a restarted run has another output folder, and with the same model, examples
    and configuration finds the state there. An orchestrator that starts a step anew elsewhere names another place
    (`state_kept_in`) for each run and step. Its inputs have other paths in each pod then, and decide nothing.

    Args:
      output: the model that is made.
      source: folder of the incoming SavedModel.
      input_dict: of the step.
      options: of the training.
      properties: exec properties of the step.

    Returns:
      The folder, which need not be there.
    """
    place = state_place()
    decisive = [content_digest(source)]
    decisive += [f'{package} {importlib.metadata.version(package)}' for package in _DECISIVE_PACKAGES]
    for file in _examples(input_dict, options):
        name = os.path.basename(file) if place else file
        decisive.append(f'{name} {tf.io.gfile.stat(file).length}')
    if place is None:
        decisive.append(json.dumps(dict(properties), sort_keys=True, default=str))
        for key in (artifacts.SCHEMA, artifacts.TRANSFORM_GRAPH):
            decisive += [artifact.uri for artifact in input_dict.get(key) or ()]
    key = hashlib.sha256('\n'.join(decisive).encode()).hexdigest()[:16]
    parent = place.folder if place else os.path.join(os.path.dirname(output.uri.rstrip('/')), '.unfinished')
    return os.path.join(parent, key)


def _examples(input_dict: artifacts.ArtifactDict, options: FineTuningOptions) -> Iterator[str]:
    if input_dict.get(artifacts.EXAMPLES):
        yield from split_files(input_dict[artifacts.EXAMPLES], options.train_splits)
