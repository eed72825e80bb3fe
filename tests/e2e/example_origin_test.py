"""What a pipeline of TFX leaves on Examples artifacts says which step wrote them."""

from __future__ import annotations

import pathlib

import pytest
from tfx import v1 as tfx
from tfx.orchestration import metadata
from tfx.types import artifact_utils

from tests.components.kept_names import record
from tfx_edge.components.core.examples.example_stage import RAW, TRANSFORMED
from tfx_edge.components.tfx_interface.example_origin import origin_of_examples, origin_of_schema
from tfx_edge.pipelines.local import BEAM_ARGS

pytestmark = pytest.mark.e2e

_MODULE = """
def preprocessing_fn(inputs):
    return {**inputs, 'age': inputs['age'] / 10.0}
"""
_SCHEMA = """
feature { name: "age" type: FLOAT presence { min_fraction: 1.0 } shape { dim { size: 1 } } }
"""


def test_example_gen_and_transform_are_distinguished(tmp_path: pathlib.Path) -> None:
    import tensorflow as tf

    (tmp_path / 'data').mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / 'data' / 'records')) as writer:
        for age in range(20, 40):
            writer.write(record(age=[float(age)]))
    (tmp_path / 'preprocess.py').write_text(_MODULE)
    (tmp_path / 'schema.pbtxt').write_text(_SCHEMA)
    gen = tfx.components.ImportExampleGen(input_base=str(tmp_path / 'data'))
    schema = tfx.components.ImportSchemaGen(schema_file=str(tmp_path / 'schema.pbtxt'))
    transform = tfx.components.Transform(
        examples=gen.outputs['examples'],
        schema=schema.outputs['schema'],
        module_file=str(tmp_path / 'preprocess.py'),
    )
    config = metadata.sqlite_metadata_connection_config(str(tmp_path / 'mlmd.db'))
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name='origins',
            pipeline_root=str(tmp_path / 'root'),
            components=[gen, schema, transform],
            metadata_connection_config=config,
            beam_pipeline_args=list(BEAM_ARGS),
        )
    )
    with metadata.Metadata(config) as connection:
        stored = {
            kind: [
                artifact_utils.deserialize_artifact(connection.store.get_artifact_type(kind), artifact)
                for artifact in connection.store.get_artifacts_by_type(kind)
            ]
            for kind in ('Examples', 'Schema')
        }
    stages = {artifact.uri.split('/')[-3]: origin_of_examples(artifact) for artifact in stored['Examples']}
    assert stages['ImportExampleGen'].stage == RAW
    assert stages['Transform'].stage == TRANSFORMED
    assert stages['Transform'].certain
    described = {
        artifact.uri.split('/')[-2]: origin_of_schema(artifact).stage for artifact in stored['Schema']
    }
    assert described == {'schema': '', 'pre_transform_schema': '', 'post_transform_schema': TRANSFORMED}
