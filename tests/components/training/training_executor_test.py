"""The executors of Pruner, Clusterer and QATTrainer on real artifacts, and what they do with bad ones."""

from __future__ import annotations

import gzip
import logging
import pathlib
import shutil
import time
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

import tfx_edge
from tfx_edge import proto
from tfx_edge.components import Clusterer, Pruner, QATTrainer
from tfx_edge.components.core.calibration.ranges import read_ranges
from tfx_edge.components.core.compression.training import training_checkpoint
from tfx_edge.components.core.errors import EdgeError

pytestmark = pytest.mark.slow

_FEW_STEPS = proto.FineTuning(num_steps=3)


def _run(
    component: Any,
    model: Any,
    examples: Any,
    folder: pathlib.Path,
    config: dict[str, Any] | None = None,
) -> dict[str, list[Any]]:
    """Makes the component, then runs its executor with the exec properties that it would be given."""
    channels = {'model': types.Channel(type=standard_artifacts.Model)}
    if examples is not None:
        channels['examples'] = types.Channel(type=standard_artifacts.Examples)
    made = component(**channels, **{'fine_tuning': _FEW_STEPS, **(config or {})})
    inputs = {'input_model': [model], **({'examples': [examples]} if examples is not None else {})}
    outputs: dict[str, list[Any]] = {}
    for key, channel in made.outputs.items():
        artifact = channel.type()
        artifact.uri = str(folder / key)
        artifact.set_string_custom_property('tfx_version', '1.16.0')
        outputs[key] = [artifact]
    (folder / 'tmp').mkdir(parents=True, exist_ok=True)
    context = base_executor.BaseExecutor.Context(tmp_dir=str(folder / 'tmp'), unique_id='1')
    made.executor_spec.executor_class(context).Do(inputs, outputs, dict(made.exec_properties))
    return outputs


def _examples(folder: pathlib.Path, splits: tuple[str, ...] = ('train',)) -> Any:
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names(list(splits))
    examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    return artifact


def _write_examples(folder: pathlib.Path, features: list[dict[str, Any]]) -> Any:
    (folder / 'Split-train').mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / 'Split-train' / 'data.gz'), options='GZIP') as writer:
        for feature in features:
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return _examples(folder)


def _floats(count: int) -> Any:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[0.5] * count))


def _serving(artifact: Any) -> pathlib.Path:
    return pathlib.Path(path_utils.serving_model_dir(artifact.uri))


@pytest.mark.parametrize('component', [Pruner, Clusterer, QATTrainer])
def test_the_output_is_the_trainer_s_model_with_other_weights(
    component: Any, model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    outputs = _run(component, model_artifact, examples_artifact, tmp_path)
    (model,) = outputs['model']
    before, after = _serving(model_artifact), _serving(model)
    assert (after / 'saved_model.pb').read_bytes() == (before / 'saved_model.pb').read_bytes()
    assert [path.name for path in after.parent.iterdir()] == ['Format-Serving']
    images = tf.zeros((2, 8, 8, 1))
    old, new = (
        tf.saved_model.load(str(f)).signatures['serving_default'](image=images) for f in (before, after)
    )
    assert new.keys() == old.keys()
    assert not np.array_equal(next(iter(new.values())), next(iter(old.values())))


def test_qat_trainer_writes_the_ranges_of_the_file_s_activations(
    model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    outputs = _run(QATTrainer, model_artifact, examples_artifact, tmp_path)
    ranges = read_ranges(str(tmp_path / 'calibration' / 'calibration.json'))
    assert isinstance(outputs['calibration'][0], tfx_edge.Calibration)
    assert len(ranges) == 7  # the input, five layers, the logits; softmax has a range of its own
    assert all(low <= 0 < high for low, high in ranges.values())


def test_a_calibration_that_is_refused_leaves_no_model_and_the_training_s_state(
    model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_checkpoint, 'SECONDS_BETWEEN_CHECKPOINTS', 0.0)
    qat = proto.QuantizationAwareTraining(min_fidelity_db=100.0, repair_fidelity=False, require_fidelity=True)
    with pytest.raises(EdgeError, match='100'):
        _run(QATTrainer, model_artifact, examples_artifact, tmp_path / 'run', {'qat': qat})
    assert not (tmp_path / 'run' / 'model' / 'Format-Serving').exists()
    assert len(list((tmp_path / 'run' / '.unfinished').glob('*/checkpoint'))) == 1


@pytest.mark.parametrize('component', [Pruner, Clusterer, QATTrainer])
def test_one_shot_needs_no_examples(component: Any, model_artifact: Any, tmp_path: pathlib.Path) -> None:
    outputs = _run(component, model_artifact, None, tmp_path, {'fine_tuning': proto.FineTuning(num_steps=0)})
    assert (_serving(outputs['model'][0]) / 'saved_model.pb').exists()


def test_batch_norms_are_computed_anew_when_asked_for(
    model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    values = []
    for count in (0, 5):
        fine_tuning = proto.FineTuning(num_steps=0, batch_norm_batches=count)
        folder = tmp_path / str(count)
        outputs = _run(Pruner, model_artifact, examples_artifact, folder, {'fine_tuning': fine_tuning})
        reader = tf.train.load_checkpoint(str(_serving(outputs['model'][0]) / 'variables' / 'variables'))
        shapes = reader.get_variable_to_shape_map()
        values.append({key: reader.get_tensor(key) for key in shapes if 'OBJECT_GRAPH' not in key})
    changed = {
        value.tobytes() for key, value in values[0].items() if not np.array_equal(value, values[1][key])
    }
    assert len(changed) == 4  # two batch norms, each with a mean and a variance


def test_labels_are_read_from_the_examples(
    model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path
) -> None:
    fine_tuning = proto.FineTuning(
        num_steps=3, loss='BOTH', label_key='label', label_loss='sparse_categorical_crossentropy'
    )
    outputs = _run(Pruner, model_artifact, examples_artifact, tmp_path, {'fine_tuning': fine_tuning})
    assert (_serving(outputs['model'][0]) / 'saved_model.pb').exists()


def _whitening_model(line: Any, folder: pathlib.Path) -> Any:
    """A Trainer's Model with a layer that LiteRT has no kernel for."""

    class Whitening(line.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            return inputs @ tf.linalg.inv(tf.eye(4) + tf.einsum('bi,bj->ij', inputs, inputs))

    x = line.Input((4,), name='x')
    model = line.Model(x, line.layers.Dense(2)(Whitening(name='my_whitening')(x)))
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder / 'trainer')
    artifact.set_string_custom_property('tfx_version', '1.16.0')
    if line is keras:
        model.export(_serving(artifact), verbose=False)
    else:
        tf.saved_model.save(model, str(_serving(artifact)))
    return artifact


class TestNoFile:
    """A model that no file can be made of is refused before anything is trained, unless its SavedModel is wanted."""

    @pytest.mark.parametrize('component', [Pruner, Clusterer, QATTrainer])
    @pytest.mark.parametrize('line', [keras, tf_keras], ids=['keras 3', 'tf_keras'])
    def test_it_is_refused_by_the_name_of_its_layer(
        self, component: Any, line: Any, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        model = _whitening_model(line, tmp_path)
        examples = _write_examples(tmp_path / 'e', [{'x': _floats(4)}] * 64)
        start = time.monotonic()
        with caplog.at_level(logging.INFO, logger='tfx_edge'), pytest.raises(EdgeError) as caught:
            _run(component, model, examples, tmp_path, {'fine_tuning': proto.FineTuning(num_steps=10**7)})
        assert time.monotonic() - start < 60
        message = str(caught.value)
        assert "LiteRT has no kernel for MatrixInverse in layer 'my_whitening' (" in message
        assert 'Replace the operators or layers that LiteRT lacks, and export the model again.' in message
        assert '\n' not in message
        assert not any('training' in message for message in caplog.messages)
        assert not (tmp_path / 'model').exists()
        field = {Pruner: 'Pruning.saved_model_only', Clusterer: 'Clustering.saved_model_only'}
        assert ('saved_model_only' in message) == (component in field)
        assert field.get(component, '') in message

    @pytest.mark.parametrize(
        ('component', 'config'),
        [
            (Pruner, {'pruning': proto.Pruning(saved_model_only=True)}),
            (Clusterer, {'clustering': proto.Clustering(saved_model_only=True, granularity='TENSOR')}),
        ],
    )
    def test_its_saved_model_is_written_where_that_is_all_that_is_wanted(
        self, component: Any, config: Any, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        model = _whitening_model(keras, tmp_path)
        examples = _write_examples(tmp_path / 'e', [{'x': _floats(4)}] * 64)
        with caplog.at_level(logging.INFO, logger='tfx_edge'):
            outputs = _run(component, model, examples, tmp_path, config)
        assert (_serving(outputs['model'][0]) / 'saved_model.pb').exists()
        assert '.saved_model_only is set' in caplog.text
        assert 'converting' not in caplog.text


class TestBadInput:
    """Each fault is one line that names it, and nothing is written."""

    def _refuses(self, model: Any, examples: Any, folder: pathlib.Path, message: str, **config: Any) -> None:
        with pytest.raises(EdgeError, match=message) as caught:
            _run(Pruner, model, examples, folder, config)
        assert '\n' not in str(caught.value)
        assert not (folder / 'model').exists() or not any((folder / 'model').iterdir())

    def test_absent_feature(self, model_artifact: Any, tmp_path: pathlib.Path) -> None:
        examples = _write_examples(tmp_path / 'e', [{'picture': _floats(64)}])
        message = r"no feature 'image', which the model takes as input \(found: picture\)"
        self._refuses(model_artifact, examples, tmp_path, message)

    def test_feature_of_another_shape(self, model_artifact: Any, tmp_path: pathlib.Path) -> None:
        examples = _write_examples(tmp_path / 'e', [{'image': _floats(10)}])
        message = r"feature 'image' has the shape \(10,\), but input 'image' takes \(8, 8, 1\) \(64 values\)"
        self._refuses(model_artifact, examples, tmp_path, message)

    def test_feature_of_another_type(self, model_artifact: Any, tmp_path: pathlib.Path) -> None:
        encoded = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b'png']))
        examples = _write_examples(tmp_path / 'e', [{'image': encoded}])
        message = r"feature 'image' is bytes_list, but input 'image' is float32; expected numbers.*tf\.io\.decode_jpeg"
        self._refuses(model_artifact, examples, tmp_path, message)

    def test_truncated_records(
        self, model_artifact: Any, digits_examples: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        shutil.copytree(digits_examples, tmp_path / 'e')
        broken = sorted((tmp_path / 'e' / 'Split-train').iterdir())[1]
        broken.write_bytes(gzip.compress(gzip.decompress(broken.read_bytes())[:-100]))
        message = f'{broken.name} cannot be read as a TFRecord file .* damaged or truncated'
        fine_tuning = proto.FineTuning(num_steps=100)
        self._refuses(model_artifact, _examples(tmp_path / 'e'), tmp_path, message, fine_tuning=fine_tuning)

    def test_unreadable_records(self, model_artifact: Any, tmp_path: pathlib.Path) -> None:
        (tmp_path / 'e' / 'Split-train').mkdir(parents=True)
        (tmp_path / 'e' / 'Split-train' / 'data').write_bytes(b'this is no TFRecord file at all')
        message = 'cannot be read as a TFRecord file'
        self._refuses(model_artifact, _examples(tmp_path / 'e'), tmp_path, message)

    def test_empty_split(self, model_artifact: Any, tmp_path: pathlib.Path) -> None:
        examples = _write_examples(tmp_path / 'e', [])
        self._refuses(model_artifact, examples, tmp_path, 'hold no example; expected at least one')
        (tmp_path / 'f' / 'Split-train').mkdir(parents=True)
        self._refuses(model_artifact, _examples(tmp_path / 'f'), tmp_path, "split 'train' .* is empty")

    def test_absent_split(self, model_artifact: Any, examples_artifact: Any, tmp_path: pathlib.Path) -> None:
        fine_tuning = proto.FineTuning(num_steps=3, train_splits=['training'])
        message = r"split 'training' is not in the examples .* \(found: train, eval\)"
        self._refuses(model_artifact, examples_artifact, tmp_path, message, fine_tuning=fine_tuning)

    def test_no_dense_signature(self, tmp_path: pathlib.Path) -> None:
        module = tf.Module()
        module.serve = tf.function(
            lambda examples: {'length': tf.strings.length(examples)},
            input_signature=[tf.TensorSpec((None,), tf.string, name='examples')],
        )
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / 'strings')
        model.set_string_custom_property('tfx_version', '1.16.0')
        tf.saved_model.save(module, str(_serving(model)), signatures={'serving_default': module.serve})
        message = (
            r"input 'examples' of signature 'serving_default' is string; tfx-edge needs a signature with dense "
            r'numeric inputs, or one of strings with a dense part, and no number that it answers is made by weights '
            r"behind its strings. Export a dense one, or name it in signature_name \(found: 'serving_default'\)"
        )
        self._refuses(model, None, tmp_path, message, fine_tuning=proto.FineTuning(num_steps=0))

    def test_unknown_signature(self, model_artifact: Any, tmp_path: pathlib.Path) -> None:
        message = r"signature 'other' is not in .* \(found: 'serve', 'serving_default'\)"
        config = {'fine_tuning': proto.FineTuning(num_steps=0), 'signature_name': 'other'}
        self._refuses(model_artifact, None, tmp_path, message, **config)

    def test_a_model_artifact_without_a_model(self, tmp_path: pathlib.Path) -> None:
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / 'nothing')
        model.set_string_custom_property('tfx_version', '1.16.0')
        config = {'fine_tuning': proto.FineTuning(num_steps=0)}
        message = (
            r'holds no serving model .* run it again. Where it is imported, the SavedModel has to lie in '
            rf'{model.uri}/Format-Serving or in {model.uri} itself'
        )
        self._refuses(model, None, tmp_path, message, **config)

    def test_weights_of_float64(self, tmp_path: pathlib.Path) -> None:
        module = tf.Module()
        module.kernel = tf.Variable(np.eye(4), name='kernel')
        specs = [tf.TensorSpec((None, 4), tf.float64, name='x')]
        module.serve = tf.function(lambda x: {'y': x @ module.kernel}, input_signature=specs)
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / 'float64')
        model.set_string_custom_property('tfx_version', '1.16.0')
        tf.saved_model.save(module, str(_serving(model)), signatures={'serving_default': module.serve})
        message = (
            r"the weight 'kernel' is float64; expected float32, in which LiteRT computes\. Export the model"
        )
        self._refuses(model, None, tmp_path, message, fine_tuning=proto.FineTuning(num_steps=0))

    def test_a_truncated_saved_model(self, model_artifact: Any, tmp_path: pathlib.Path) -> None:
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / 'truncated')
        model.set_string_custom_property('tfx_version', '1.16.0')
        shutil.copytree(_serving(model_artifact), _serving(model))
        path = _serving(model) / 'saved_model.pb'
        path.write_bytes(path.read_bytes()[:1000])
        config = {'fine_tuning': proto.FineTuning(num_steps=0)}
        self._refuses(model, None, tmp_path, 'cannot be read as a SavedModel', **config)
