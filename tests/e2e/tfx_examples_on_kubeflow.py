"""What TFX's penguin template trained, compressed and judged in steps of Kubeflow's launcher: LocalDagRunner's file.

`make test-tfx-examples` runs it."""

from __future__ import annotations

import pathlib

import pytest
from tfx import v1 as tfx

from tests.e2e.tfx_examples import pipelines
from tests.e2e.tfx_examples.catalog import EXAMPLES
from tests.e2e.tfx_examples.runs import find, run_pipelines
from tests.pipelines.kubeflow.cluster import Cluster
from tests.pipelines.kubeflow.object_store import new_bucket, object_store
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.kubeflow.pods import PodOptions
from tfx_edge.pipelines.local import BEAM_ARGS

pytestmark = pytest.mark.slow

NAME = 'penguin-template'
MADE_BY = {
    'examples': 'ExampleGen',
    'transformed_examples': 'Transform',
    'transform_graph': 'Transform',
    'model': 'Trainer',
}


def edge_pipeline(bucket: str) -> tfx.dsl.Pipeline:
    """The steps behind the Trainer, on what lies in a bucket."""
    artifacts = tfx.types.standard_artifacts
    kinds = dict.fromkeys(('examples', 'transformed_examples'), artifacts.Examples)
    kinds |= {'transform_graph': artifacts.TransformGraph, 'model': artifacts.Model}
    importers = {
        key: tfx.dsl.Importer(
            source_uri=f's3://{bucket}/{key}',
            artifact_type=kind,
            properties={'split_names': '["train", "eval"]'} if kind is artifacts.Examples else None,
            custom_properties={'tfx_version': tfx.__version__},
        ).with_id(key.replace('_', '-'))
        for key, kind in kinds.items()
    }
    given = {key: importer.outputs['result'] for key, importer in importers.items()}
    raw = {key: given[key] for key in ('examples', 'transform_graph')}
    compressing = pipelines.compressing_steps(given['model'], given['transformed_examples'], raw)
    judging = pipelines.judging_steps(
        EXAMPLES[NAME], compressing[-1].outputs['model'], given['model'], raw, f's3://{bucket}/serving'
    )
    return tfx.dsl.Pipeline(
        NAME,
        f'minio://{bucket}/root',
        components=[*importers.values(), *compressing, *judging],
        beam_pipeline_args=[*BEAM_ARGS, '--sdk_container_image=none'],
    )


def test_launcher_pushes_the_file_that_local_dag_runner_makes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_pipelines(tmp_path, [NAME])
    done = find(tmp_path, NAME)
    for variable in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'):
        monkeypatch.setenv(variable, 'any')
    with object_store() as store:
        bucket = new_bucket()
        for key, step in MADE_BY.items():
            store.upload(pathlib.Path(done.steps[step].output(key).uri), f's3://{bucket}/{key}')
        pods = PodOptions(
            variables=(f'AWS_ENDPOINT_URL={store.endpoint}', 'AWS_DEFAULT_REGION=us-east-1'),
        )
        text = as_text(compile_pipeline(edge_pipeline(bucket), 'image', 'kfp', pods), 'kfp')
        run = Cluster(store, tmp_path / 'cluster').run(text)
        assert run.artifacts['EdgeEvaluator', 'blessing']['metadata']['blessed'] == 1
        (pushed,) = store.keys(f's3://{bucket}/serving')
        assert store.read(f's3://{bucket}/serving/{pushed}') == done.pushed()
