"""`.tflite` files of the digits net, Model artifacts around them, and a way to run the executor."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fastjsonschema
import numpy as np
import pytest

from tests.golden import files

RUNNER = ['--runner=FnApiRunner', '--sdk_container_image=none']


@functools.cache
def _schema() -> Callable[[dict[str, Any]], dict[str, Any]]:
    from tfx_edge.components.core.evaluation import report

    (folder,) = report.__path__
    schema = json.loads((pathlib.Path(folder) / 'report.schema.json').read_text())
    return fastjsonschema.compile(schema)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one run of the executor left behind."""

    evaluation: Any
    blessing: Any
    edge_evaluation: Any

    @property
    def report(self) -> dict[str, Any]:
        """The report, which fits its schema."""
        text = (pathlib.Path(self.edge_evaluation.uri) / 'report.json').read_text()
        return _schema()(json.loads(text))

    @property
    def blessed(self) -> bool:
        files = sorted(path.name for path in pathlib.Path(self.blessing.uri).iterdir())
        value = self.blessing.get_int_custom_property('blessed')
        assert files == (['BLESSED'] if value else ['NOT_BLESSED'])
        return value == 1

    def metric(
        self, name: str, model: str = 'candidate', *, slice_: Sequence[Any] = (), difference: bool = False
    ):
        """A metric of the report; TFMA's own files hold the same number, which is checked."""
        for entry in self.report['metrics']:
            if entry['slice'] == list(slice_):
                for metric in entry['metrics']:
                    if (metric['name'], metric['model'], metric['difference']) == (name, model, difference):
                        return metric['value']
        raise KeyError((name, model, slice_))


@pytest.fixture(scope='session')
def float_tflite(digits_float: bytes) -> bytes:
    return digits_float


@pytest.fixture(scope='session')
def quantize(float_tflite: bytes) -> Callable[..., bytes]:
    """Quantizes the digits net to int8 with the ranges that some images give."""
    from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
    from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model

    def quantize_with(images: np.ndarray, io: str = 'FLOAT', mode: str = 'INT8') -> bytes:
        read = ActivationReader(float_tflite)
        ranges: dict[str, tuple[float, float]] = {}
        for start in range(0, len(images), 8):
            for name, values in read({'image': images[start : start + 8]}).items():
                low, high = ranges.get(name, (np.inf, -np.inf))
                ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))
        return quantize_model(float_tflite, QuantizationOptions(mode, io), ranges)

    return quantize_with


@pytest.fixture(scope='session')
def int8_tflite(digits_int8: bytes) -> bytes:
    return digits_int8


@pytest.fixture
def as_tflite_model(tmp_path: pathlib.Path) -> Callable[..., Any]:
    """Makes a Model artifact of a `.tflite` file, as TFLiteQuantizer writes it."""
    from tfx.types import standard_artifacts

    def make(model: bytes, name: str = 'candidate', id_: int = 7) -> Any:
        artifact = standard_artifacts.Model()
        artifact.uri, artifact.id = str(tmp_path / name), id_
        folder = tmp_path / name / 'Format-Serving'
        folder.mkdir(parents=True)
        (folder / 'tflite').write_bytes(model)
        return artifact

    return make


@pytest.fixture
def as_saved_model(tmp_path: pathlib.Path) -> Callable[..., Any]:
    """Makes a Model artifact of a SavedModel, as a Trainer writes it."""
    from tfx.types import standard_artifacts

    def make(saved_model: pathlib.Path, name: str = 'baseline', id_: int = 5) -> Any:
        artifact = standard_artifacts.Model()
        artifact.uri, artifact.id = str(tmp_path / name), id_
        shutil.copytree(saved_model, tmp_path / name / 'Format-Serving')
        return artifact

    return make


@pytest.fixture
def as_examples() -> Callable[..., Any]:
    """Makes an Examples artifact of a folder laid out as ExampleGen's."""
    from tfx.components.util import examples_utils
    from tfx.proto import example_gen_pb2
    from tfx.types import artifact_utils, standard_artifacts

    def make(folder: pathlib.Path, splits: Sequence[str] = ('train', 'eval')) -> Any:
        artifact = standard_artifacts.Examples()
        artifact.uri = str(folder)
        artifact.split_names = artifact_utils.encode_split_names(list(splits))
        examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        return artifact

    return make


@pytest.fixture
def evaluate(tmp_path: pathlib.Path) -> Callable[..., Outcome]:
    """Runs EdgeEvaluator's executor, in a Beam executor's context, on what the component would hand it."""
    from tfx.dsl.components.base import base_beam_executor
    from tfx.types import channel_utils, standard_artifacts

    from tfx_edge.components import EdgeEvaluator
    from tfx_edge.components.edge_evaluator import executor
    from tfx_edge.components.tfx_interface.artifact_types import EdgeEvaluation

    def run(
        model: Any,
        examples: Any,
        eval_config: Any,
        *,
        baseline: Any = None,
        first_run: bool = False,
        beam_args: Sequence[str] = RUNNER,
        name: str = 'run',
        more_inputs: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Outcome:
        inputs = {'model': [model], 'examples': [examples]}
        inputs |= {key: [artifact] for key, artifact in (more_inputs or {}).items()}
        if baseline is not None:
            inputs['baseline_model'] = [baseline]
        channels = {key: channel_utils.as_channel(value) for key, value in inputs.items()}
        component = EdgeEvaluator(eval_config=eval_config, **channels, **settings)
        if first_run:  # of a pipeline whose resolver finds no blessed model yet
            del inputs['baseline_model']
        outputs = {
            'evaluation': standard_artifacts.ModelEvaluation(),
            'blessing': standard_artifacts.ModelBlessing(),
            'edge_evaluation': EdgeEvaluation(),
        }
        for key, artifact in outputs.items():
            artifact.uri = str(tmp_path / name / key)
            (tmp_path / name / key).mkdir(parents=True)  # as TFX does before it runs an executor
        context = base_beam_executor.BaseBeamExecutor.Context(
            beam_pipeline_args=list(beam_args), tmp_dir=str(tmp_path / 'tmp'), unique_id='1'
        )
        executor.Executor(context).Do(
            inputs, {key: [artifact] for key, artifact in outputs.items()}, dict(component.exec_properties)
        )
        return Outcome(**outputs)

    return run


@pytest.fixture
def accuracy_config() -> Callable[..., Any]:
    """TFMA's EvalConfig for digits: accuracy and cross-entropy, with the bounds that are given."""
    import tensorflow_model_analysis as tfma

    def make(
        at_least: float | None = None,
        change: float | None = None,
        *,
        slices: Sequence[str] = (),
        model_specs: Sequence[Any] = (),
    ) -> Any:
        threshold = tfma.MetricThreshold()
        if at_least is not None:
            threshold.value_threshold.lower_bound.value = at_least
        if change is not None:
            threshold.change_threshold.absolute.value = change
            threshold.change_threshold.direction = tfma.MetricDirection.HIGHER_IS_BETTER
        accuracy = tfma.MetricConfig(class_name='SparseCategoricalAccuracy')
        if at_least is not None or change is not None:
            accuracy.threshold.CopyFrom(threshold)
        loss = tfma.MetricConfig(class_name='SparseCategoricalCrossentropy')
        return tfma.EvalConfig(
            model_specs=list(model_specs) or [tfma.ModelSpec(label_key='label')],
            slicing_specs=[tfma.SlicingSpec(), *(tfma.SlicingSpec(feature_keys=[key]) for key in slices)],
            metrics_specs=[tfma.MetricsSpec(metrics=[accuracy, loss])],
        )

    return make


@dataclasses.dataclass(frozen=True)
class TwoHeaded:
    """A model with two inputs and two outputs under a signature of its own name, and examples for it."""

    saved_model: pathlib.Path
    tflite: bytes
    examples: pathlib.Path


@pytest.fixture(scope='session')
def two_headed(tmp_path_factory: pytest.TempPathFactory) -> TwoHeaded:
    root = tmp_path_factory.mktemp('two_headed')
    rows = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    values = [{'left': a, 'right': b, 'sum': a + b, 'mul': a * b} for a, b in rows]
    write_examples(root / 'examples' / 'Split-eval', values)
    name = 'two_headed'
    return TwoHeaded(files.saved_model(name), files.float_model(name), root / 'examples')


@pytest.fixture(scope='session')
def nan_tflite() -> bytes:
    """A file that answers NaN for dark images."""
    return files.float_model('logarithm')


@pytest.fixture(scope='session')
def other_shape_saved_model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    import tensorflow as tf

    class Small(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 1], name='image')])
        def serve(self, image):
            return {'score': tf.reduce_mean(image, axis=(1, 2))}

    folder = tmp_path_factory.mktemp('small') / 'model'
    module = Small()
    tf.saved_model.save(module, str(folder), signatures=module.serve.get_concrete_function())
    return folder


@pytest.fixture
def digits_schema(tmp_path: pathlib.Path) -> Callable[[str], Any]:
    """Makes a Schema artifact of the digits' features, with `label` of a type."""
    from tfx.types import standard_artifacts

    def make(label_type: str) -> Any:
        artifact = standard_artifacts.Schema()
        artifact.uri = str(tmp_path / f'schema_{label_type}')
        pathlib.Path(artifact.uri).mkdir()
        (pathlib.Path(artifact.uri) / 'schema.pbtxt').write_text(
            'feature { name: "image" type: FLOAT presence { min_fraction: 1.0 } '
            'shape { dim { size: 8 } dim { size: 8 } dim { size: 1 } } }\n'
            f'feature {{ name: "label" type: {label_type} presence {{ min_fraction: 1.0 }} '
            'shape { dim { size: 1 } } }\n'
        )
        return artifact

    return make


@dataclasses.dataclass(frozen=True)
class TransformedDigits:
    """Raw examples, and the transform graph that makes the digits net's features of them."""

    graph: pathlib.Path
    examples: pathlib.Path


@pytest.fixture(scope='session')
def transformed_digits(
    digits: Mapping[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> TransformedDigits:
    import tensorflow as tf
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    root = tmp_path_factory.mktemp('transformed')
    spec = {'pixels': tf.io.FixedLenFeature([64], tf.int64), 'word': tf.io.FixedLenFeature([], tf.string)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))

    def preprocess(inputs):
        label = tf.strings.to_number(tf.strings.regex_replace(inputs['word'], 'digit ', ''), tf.int64)
        return {
            'image': tf.reshape(tf.cast(inputs['pixels'], tf.float32) / 16.0, [-1, 8, 8, 1]),
            'label': label,
            'is_even': tf.cast(label % 2 == 0, tf.int64),
        }

    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam

    rows = [
        {'pixels': np.round(image.ravel() * 16).astype(np.int64), 'word': f'digit {label}'.encode()}
        for image, label in zip(digits['x_eval'], digits['y_eval'], strict=True)
    ]
    with beam.Pipeline(argv=RUNNER) as pipeline, tft_beam.Context(temp_dir=str(root / 'tmp')):
        data = pipeline | beam.Create(rows[:10])
        graph = (data, metadata) | tft_beam.AnalyzeDataset(preprocess)
        _ = graph | tft_beam.WriteTransformFn(str(root / 'graph'))
    write_examples(root / 'examples' / 'Split-eval', rows)
    metadata_io.write_metadata(metadata, str(root / 'graph' / 'metadata'))
    return TransformedDigits(root / 'graph', root / 'examples')


def write_examples(folder: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes one file of tf.Examples."""
    import tensorflow as tf

    def feature(value: Any) -> tf.train.Feature:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        values = np.ravel(value)
        if np.issubdtype(values.dtype, np.integer):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / 'data')) as writer:
        for row in rows:
            features = tf.train.Features(feature={name: feature(value) for name, value in row.items()})
            writer.write(tf.train.Example(features=features).SerializeToString(deterministic=True))
