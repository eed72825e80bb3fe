"""TFLiteQuantizer's executor on real artifacts; the `.tflite` file is the witness."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from tfx_edge import proto
from tfx_edge.components.core.calibration import arithmetic
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import metadata
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.tflite_quantizer.executor import Executor
from tfx_edge.components.tflite_quantizer.options import quantizer_options
from tfx_edge.components.tfx_interface import artifact_types, exec_properties

pytestmark = pytest.mark.slow

_IN_MEMORY = ('--runner=FnApiRunner',)


class _Step:
    """One run of the executor: its outputs."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.model = standard_artifacts.Model()
        self.model.uri = str(folder / 'model')
        self.calibration = artifact_types.Calibration()
        self.calibration.uri = str(folder / 'calibration')
        pathlib.Path(self.calibration.uri).mkdir(parents=True)

    def run(
        self,
        inputs: dict[str, Any],
        quantization: proto.Quantization | None = None,
        arguments: tuple[str, ...] = _IN_MEMORY,
    ) -> _Step:
        context = base_beam_executor.BaseBeamExecutor.Context(
            beam_pipeline_args=list(arguments), tmp_dir=str(self.folder / 'tmp'), unique_id='1'
        )
        properties = {
            'quantization': exec_properties.encode(quantization, proto.Quantization, quantizer_options),
            'signature_name': '',
        }
        Executor(context).Do(
            {key: [artifact] for key, artifact in inputs.items()},
            {'model': [self.model], 'calibration': [self.calibration]},
            properties,
        )
        return self

    @property
    def file(self) -> bytes:
        return (pathlib.Path(path_utils.serving_model_dir(self.model.uri)) / 'tflite').read_bytes()

    @property
    def ranges(self) -> dict[str, Any]:
        return json.loads((pathlib.Path(self.calibration.uri) / 'calibration.json').read_text())['tensors']

    def left(self) -> list[str]:
        """Files below the outputs."""
        files = [path.relative_to(self.folder) for path in self.folder.rglob('*') if path.is_file()]
        return [str(path) for path in files if path.parts[0] != 'tmp']


@pytest.fixture(scope='module')
def inputs(model_artifact: Any, examples_artifact: Any) -> dict[str, Any]:
    """The digits net and the digits."""
    return {'input_model': model_artifact, 'examples': examples_artifact}


@pytest.fixture(scope='module')
def int8(inputs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> _Step:
    """The digits net in INT8 with all defaults."""
    return _Step(tmp_path_factory.mktemp('int8')).run(inputs)


def test_int8_file_predicts_in_the_stock_runtime(int8: _Step, digits: dict[str, np.ndarray]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=int8.file).get_signature_runner('serving_default')
    answered = runner(image=digits['x_eval'])['output_0']
    assert np.mean(answered.argmax(1) == digits['y_eval']) > 0.9
    assert inspect_model(int8.file).float_ops == ()


def test_int8_outputs_are_complete_and_summed_up(int8: _Step) -> None:
    folder = pathlib.Path(path_utils.serving_model_dir(int8.model.uri))
    assert folder.name == 'Format-Serving'
    assert [path.name for path in folder.iterdir()] == ['tflite']
    assert sorted(path.name for path in pathlib.Path(int8.calibration.uri).iterdir()) == [
        'calibration.json',
        'fidelity.json',
        'reference.npz',
    ]
    assert len(int8.left()) == 4
    assert int8.model.get_string_custom_property('tfx_edge_mode') == 'INT8'
    assert int8.model.get_string_custom_property('tfx_edge_engine') == 'LITERT'
    assert int8.model.get_int_custom_property('tfx_edge_float_operators') == 0
    assert int8.model.get_int_custom_property('tfx_edge_file_bytes') == len(int8.file)
    assert len(int8.ranges) == 8


def test_calibration_of_another_step_gives_the_same_file(
    int8: _Step, inputs: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    given = {'input_model': inputs['input_model'], 'input_calibration': int8.calibration}
    step = _Step(tmp_path).run(given)
    assert step.file == int8.file
    assert step.ranges == int8.ranges


def test_file_is_of_the_arithmetic_that_was_trained(
    int8: _Step, inputs: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    """What QATTrainer kept float stays float; another mode than the trained one is refused."""
    dense = next(op.output for op in inspect_model(int8.file).operators if op.name == 'FULLY_CONNECTED')
    calibration = artifact_types.Calibration()
    calibration.uri = str(shutil.copytree(int8.calibration.uri, tmp_path / 'given'))
    given = {'input_model': inputs['input_model'], 'input_calibration': calibration}
    arithmetic.write_arithmetic(
        calibration.uri, arithmetic.TrainedArithmetic(kept_float=(f'^{re.escape(dense)}$',))
    )
    kept = inspect_model(_Step(tmp_path / 'kept').run(given).file).float_ops
    assert [op.output for op in kept] == [dense]
    arithmetic.write_arithmetic(calibration.uri, arithmetic.TrainedArithmetic(weight_bits={'kernel': 4}))
    _fails_without_output(
        _Step(tmp_path / 'int8'), given, 'comes from training for INT4X8; set mode to INT4X8'
    )
    step = _Step(tmp_path / 'int4').run(given, proto.Quantization(mode='INT4X8'))
    assert 'int4' in {kernel.dtype for kernel in inspect_model(step.file).kernels}
    arithmetic.write_arithmetic(calibration.uri, arithmetic.TrainedArithmetic(dense_scales='PER_TENSOR'))
    _fails_without_output(
        _Step(tmp_path / 'scales'), given, 'comes from training for PER_TENSOR; set it to PER_TENSOR'
    )
    step = _Step(tmp_path / 'scale').run(given, proto.Quantization(dense_scales='PER_TENSOR'))
    assert {k.scales for k in inspect_model(step.file).kernels if len(k.shape) == 2} == {1}


def test_given_ranges_win_and_examples_fill_the_gaps(
    int8: _Step, inputs: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    name = next(name for name in int8.ranges if 'image' in name)
    calibration = artifact_types.Calibration()
    calibration.uri = str(tmp_path / 'given')
    pathlib.Path(calibration.uri).mkdir()
    content = {'format_version': 1, 'tensors': {name: {'min': -3.0, 'max': 99.0}}}
    (tmp_path / 'given' / 'calibration.json').write_text(json.dumps(content))
    step = _Step(tmp_path / 'step').run({**inputs, 'input_calibration': calibration})
    assert step.ranges == {**int8.ranges, name: {'min': -3.0, 'max': 99.0}}
    with pytest.raises(EdgeError, match=r'the calibration has no range for tensor .* \(6 missing\)'):
        _Step(tmp_path / 'other').run(
            {'input_model': inputs['input_model'], 'input_calibration': calibration}
        )


def test_two_processes_give_the_same_bytes(
    int8: _Step, inputs: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    arguments = ('--direct_running_mode=multi_processing', '--direct_num_workers=2')
    step = _Step(tmp_path).run(inputs, arguments=arguments)
    assert step.file == int8.file
    assert step.ranges == int8.ranges


def test_other_shards_in_another_order_on_threads_give_the_same_bytes(
    int8: _Step, inputs: dict[str, Any], digits_examples: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    from tfx_edge.components.core.examples.example_parser import read_records

    train = digits_examples / 'Split-train'
    records = list(read_records(sorted(str(file) for file in train.iterdir())))[::-1]
    (tmp_path / 'examples' / 'Split-train').mkdir(parents=True)
    for shard in range(7):
        path = tmp_path / 'examples' / 'Split-train' / f'data_tfrecord-{shard:05d}-of-00007'
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records[shard::7]:
                writer.write(record)
    examples = standard_artifacts.Examples()
    examples.copy_from(inputs['examples'])
    examples.uri = str(tmp_path / 'examples')
    arguments = ('--direct_running_mode=multi_threading', '--direct_num_workers=4')
    step = _Step(tmp_path / 'step').run({**inputs, 'examples': examples}, arguments=arguments)
    assert step.file == int8.file
    assert step.ranges == int8.ranges


def test_float_budget_is_spent_and_reported(
    int8: _Step, inputs: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    config = proto.Quantization(keep_float=['AUTO'], float_budget_bytes=4000, sensitivity_examples=8)
    step = _Step(tmp_path).run(inputs, config)
    report = json.loads((pathlib.Path(step.calibration.uri) / 'sensitivity.json').read_text())
    floats = [op.output for op in inspect_model(step.file).float_ops]
    assert floats
    assert len(report['kept_float']) == len(floats)
    assert len(step.file) <= len(int8.file) + 4000
    ratios = [entry['snr_db'] for entry in report['operators'] if entry['snr_db'] is not None]
    assert ratios == sorted(ratios)
    assert len(report['operators']) >= len(floats)


def test_int4_kernels_take_corrected_biases_of_equalized_layers(
    inputs: dict[str, Any], digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    """Each of the two changes the file, which still knows its digits."""
    files = []
    for equalize, correct_bias in ((False, False), (False, True), (True, True)):
        config = proto.Quantization(mode='INT4X8', equalize=equalize, correct_bias=correct_bias)
        files.append(_Step(tmp_path / f'{len(files)}').run(inputs, config).file)
    assert len(set(files)) == 3
    for file in files:
        answered = LiteRTModel(file)({'image': digits['x_eval']})['output_0']
        assert np.mean(answered.argmax(1) == digits['y_eval']) > 0.8
        # The depthwise kernel has no int4 arithmetic.
        assert {kernel.dtype for kernel in inspect_model(file).kernels} == {'int4', 'int8'}


def test_metadata_and_labels_are_in_the_file(inputs: dict[str, Any], tmp_path: pathlib.Path) -> None:
    file = tmp_path / 'labels.txt'
    file.write_text(''.join(f'digit {number}\n' for number in range(10)))
    said = proto.Quantization.Metadata(
        name='digits', author='me', inputs={'image': 'grey'}, label_file=str(file)
    )
    step = _Step(tmp_path / 'step').run(inputs, proto.Quantization(mode='DYNAMIC_INT8', metadata=said))
    found = metadata.read(step.file)
    assert found is not None
    assert (found.name, found.author, found.inputs) == ('digits', 'me', {'image': 'grey'})
    assert found.labels is not None
    assert found.labels[3] == 'digit 3'
    said.inputs['picture'] = 'no such input'
    _fails_without_output(_Step(tmp_path / 'other'), inputs, 'picture', mode='DYNAMIC_INT8', metadata=said)


@pytest.mark.parametrize('mode', ['DYNAMIC_INT4', 'FLOAT32'])
def test_modes_with_float_activations_have_no_ranges(
    inputs: dict[str, Any], tmp_path: pathlib.Path, mode: str
) -> None:
    step = _Step(tmp_path).run({'input_model': inputs['input_model']}, proto.Quantization(mode=mode))
    assert step.ranges == {}
    assert inspect_model(step.file).inputs == {'image': 'float32'}


def test_splits_and_number_of_examples_count(
    int8: _Step, inputs: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    config = proto.Quantization(calibration_splits=['eval'], max_calibration_examples=3)
    assert _Step(tmp_path).run(inputs, config).ranges != int8.ranges


def _fails_without_output(step: _Step, inputs: dict[str, Any], match: str, **config: Any) -> None:
    with pytest.raises(EdgeError, match=match) as raised:
        step.run(inputs, proto.Quantization(**config))
    assert '\n' not in str(raised.value)
    assert step.left() == []


def test_failed_contract_leaves_nothing(inputs: dict[str, Any], tmp_path: pathlib.Path) -> None:
    _fails_without_output(
        _Step(tmp_path), inputs, "'lstm' is found in no tensor name", mode='DYNAMIC_INT8', keep_float=['lstm']
    )


def test_split_that_is_not_there_is_named(inputs: dict[str, Any], tmp_path: pathlib.Path) -> None:
    _fails_without_output(
        _Step(tmp_path), inputs, "split 'validation' is not in", calibration_splits=['validation']
    )


def test_truncated_examples_leave_nothing(
    inputs: dict[str, Any], digits_examples: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = shutil.copytree(digits_examples, tmp_path / 'examples')
    shard = next((folder / 'Split-train').iterdir())
    shard.write_bytes(shard.read_bytes()[:3000])
    examples = standard_artifacts.Examples()
    examples.copy_from(inputs['examples'])
    examples.uri = str(folder)
    _fails_without_output(
        _Step(tmp_path / 'step'),
        {**inputs, 'examples': examples},
        f'{shard.name} cannot be read as a TFRecord',
    )


def test_nan_weights_are_refused_before_calibration(inputs: dict[str, Any], tmp_path: pathlib.Path) -> None:
    class Net(tf.Module):
        def __init__(self) -> None:
            self.kernel = tf.Variable(tf.fill((64, 3), float('nan')))

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name='image')])
        def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'y': tf.matmul(tf.reshape(image, (-1, 64)), self.kernel, name='layer')}

    net = Net()
    model = standard_artifacts.Model()
    model.copy_from(inputs['input_model'])
    model.uri = str(tmp_path / 'trainer')
    folder = path_utils.serving_model_dir(model.uri)
    tf.saved_model.save(net, folder, signatures={'serving_default': net.__call__})
    _fails_without_output(_Step(tmp_path / 'step'), {**inputs, 'input_model': model}, 'hold NaN')
