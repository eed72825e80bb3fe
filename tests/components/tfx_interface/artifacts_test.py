"""Where the model of an artifact lies: as TFX's steps write it, and as it is imported."""

from __future__ import annotations

import logging
import pathlib

import pytest
from tfx.types import standard_artifacts

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.tfx_interface import artifacts

pytestmark = pytest.mark.slow


def _artifact(folder: pathlib.Path, *files: str) -> standard_artifacts.Model:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    artifact.set_string_custom_property('tfx_version', '1.16.0')
    return artifact


@pytest.mark.parametrize(
    ('files', 'expected'),
    [
        (['Format-Serving/saved_model.pb', 'saved_model.pb'], 'Format-Serving'),
        (['saved_model.pb', 'variables/variables.index', '7/saved_model.pb'], ''),
        (['tflite'], ''),
        (['serving_model_dir/saved_model.pb'], 'serving_model_dir'),
        (['9/saved_model.pb', '10/saved_model.pb', '11.tmp/saved_model.pb'], '10'),
        (['12/notes.txt', '10/saved_model.pb'], '10'),
    ],
)
def test_the_model_is_found(
    files: list[str], expected: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = _artifact(tmp_path, *files)
    with caplog.at_level(logging.INFO, logger='tfx_edge'):
        found = artifacts.serving_model_path(model)
    assert pathlib.Path(found) == tmp_path / expected
    assert bool(caplog.messages) == (expected != 'Format-Serving')


@pytest.mark.parametrize(
    'files', [[], ['models/saved_model.pb'], ['Format-Serving.unfinished/saved_model.pb']]
)
def test_elsewhere_it_is_not_looked_for(files: list[str], tmp_path: pathlib.Path) -> None:
    model = _artifact(tmp_path / 'model', *files)
    with pytest.raises(
        EdgeError, match=f'has to lie in {tmp_path}/model/Format-Serving or in {tmp_path}/model'
    ):
        artifacts.serving_model_path(model)
