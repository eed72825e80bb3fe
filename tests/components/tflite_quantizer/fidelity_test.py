"""What TFLiteQuantizer says of a file that answers otherwise than the SavedModel, and does about it."""

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
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from tests.golden import files
from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.tflite_quantizer.executor import Executor
from tfx_edge.components.tflite_quantizer.options import quantizer_options
from tfx_edge.components.tfx_interface import artifact_types, exec_properties, fidelity_properties

pytestmark = pytest.mark.slow


def _rows(count: int) -> np.ndarray:
    spread, middle = np.array([1e5, 300, 0.05, 1e-3]), np.array([3e5, 900, 0.1, 3e-3])
    return (np.random.default_rng(1).normal(size=(count, 4)) * spread + middle).astype(np.float32)


def _model(name: str, folder: pathlib.Path) -> Any:
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder / name)
    artifact.set_string_custom_property('tfx_version', '1.16.0')
    shutil.copytree(files.saved_model(name), path_utils.serving_model_dir(artifact.uri))
    return artifact


@pytest.fixture(scope='module')
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The net of unlike columns, and rows for it."""
    folder = tmp_path_factory.mktemp('columns')
    return {'input_model': _model('unlike_columns', folder), 'examples': _examples(folder, _rows(120))}


def _examples(folder: pathlib.Path, rows: np.ndarray) -> Any:
    split = folder / 'examples' / 'Split-train'
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(split / 'data.gz'), options='GZIP') as writer:
        for row in rows:
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=row))
            example = tf.train.Example(features=tf.train.Features(feature={'row': feature}))
            writer.write(example.SerializeToString())
    examples = standard_artifacts.Examples()
    examples.uri = str(folder / 'examples')
    examples.split_names = artifact_utils.encode_split_names(['train'])
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    return examples


def _run(inputs: Mapping[str, Any], folder: pathlib.Path, **config: Any) -> tuple[Any, pathlib.Path]:
    """The Model that results, and the folder of the calibration."""
    model, calibration = standard_artifacts.Model(), artifact_types.Calibration()
    model.uri, calibration.uri = str(folder / 'model'), str(folder / 'calibration')
    pathlib.Path(calibration.uri).mkdir(parents=True)
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=['--runner=FnApiRunner'], tmp_dir=str(folder / 'tmp'), unique_id='1'
    )
    message = proto.Quantization(**config)
    properties = {
        'quantization': exec_properties.encode(message, proto.Quantization, quantizer_options),
        'signature_name': '',
    }
    Executor(context).Do(
        {key: [artifact] for key, artifact in inputs.items()},
        {'model': [model], 'calibration': [calibration]},
        properties,
    )
    return model, pathlib.Path(calibration.uri)


def _file(model: Any) -> bytes:
    return (pathlib.Path(path_utils.serving_model_dir(model.uri)) / 'tflite').read_bytes()


def _same_class(model: Any) -> float:
    rows = _rows(400)[200:]
    answered = LiteRTModel(_file(model))({'row': rows})['p']
    loaded = tf.saved_model.load(str(files.saved_model('unlike_columns')))
    expected = loaded.signatures['serving_default'](row=tf.constant(rows))['p'].numpy()
    return float(np.mean(answered.argmax(1) == expected.argmax(1)))


def test_by_default_the_file_is_repaired_and_says_so(
    inputs: dict[str, Any], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        model, calibration = _run(inputs, tmp_path)
    assert _same_class(model) > 0.95
    (line,) = [r.getMessage() for r in caplog.records if 'against the float model' in r.getMessage()]
    assert 'stay float' in line
    assert 'SUB' in line
    reported = fidelity_properties.reported(model)
    assert reported is not None
    assert reported['told'] == line
    assert reported['db'] > 20
    assert reported['samples'] == 64
    assert reported['agreement'] > 0.95
    report = json.loads((calibration / 'fidelity.json').read_text())
    assert report['repaired']
    assert report['db_before'] < 6
    kept = {operator.output for operator in inspect_model(_file(model)).float_ops}
    assert len(report['keep_float']) == len(kept) == 2

    # The calibration brings the answers along: without examples the next step sees the same.
    again, _ = _run(
        {'input_model': inputs['input_model'], 'input_calibration': _artifact(calibration)},
        tmp_path / 'again',
    )
    assert fidelity_properties.reported(again) == reported
    assert _file(again) == _file(model)


def test_an_example_that_stretched_the_ranges_is_named(
    inputs: dict[str, Any], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = _rows(120)
    rows[7, 2] = 1e30
    _run({**inputs, 'examples': _examples(tmp_path, rows)}, tmp_path / 'made', repair_fidelity=False)
    (line,) = [r.getMessage() for r in caplog.records if 'against the float model' in r.getMessage()]
    place = f"record 7 of {tmp_path / 'examples' / 'Split-train' / 'data.gz'}: feature 'row' holds 1e+30 in magnitude"
    assert place in line
    assert 'the ranges of all that is computed of it are as wide' in line


def _artifact(folder: pathlib.Path) -> Any:
    calibration = artifact_types.Calibration()
    calibration.uri = str(folder)
    return calibration


def test_without_repair_the_loss_is_a_warning_whose_remedy_helps(
    inputs: dict[str, Any], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, calibration = _run(inputs, tmp_path / 'one', repair_fidelity=False)
    assert _same_class(model) < 0.8
    (record,) = [r for r in caplog.records if 'against the float model' in r.getMessage()]
    assert record.levelno == logging.WARNING
    assert 'Tried, and helps: keep_float' in record.getMessage()
    assert inspect_model(_file(model)).float_ops == ()
    named = json.loads((calibration / 'fidelity.json').read_text())['keep_float']
    mended, _ = _run(inputs, tmp_path / 'two', repair_fidelity=False, keep_float=named)
    assert _same_class(mended) > 0.95


@pytest.mark.parametrize(
    'config', [{'repair_fidelity': False}, {'require_full_integer': True}, {'min_fidelity_db': 99}]
)
def test_required_fidelity_that_is_not_reached_writes_nothing(
    inputs: dict[str, Any], tmp_path: pathlib.Path, config: dict[str, Any]
) -> None:
    with pytest.raises(
        EdgeError, match=r'^require_fidelity: the INT8 file against the float model on 64 examples'
    ):
        _run(inputs, tmp_path, require_fidelity=True, **config)
    outputs = (path for name in ('model', 'calibration') for path in (tmp_path / name).rglob('*'))
    assert [path for path in outputs if path.is_file()] == []


def test_a_budget_for_float_operators_pays_the_repair(inputs: dict[str, Any], tmp_path: pathlib.Path) -> None:
    model, _ = _run(inputs, tmp_path, keep_float=['AUTO'], float_budget_bytes=4000)
    assert _same_class(model) > 0.95


def test_without_examples_nothing_is_claimed(
    inputs: dict[str, Any], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        model, calibration = _run({'input_model': inputs['input_model']}, tmp_path, mode='DYNAMIC_INT8')
    assert fidelity_properties.reported(model) is None
    assert 'the file is not held against the float model: there are no examples' in caplog.text
    assert [path.name for path in calibration.iterdir()] == ['calibration.json']


@pytest.mark.parametrize('bound', [101, -101, float('nan')])
def test_a_bound_that_is_none_is_refused(bound: float) -> None:
    with pytest.raises(EdgeError, match=r'Quantization.min_fidelity_db is .*; expected between -100 and 100'):
        quantizer_options(proto.Quantization(min_fidelity_db=bound))
