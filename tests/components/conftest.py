"""Artifacts of the shared digits data, as ExampleGen and Trainer write them."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import pytest


@pytest.fixture(scope='session')
def examples_artifact(digits_examples: pathlib.Path) -> Any:
    """Examples with the splits train and eval."""
    from tfx.components.util import examples_utils
    from tfx.proto import example_gen_pb2
    from tfx.types import artifact_utils, standard_artifacts

    artifact = standard_artifacts.Examples()
    artifact.uri = str(digits_examples)
    artifact.split_names = artifact_utils.encode_split_names(['train', 'eval'])
    examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    return artifact


@pytest.fixture(scope='session')
def model_artifact(digits_saved_model: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The digits net as a Trainer's Model."""
    from tfx.types import standard_artifacts
    from tfx.utils import path_utils

    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path_factory.mktemp('trainer'))
    # Without a version TFX takes an artifact for one of its oldest, laid out differently.
    artifact.set_string_custom_property('tfx_version', '1.16.0')
    shutil.copytree(digits_saved_model, path_utils.serving_model_dir(artifact.uri))
    return artifact
