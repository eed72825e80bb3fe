"""What an Examples artifact says of the step that wrote it, and which files it has."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_stage import RAW, STAGE_PROPERTY, TRANSFORMED
from tfx_edge.components.tfx_interface.example_files import split_files
from tfx_edge.components.tfx_interface.example_origin import origin_of_examples, origin_of_schema

pytestmark = pytest.mark.slow


def _examples(uri: str, payload: str = '', stage: str = '') -> Any:
    artifact = standard_artifacts.Examples()
    artifact.uri = uri
    artifact.split_names = artifact_utils.encode_split_names(['train', 'eval'])
    if payload:
        examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.Value(payload))
    if stage:
        artifact.set_string_custom_property(STAGE_PROPERTY, stage)
    return artifact


@pytest.mark.parametrize(
    ('uri', 'payload', 'stage'),
    [
        # The local runner, with one input and with several; other names of the step; Kubeflow; Vertex AI.
        ('/root/Transform/transformed_examples/12', '', TRANSFORMED),
        ('/root/Transform/transformed_examples/12/0', '', TRANSFORMED),
        ('/root/Transform.second/transformed_examples/12/', '', TRANSFORMED),
        ('/minio/mlpipeline/v2/artifacts/taxi/8f3c/transform/transformed_examples', '', TRANSFORMED),
        ('gs://bucket/taxi/123/taxi-2020/Transform_-42/transformed_examples', '', TRANSFORMED),
        ('/root/CsvExampleGen/examples/1', 'FORMAT_TF_EXAMPLE', RAW),
        # A folder's name within the path says nothing, nor does one that is only alike.
        ('/data/transformed_examples/mine', '', ''),
        ('/data/my_transformed_examples/3', 'FORMAT_TF_EXAMPLE', RAW),
        ('/root/CustomStep/examples/1', '', ''),
    ],
)
def test_the_writer_is_known_by_the_layout_and_the_properties(uri: str, payload: str, stage: str) -> None:
    assert origin_of_examples(_examples(uri, payload)).stage == stage


def test_the_user_s_own_property_holds_above_all() -> None:
    origin = origin_of_examples(_examples('/root/Transform/transformed_examples/1', stage=RAW))
    assert (origin.stage, origin.certain) == (RAW, True)
    with pytest.raises(EdgeError, match=f"'{STAGE_PROPERTY}' of the examples /e is 'rwa'; expected 'raw' or"):
        origin_of_examples(_examples('/e', stage='rwa'))


@pytest.mark.parametrize(
    ('uri', 'stage'),
    [('/root/Transform/post_transform_schema/5', TRANSFORMED), ('/root/SchemaGen/schema/4', '')],
)
def test_transform_s_own_schema_describes_transformed_examples(uri: str, stage: str) -> None:
    schema = standard_artifacts.Schema()
    schema.uri = uri
    assert origin_of_schema(schema).stage == stage


class TestFiles:
    def test_of_several_artifacts_are_all_there(self, tmp_path: pathlib.Path) -> None:
        for name in 'ab':
            (tmp_path / name / 'Split-train').mkdir(parents=True)
            (tmp_path / name / 'Split-train' / 'data.gz').touch()
        artifacts = [_examples(str(tmp_path / name), 'FORMAT_TF_EXAMPLE') for name in 'ba']
        assert split_files(artifacts, ['train']) == [
            str(tmp_path / n / 'Split-train' / 'data.gz') for n in 'ab'
        ]

    def test_of_a_split_without_a_folder_are_missed(self, tmp_path: pathlib.Path) -> None:
        there, gone = tmp_path / 'there', tmp_path / 'gone'
        (there / 'Split-eval').mkdir(parents=True)
        (there / 'Split-eval' / 'data.gz').touch()
        match = r"split 'eval' is listed in the examples .*gone, but there is no folder .*gone/Split-eval"
        with pytest.raises(EdgeError, match=match):
            split_files([_examples(str(there)), _examples(str(gone))], ['eval'])

    @pytest.mark.parametrize(
        ('payload', 'remedy'),
        [
            ('FORMAT_TF_SEQUENCE_EXAMPLE', 'padded to a fixed length'),
            ('FORMAT_PROTO', 'one feature for each field'),
            ('FORMAT_PARQUET', 'at FORMAT_TF_EXAMPLE'),
        ],
    )
    def test_of_another_payload_are_refused_with_the_remedy(self, payload: str, remedy: str) -> None:
        with pytest.raises(EdgeError, match=f'are {payload}; tfx-edge reads FORMAT_TF_EXAMPLE.*{remedy}'):
            split_files([_examples('/e', payload)], ['train'])

    @pytest.mark.parametrize('file_format', ['parquet', 'FILE_FORMAT_PARQUET', 'sstable'])
    def test_of_another_format_are_refused(self, file_format: str) -> None:
        artifact = _examples('/e', 'FORMAT_TF_EXAMPLE')
        examples_utils.set_file_format(artifact, file_format)
        with pytest.raises(
            EdgeError, match=f"files of the format '{file_format}'; tfx-edge reads TFRecord files"
        ):
            split_files([artifact], ['train'])

    @pytest.mark.parametrize('file_format', ['tfrecords_gzip', 'FORMAT_TFRECORDS_GZIP'])
    def test_of_tfrecords_are_taken(self, file_format: str, tmp_path: pathlib.Path) -> None:
        (tmp_path / 'Split-train').mkdir()
        (tmp_path / 'Split-train' / 'data.gz').touch()
        artifact = _examples(str(tmp_path))
        examples_utils.set_file_format(artifact, file_format)
        assert len(split_files([artifact], ['train'])) == 1
