"""EdgeEvaluator under TFX's own runners."""

from __future__ import annotations

import json
import pathlib

import pytest
from tfx.components import Pusher
from tfx.dsl.components.common import importer
from tfx.orchestration import metadata
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.orchestration.local import local_dag_runner
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts

from tfx_edge import proto
from tfx_edge.components import EdgeEvaluator

pytestmark = pytest.mark.slow

VERSION = {'tfx_version': '1.16.0'}  # without one TFX takes a Model for its oldest layout


@pytest.fixture
def make_pipeline(
    as_tflite_model,
    as_saved_model,
    accuracy_config,
    int8_tflite,
    digits_saved_model,
    digits_examples,
    tmp_path,
):
    sources = {
        'model': (as_tflite_model(int8_tflite).uri, standard_artifacts.Model),
        'baseline': (as_saved_model(digits_saved_model).uri, standard_artifacts.Model),
        'examples': (str(digits_examples), standard_artifacts.Examples),
    }

    def make(edge: proto.EdgeEvaluation) -> tfx_pipeline.Pipeline:
        imported = {
            name: importer.Importer(
                source_uri=uri,
                artifact_type=type_,
                properties={'split_names': '["train", "eval"]'} if name == 'examples' else None,
                custom_properties=VERSION,
            ).with_id(name)
            for name, (uri, type_) in sources.items()
        }
        evaluator = EdgeEvaluator(
            model=imported['model'].outputs['result'],
            examples=imported['examples'].outputs['result'],
            baseline_model=imported['baseline'].outputs['result'],
            eval_config=accuracy_config(0.9, -0.015),
            edge=edge,
        )
        filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=str(tmp_path / 'serving'))
        pusher = Pusher(
            model=imported['model'].outputs['result'],
            model_blessing=evaluator.outputs['blessing'],
            push_destination=pusher_pb2.PushDestination(filesystem=filesystem),
        )
        return tfx_pipeline.Pipeline(
            pipeline_name='edge-evaluator',
            pipeline_root=str(tmp_path / 'root'),
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(tmp_path / 'mlmd.db')),
            components=[*imported.values(), evaluator, pusher],
            beam_pipeline_args=['--runner=FnApiRunner', '--sdk_container_image=none'],
        )

    return make


def test_local_dag_runner_evaluates_and_pushes(make_pipeline, int8_tflite, tmp_path):
    local_dag_runner.LocalDagRunner().run(make_pipeline(proto.EdgeEvaluation(max_file_bytes=1)))
    (report,) = (tmp_path / 'root').glob('EdgeEvaluator/edge_evaluation/*/report.json')
    assert json.loads(report.read_text())['verdict'] == 'NOT_BLESSED'
    assert not list((tmp_path / 'serving').glob('*/tflite'))

    local_dag_runner.LocalDagRunner().run(make_pipeline(proto.EdgeEvaluation(min_agreement=0.9)))
    reports = set((tmp_path / 'root').glob('EdgeEvaluator/edge_evaluation/*/report.json')) - {report}
    assert json.loads(reports.pop().read_text())['verdict'] == 'BLESSED'
    (pushed,) = (tmp_path / 'serving').glob('*/tflite')
    assert pushed.read_bytes() == int8_tflite

    with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(tmp_path / 'mlmd.db'))) as store:
        models = {artifact.id for artifact in store.store.get_artifacts_by_type('Model')}
        blessings = store.store.get_artifacts_by_type('ModelBlessing')
    blessed = [b.custom_properties['blessed'].int_value for b in sorted(blessings, key=lambda b: b.id)]
    assert blessed == [0, 1]
    for blessing in blessings:
        ids = {blessing.custom_properties[f'{name}_model_id'].int_value for name in ('current', 'baseline')}
        assert len(ids) == 2
        assert ids <= models


def test_it_compiles_for_kubeflow(make_pipeline, tmp_path):
    compiled = pathlib.Path(tmp_path / 'pipeline.json')
    kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(),
        output_dir=str(tmp_path),
        output_filename=compiled.name,
    ).run(make_pipeline(proto.EdgeEvaluation()), write_out=True)
    component = json.loads(compiled.read_text())['pipelineSpec']['components']['EdgeEvaluator']
    assert set(component['outputDefinitions']['artifacts']) == {'evaluation', 'blessing', 'edge_evaluation'}
    assert set(component['inputDefinitions']['artifacts']) == {'model', 'baseline_model', 'examples'}
