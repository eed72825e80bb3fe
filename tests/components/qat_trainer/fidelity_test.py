"""QATTrainer's file against the model that came in: what no training mends stays float before it begins."""

from __future__ import annotations

import json
import logging
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_component, base_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from tests.golden import files
from tfx_edge import proto
from tfx_edge.components import QATTrainer
from tfx_edge.components.core.calibration.arithmetic import read_arithmetic
from tfx_edge.components.core.calibration.ranges import read_ranges
from tfx_edge.components.core.calibration.reference import read_reference
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model
from tfx_edge.components.core.post_training.fidelity import compare
from tfx_edge.components.tfx_interface import artifact_types, fidelity_properties

pytestmark = pytest.mark.slow

Arrays = Mapping[str, np.ndarray]
_ROWS = 320


def _masked() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 9, size=_ROWS)
    mask = np.arange(8) < lengths[:, np.newaxis]
    return {'tokens': rng.normal(size=(_ROWS, 8, 6)).astype(np.float32), 'mask': mask.astype(np.float32)}


def _unlike_columns() -> dict[str, np.ndarray]:
    spread, middle = np.array([1e5, 300, 0.05, 1e-3]), np.array([3e5, 900, 0.1, 3e-3])
    row = np.random.default_rng(1).normal(size=(_ROWS, 4)) * spread + middle
    return {'row': row.astype(np.float32)}


INPUTS = {'masked': _masked, 'unlike_columns': _unlike_columns}


def _model(name: str, folder: pathlib.Path) -> Any:
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder / 'trainer')
    artifact.set_string_custom_property('tfx_version', '1.16.0')
    shutil.copytree(files.saved_model(name), path_utils.serving_model_dir(artifact.uri))
    return artifact


def _examples(arrays: Arrays, folder: pathlib.Path) -> Any:
    split = folder / 'examples' / 'Split-train'
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(split / 'data.gz'), options='GZIP') as writer:
        for row in range(_ROWS):
            features = {
                name: tf.train.Feature(float_list=tf.train.FloatList(value=values[row].ravel()))
                for name, values in arrays.items()
            }
            features['label'] = tf.train.Feature(int64_list=tf.train.Int64List(value=[row % 3]))
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder / 'examples')
    artifact.split_names = artifact_utils.encode_split_names(['train'])
    examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    return artifact


def _train(
    name: str, folder: pathlib.Path, tuning: Mapping[str, Any] | None = None, **config: Any
) -> tuple[Any, pathlib.Path]:
    """The Model that results, and the folder of the calibration."""
    made: base_component.BaseComponent = QATTrainer(
        model=types.Channel(type=standard_artifacts.Model),
        examples=types.Channel(type=standard_artifacts.Examples),
        qat=proto.QuantizationAwareTraining(**config),
        fine_tuning=proto.FineTuning(num_steps=30, **(tuning or {})),
    )
    output, calibration = standard_artifacts.Model(), artifact_types.Calibration()
    output.uri, calibration.uri = str(folder / 'model' / '1'), str(folder / 'calibration' / '1')
    context = base_executor.BaseExecutor.Context(tmp_dir=str(folder), unique_id='1')
    inputs = {'input_model': [_model(name, folder)], 'examples': [_examples(INPUTS[name](), folder)]}
    outputs = {'model': [output], 'calibration': [calibration]}
    made.executor_spec.executor_class(context).Do(inputs, outputs, dict(made.exec_properties))
    return output, pathlib.Path(calibration.uri)


def _same_class(name: str, model: Any, calibration: pathlib.Path) -> float:
    """Of the file that TFLiteQuantizer will make, on rows of which most were trained on."""
    arithmetic = read_arithmetic(str(calibration))
    assert arithmetic is not None
    float_model = convert_saved_model(path_utils.serving_model_dir(model.uri), 'serving_default')
    options = QuantizationOptions(keep_float=arithmetic.kept_float, engine='LITERT')
    file = quantize_model(float_model, options, read_ranges(str(calibration / 'calibration.json')))
    inputs = INPUTS[name]()
    answered = LiteRTModel(file)(inputs)['p']
    serve = tf.saved_model.load(str(files.saved_model(name))).signatures['serving_default']
    expected = serve(**{key: tf.constant(values) for key, values in inputs.items()})['p'].numpy()
    return float(np.mean(answered.argmax(1) == expected.argmax(1)))


@pytest.mark.parametrize(('name', 'operator'), [('masked', 'SOFTMAX'), ('unlike_columns', 'SUB')])
def test_what_no_training_mends_stays_float(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, name: str, operator: str
) -> None:
    with caplog.at_level(logging.INFO):
        model, calibration = _train(name, tmp_path)
    assert _same_class(name, model, calibration) > 0.9
    (warned,) = [r for r in caplog.records if r.getMessage().startswith('before training, the file keeps')]
    assert warned.levelno == logging.WARNING
    assert f"{operator} '" in warned.getMessage()
    reported = fidelity_properties.reported(model)
    assert reported is not None
    assert reported['db'] > 12
    assert reported['told'] in caplog.text
    report = json.loads((calibration / 'fidelity.json').read_text())
    assert report['db'] == reported['db']
    assert not report['repaired']
    reference = read_reference(str(calibration))
    assert reference is not None
    assert reference.held_out
    assert reference.samples == report['samples']


def test_a_file_that_lost_the_incoming_answers_is_an_error_where_fidelity_is_required(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EdgeError, match=r'^require_fidelity: the INT8 file against .*; expected 12 dB'):
        _train('unlike_columns', tmp_path, repair_fidelity=False, require_fidelity=True)
    # That was said before training, with the remedy that the test above takes.
    assert "SUB 'sub'" in caplog.text
    assert 'set repair_fidelity to keep them float' in caplog.text
    for output in ('model', 'calibration'):
        assert [path for path in (tmp_path / output).rglob('*') if path.is_file()] == []


def test_a_model_that_learned_other_answers_is_held_against_itself_in_float(tmp_path: pathlib.Path) -> None:
    # These labels have nothing to do with what the model answered.
    tuning = {
        'loss': 'LABELS',
        'label_key': 'label',
        'label_loss': 'sparse_categorical_crossentropy',
        'learning_rate': 0.05,
    }
    model, calibration = _train('unlike_columns', tmp_path, tuning)
    reference = read_reference(str(calibration))
    assert reference is not None
    trained = convert_saved_model(path_utils.serving_model_dir(model.uri), 'serving_default')
    np.testing.assert_allclose(LiteRTModel(trained)(reference.inputs)['p'], reference.answers['p'], atol=1e-6)
    incoming = convert_saved_model(str(files.saved_model('unlike_columns')), 'serving_default')
    assert compare(LiteRTModel(incoming)(reference.inputs), reference.answers).db < 12
    reported = fidelity_properties.reported(model)
    assert reported is not None
    assert reported['db'] > 12


def test_required_fidelity_needs_examples() -> None:
    with pytest.raises(EdgeError, match=r'require_fidelity needs examples to measure on'):
        QATTrainer(
            model=types.Channel(type=standard_artifacts.Model),
            qat=proto.QuantizationAwareTraining(require_fidelity=True),
            fine_tuning=proto.FineTuning(num_steps=0),
        )
