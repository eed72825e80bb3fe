"""Examples in the forms that TFX's steps leave them in: what is read, and what all five components refuse."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from ml_metadata.proto import metadata_store_pb2
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, channel_utils, standard_artifacts

from tests.golden import files
from tfx_edge import proto
from tfx_edge.components import Clusterer, EdgeEvaluator, Pruner, QATTrainer, TFLiteQuantizer
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser, read_records
from tfx_edge.components.core.signature import TensorSpec
from tfx_edge.components.tfx_interface.example_files import split_files

pytestmark = pytest.mark.slow

_COMPONENTS = [Pruner, Clusterer, QATTrainer, TFLiteQuantizer, EdgeEvaluator]


def _examples(folder: pathlib.Path, *, splits: Sequence[str] = ('train', 'eval'), payload: str = '') -> Any:
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    if splits:
        artifact.split_names = artifact_utils.encode_split_names(list(splits))
    if payload:
        examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.Value(payload))
    return artifact


def _write(path: pathlib.Path, values: Sequence[float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), options='GZIP') as writer:
        for value in values:
            example = tf.train.Example()
            example.features.feature['x'].float_list.value.append(value)
            writer.write(example.SerializeToString())


def _values(examples: Sequence[Any], split: str = 'train') -> list[float]:
    parser = ExampleParser({'x': TensorSpec((None,), tf.float32)})
    return parser(list(read_records(split_files(examples, [split]))))['x'].tolist()


def _run(component: Any, model: Any, examples: Any, folder: pathlib.Path) -> None:
    """Runs a component's executor on what the component would hand it."""
    arguments: dict[str, Any] = {}
    if component is EdgeEvaluator:
        arguments['eval_config'] = tfma.EvalConfig(
            model_specs=[tfma.ModelSpec(label_key='label')],
            metrics_specs=[
                tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name='SparseCategoricalAccuracy')])
            ],
        )
    elif component is not TFLiteQuantizer:
        arguments['fine_tuning'] = proto.FineTuning(num_steps=3)
    channels = {'model': channel_utils.as_channel([model]), 'examples': channel_utils.as_channel([examples])}
    made = component(**channels, **arguments)
    outputs = {}
    for key, channel in made.outputs.items():
        (outputs[key],) = artifacts = [channel.type()]
        artifacts[0].uri = str(folder / key)
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=['--runner=FnApiRunner'], tmp_dir=str(folder / 'tmp'), unique_id='1'
    )
    inputs = {key: [model if key.endswith('model') else examples] for key in made.inputs}
    written = {key: [artifact] for key, artifact in outputs.items()}
    made.executor_spec.executor_class(context).Do(inputs, written, dict(made.exec_properties))


@pytest.fixture(scope='module')
def evaluated_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The int8 file of the digits net as TFLiteQuantizer's Model."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path_factory.mktemp('quantizer'))
    folder = pathlib.Path(artifact.uri) / 'Format-Serving'
    folder.mkdir()
    (folder / 'tflite').write_bytes(files.digits_int8())
    return artifact


@pytest.mark.parametrize('component', _COMPONENTS, ids=lambda component: component.__name__)
def test_parquet_is_refused_by_all_components_before_they_convert_or_train(
    component: Any,
    model_artifact: Any,
    evaluated_model: Any,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # As ImportExampleGen leaves them: the payload format is a property.
    for split in ('train', 'eval'):
        (tmp_path / 'e' / f'Split-{split}').mkdir(parents=True)
        (tmp_path / 'e' / f'Split-{split}' / 'data.parquet').write_bytes(b'PAR1' + bytes(50))
    examples = _examples(tmp_path / 'e', payload='FORMAT_PARQUET')
    model = evaluated_model if component is EdgeEvaluator else model_artifact
    caplog.set_level('INFO', 'tfx_edge')
    match = r'are FORMAT_PARQUET; tfx-edge reads FORMAT_TF_EXAMPLE.*parquet_executor makes tf\.Examples'
    with pytest.raises(EdgeError, match=match) as caught:
        _run(component, model, examples, tmp_path / 'run')
    assert '\n' not in str(caught.value)
    assert 'converting signature' not in caplog.text
    assert not [path for path in (tmp_path / 'run').rglob('*') if path.is_file()]


class TestSpans:
    def test_of_several_artifacts_are_read_together(self, tmp_path: pathlib.Path) -> None:
        spans = []
        for span, values in ((1, [1.0, 2.0]), (2, [3.0])):
            _write(tmp_path / f'{span}' / 'Split-train' / 'data_tfrecord-00000-of-00001.gz', values)
            spans.append(_examples(tmp_path / f'{span}'))
            spans[-1].span = span
        # A resolver gives the latest first.
        assert _values(spans) == _values(spans[::-1]) == [1.0, 2.0, 3.0]

    def test_of_one_artifact_are_all_its_files(self, tmp_path: pathlib.Path) -> None:
        for number in range(3):
            _write(tmp_path / 'Split-train' / f'data_tfrecord-0000{number}-of-00003.gz', [float(number)])
        assert _values([_examples(tmp_path)]) == [0.0, 1.0, 2.0]

    def test_of_which_one_has_another_payload_are_refused(self, tmp_path: pathlib.Path) -> None:
        _write(tmp_path / 'a' / 'Split-train' / 'data.gz', [1.0])
        spans = [_examples(tmp_path / 'a'), _examples(tmp_path / 'b', payload='FORMAT_PARQUET')]
        with pytest.raises(EdgeError, match=r'the examples .*/b are FORMAT_PARQUET'):
            split_files(spans, ['train'])


class TestImported:
    def test_without_split_names_their_folders_show_them(
        self, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        _write(tmp_path / 'Split-train' / 'mine.gz', [4.0])
        _write(tmp_path / 'Split-eval' / 'mine.gz', [5.0])
        examples = _examples(tmp_path, splits=())
        with caplog.at_level(logging.INFO, logger='tfx_edge'):
            assert (_values([examples]), _values([examples], 'eval')) == ([4.0], [5.0])
        assert "list no splits; those of its folders are taken: ['eval', 'train']" in caplog.text
        with pytest.raises(
            EdgeError, match=r"split 'test' is not in .* \(found: eval, train\); name one of these"
        ):
            split_files([examples], ['test'])

    @pytest.mark.parametrize('laid', [[], ['data.gz'], ['train/data.gz']])
    def test_without_split_names_and_folders_they_are_refused_with_the_remedy(
        self, laid: list[str], tmp_path: pathlib.Path
    ) -> None:
        for name in laid:
            _write(tmp_path / name, [1.0])
        match = (
            r"\(found: none\); .*properties=\{'split_names': '\[\"train\", \"eval\"\]'\}, .* Split-train and"
        )
        with pytest.raises(EdgeError, match=match):
            split_files([_examples(tmp_path, splits=())], ['train'])

    @pytest.mark.parametrize('folder', ['Split-train', 'train'])
    def test_without_a_version_they_are_found_in_both_layouts(
        self, folder: str, tmp_path: pathlib.Path
    ) -> None:
        _write(tmp_path / folder / 'data.gz', [6.0])
        examples = _examples(tmp_path)
        # As metadata give it back: TFX takes it for an artifact of 2020.
        examples.mlmd_artifact.state = metadata_store_pb2.Artifact.LIVE
        assert _values([examples]) == [6.0]

    def test_patterns_of_files_are_followed(self, tmp_path: pathlib.Path) -> None:
        _write(tmp_path / 'all' / 'train-1.gz', [7.0])
        _write(tmp_path / 'all' / 'eval-1.gz', [8.0])
        examples = _examples(tmp_path)
        patterns = {'train': 'all/train-*.gz', 'eval': 'all/nothing-*.gz'}
        key, value = examples_utils.get_custom_split_patterns_key_and_property(patterns)
        examples.set_string_custom_property(key, value)
        assert _values([examples]) == [7.0]
        with pytest.raises(
            EdgeError, match=r"split 'eval' .* has no file .*all/nothing-\*\.gz; correct the custom"
        ):
            split_files([examples], ['eval'])

    def test_parquet_files_without_a_payload_format_are_reported(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / 'Split-train').mkdir()
        (tmp_path / 'Split-train' / 'part-0.parquet').write_bytes(b'PAR1' + bytes(50))
        with pytest.raises(
            EdgeError, match=r'part-0\.parquet cannot be read .*it is a Parquet file: let the ExampleGen'
        ):
            _values([_examples(tmp_path, splits=())])
