"""EdgeSelector as Kubeflow's launcher starts it, behind the steps of a compiled deployment tree."""

from __future__ import annotations

import json
import pathlib

import pytest
import yaml

from tests.components.core.selection.reports import report
from tests.pipelines.kubeflow.launcher import Launcher
from tfx_edge import proto
from tfx_edge.components.core.evaluation.model_files import sizes
from tfx_edge.pipelines.digits import tree_pipeline
from tfx_edge.pipelines.kubeflow import container_step
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.kubeflow.mounts import ROOT_VARIABLE

pytestmark = pytest.mark.slow

ROOT = 'minio://bucket/root'
TREE = proto.DeploymentTree(levels=['pruning'], quantization=[{'mode': 'INT8'}])


@pytest.fixture
def launcher(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    pipeline = tree_pipeline.create_pipeline(ROOT, 's3://bucket/data', 's3://bucket/serving', tree=TREE)
    return Launcher(yaml.safe_load(as_text(compile_pipeline(pipeline, 'image', 'kfp'), 'kfp')), tmp_path)


def leave(launcher: Launcher, route: str, content: bytes, accuracy: float) -> None:
    """What the quantizer and the evaluator of a route leave behind."""
    for step, output in (
        (f'TFLiteQuantizer-{route}', 'model'),
        (f'EdgeEvaluator-{route}', 'edge_evaluation'),
    ):
        launcher.record(step, output, f'{ROOT}/run/{step}/salt/{output}', {'tfx_version': '1.16.0'})
        folder = pathlib.Path(launcher.mounts.path(launcher.artifacts[step, output]['uri']))
        folder.mkdir(parents=True)
        if output == 'model':
            (folder / 'Format-Serving').mkdir()
            (folder / 'Format-Serving' / 'tflite').write_bytes(content)
            continue
        file = {'file_bytes': len(content), 'zip_bytes': sizes.zip_bytes(content), 'activation_bytes': 1}
        (folder / 'report.json').write_text(json.dumps(report(accuracy, file=file)))


def test_the_chosen_model_and_its_blessing_are_at_the_uris_of_the_outputs(
    launcher: Launcher, digits_float: bytes, digits_int8: bytes
):
    leave(launcher, 'int8', digits_float, 0.98)
    leave(launcher, 'zeros50-int8', digits_int8, 0.97)
    assert container_step.main(launcher.arguments('EdgeSelector')) == 0
    launcher.publish('EdgeSelector')
    model, blessing, selection = (
        launcher.artifacts['EdgeSelector', key] for key in ('model', 'blessing', 'selection')
    )
    file = pathlib.Path(launcher.mounts.path(model['uri'])) / 'Format-Serving' / 'tflite'
    assert file.read_bytes() == digits_int8
    assert model['metadata']['tfx_edge_route'] == 'zeros50-int8'
    assert blessing['metadata']['blessed'] == 1
    chosen_from = launcher.artifacts['TFLiteQuantizer-zeros50-int8', 'model']
    assert blessing['metadata']['current_model'] == chosen_from['uri']
    assert blessing['metadata']['current_model_id'] == chosen_from['name']
    found = json.loads((pathlib.Path(launcher.mounts.path(selection['uri'])) / 'selection.json').read_text())
    assert [row['verdict'] for row in found['candidates']] == ['BLESSED', 'BLESSED']
    assert launcher.executor_input('Pusher')['inputs']['artifacts']['model_blessing']['artifacts'] == [
        blessing
    ]
