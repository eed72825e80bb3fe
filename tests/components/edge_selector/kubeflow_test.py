"""EdgeSelector as Kubeflow's launcher starts it, behind the steps of a compiled deployment tree."""

from __future__ import annotations

import json
import pathlib

import pytest
import yaml
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.components.core.selection.reports import report
from tests.pipelines.kubeflow.launcher import Launcher
from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.model_files import sizes
from tfx_edge.pipelines.digits import tree_pipeline
from tfx_edge.pipelines.kubeflow import container_step
from tfx_edge.pipelines.kubeflow.branch_failures import BRANCH_FLAG, run_or_hand_on
from tfx_edge.pipelines.kubeflow.cluster_fault import ClusterFault
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


def test_a_branch_that_refuses_its_input_hands_the_reason_on_and_the_others_are_chosen_from(
    launcher: Launcher, digits_int8: bytes, capsys: pytest.CaptureFixture[str]
):
    leave(launcher, 'int8', digits_int8, 0.98)
    launcher.record('ImportExampleGen', 'examples', f'{ROOT}/examples', {'split_names': '["train", "eval"]'})
    launcher.record('Trainer', 'model', f'{ROOT}/trained', {})
    # There is no model.
    launcher.record('Pruner-zeros50', 'model', f'{ROOT}/pruned', {})
    quantizer, evaluator = 'TFLiteQuantizer-zeros50-int8', 'EdgeEvaluator-zeros50-int8'
    for step in (quantizer, evaluator, 'EdgeSelector'):
        assert container_step.main(launcher.arguments(step)) == 0
        launcher.publish(step)
    printed = capsys.readouterr().err
    assert f'tfx-edge: {quantizer} failed: the model artifact ' in printed
    assert 'its EdgeSelector goes on without this branch' in printed
    assert f'tfx-edge: {evaluator} has nothing to do: {quantizer}: the model artifact ' in printed
    selection = launcher.mounts.path(launcher.artifacts['EdgeSelector', 'selection']['uri'])
    found = json.loads((pathlib.Path(selection) / 'selection.json').read_text())
    assert (found['verdict'], found['chosen']) == ('BLESSED', 'int8')
    (reason,) = found['candidates'][1]['reasons']
    assert reason.startswith(f'{quantizer}: the model artifact ')
    handed_on = launcher.mounts.path(launcher.artifacts[evaluator, 'blessing']['uri'])
    assert [path.name for path in pathlib.Path(handed_on).iterdir()] == ['missing.txt']


def test_the_steps_of_branches_are_told_so_and_no_others(launcher: Launcher):
    flagged = {
        task
        for task in launcher.spec['root']['dag']['tasks']
        if BRANCH_FLAG in launcher.executor(task).get('container', {}).get('args', [])
    }
    routes = {
        f'{step}-{route}'
        for step in ('TFLiteQuantizer', 'EdgeEvaluator')
        for route in ('int8', 'zeros50-int8')
    }
    assert flagged == {*routes, 'Pruner-zeros50'}


@pytest.mark.parametrize(
    ('branch', 'error'),
    [
        ('Pruner', RuntimeError('memory is full')),
        ('Pruner', ClusterFault('the store cannot be reached')),
        ('', EdgeError('the model is at fault')),
    ],
)
def test_other_faults_and_other_steps_fail(branch: str, error: Exception):
    def body() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        run_or_hand_on(branch, pipeline_spec_pb2.ExecutorInput(), str, body)


def test_what_caused_an_error_counts_too():
    def body() -> None:
        raise EdgeError('no schema') from ClusterFault('the store cannot be reached')

    with pytest.raises(EdgeError, match='no schema'):
        run_or_hand_on('Pruner', pipeline_spec_pb2.ExecutorInput(), str, body)


def test_a_step_outside_of_the_branches_takes_no_missing_model_for_one(launcher: Launcher):
    launcher.record('EdgeSelector', 'model', f'{ROOT}/absent', {'tfx_edge_missing': 'Pruner: no weights'})
    launcher.record('EdgeSelector', 'blessing', f'{ROOT}/blessing', {'blessed': 1})
    assert container_step.main(launcher.arguments('Pusher')) == 0
    launcher.publish('Pusher')
    pushed = launcher.artifacts['Pusher', 'pushed_model']
    assert pushed['metadata'] == {'tfx_edge_missing': 'Pruner: no weights'}


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
