"""The parts of the report: confusion, outputs, tensors and weights beside the baseline's file, and what ran it."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import confusion_matrix

from tests.components.edge_evaluator.conftest import Outcome, write_examples
from tfx_edge import proto
from tfx_edge.components.core.devices import chromium, litert_js
from tfx_edge.components.core.devices.absent_tool import AbsentTool
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import metadata
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

pytestmark = pytest.mark.slow

NAMES = tuple(f'<digit {number}>' for number in range(10))


@pytest.fixture
def outcome(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config,
    int8_tflite, digits_saved_model, digits_examples,
) -> Outcome:  # fmt: skip
    model = metadata.add(int8_tflite, metadata.ModelMetadata(name='digits', labels=NAMES))
    return evaluate(
        as_tflite_model(model),
        as_examples(digits_examples),
        accuracy_config(0.9),
        baseline=as_saved_model(digits_saved_model),
        edge=proto.EdgeEvaluation(
            devices=[
                {'name': 'ethos-u55-128', 'max_sram_bytes': 1, 'max_cpu_operators': 20},
                {'name': 'tflite-micro', 'max_arena_bytes': 1 << 20},
            ]
        ),
    )


def test_report_shows_what_the_file_does_beside_its_baseline(
    outcome: Outcome, int8_tflite: bytes, digits_saved_model: pathlib.Path, digits
) -> None:
    report = outcome.report
    assert len(report['reasons']) == 1  # a byte of memory is too little
    assert report['reasons'][0].startswith('max_sram_bytes on ethos-u55-128: ')
    npu, micro = report['devices']
    assert npu['cycles'] > npu['sram_bytes'] > 0
    assert {name.split()[0] for name in npu['cpu_operators']} <= {'QUANTIZE', 'DEQUANTIZE'}
    assert micro['arena_bytes'] > 0
    # The same net, so that its int8 file costs nearly the same.
    twin_on_npu, twin_on_micro = report['devices_of_baseline']
    assert twin_on_npu['device'] == npu['device']
    assert twin_on_npu['cycles'] == pytest.approx(npu['cycles'], rel=0.02)
    assert twin_on_npu['flash_bytes'] == npu['flash_bytes']
    assert twin_on_micro['flash_bytes'] == pytest.approx(micro['flash_bytes'], rel=0.1)
    ours = LiteRTModel(int8_tflite)({'image': digits['x_eval']})['output_0']
    served = tf.saved_model.load(str(digits_saved_model)).signatures['serving_default']
    theirs = next(iter(served(image=tf.constant(digits['x_eval'])).values())).numpy()

    (confused,) = report['confusion']['outputs']
    tables = {model['model']: model['table'] for model in confused['models']}
    assert tables['candidate'] == confusion_matrix(digits['y_eval'], ours.argmax(1)).tolist()
    assert tables['baseline'] == confusion_matrix(digits['y_eval'], theirs.argmax(1)).tolist()
    assert tuple(confused['names']) == NAMES

    (output,) = report['outputs']
    assert (output['values'], output['changes']) == (ours.size, True)
    assert output['at_lowest'] == 0  # a float output of a file with float outputs has no rails

    names = [layer['name'] for layer in report['layers']['tensors']]
    assert len(names) == len(set(names)) >= 5
    assert report['layers']['examples'] == 32
    integers = [layer for layer in report['layers']['tensors'] if layer['dtype'] == 'int8']
    assert all(0 < layer['share'] < 0.2 for layer in integers)

    kernels = inspect_model(int8_tflite).kernels
    assert [kernel['name'] for kernel in report['weights']['kernels']] == [kernel.name for kernel in kernels]
    assert report['file']['float_islands'] == []
    assert report['runtime']['package'].startswith('ai-edge-litert ')
    page = (pathlib.Path(outcome.edge_evaluation.uri) / 'report.html').read_text()
    assert '&lt;digit 7&gt;' in page
    assert '<digit' not in page


def test_browser_runs_the_file_beside_the_baselines_own(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config,
    int8_tflite, digits_saved_model, digits_examples, caplog,
) -> None:  # fmt: skip
    try:
        chromium.find()
        litert_js.find()
    except AbsentTool as absent:
        pytest.skip(str(absent))
    caplog.set_level('INFO')
    outcome = evaluate(
        as_tflite_model(int8_tflite),
        as_examples(digits_examples),
        accuracy_config(0.9),
        baseline=as_saved_model(digits_saved_model),
        edge=proto.EdgeEvaluation(
            devices=[
                {'name': 'web', 'max_milliseconds': 1e-6},
                {'name': 'ethos-u55-128', 'max_milliseconds': 9},
            ]
        ),
    )
    report = outcome.report
    (reason,) = report['reasons']
    assert reason.startswith('max_milliseconds on web: 0.')
    assert [cost['device'] for cost in report['devices']] == ['web', 'ethos-u55-128']
    ours, theirs = report['devices'][0], report['devices_of_baseline'][0]
    assert [cost['device'] for cost in report['devices_of_baseline']] == ['web', 'ethos-u55-128']
    assert min(ours['milliseconds'], theirs['milliseconds']) > 0
    assert (ours['tool'], ours['settings']) == (theirs['tool'], theirs['settings'])
    assert re.search(r"web: [\d.]+ times the baseline's own file; half of 31 rounds within", caplog.text)
    page = (pathlib.Path(outcome.edge_evaluation.uri) / 'report.html').read_text()
    assert 'web, the baseline<' in page
    assert 'ethos-u55-128, the baseline as int8<' in page


@pytest.fixture(scope='session')
def pairs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Examples with two numbers and a label."""
    root = tmp_path_factory.mktemp('pairs')
    rows = [
        {'x': row, 'label': int(row[1] > row[0])}
        for row in np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    ]
    write_examples(root / 'Split-eval', rows)
    return root


def _saved(folder: pathlib.Path, function: Any) -> pathlib.Path:
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], name='x')])
        def serve(self, x):
            return {'scores': function(x)}

    module = Model()
    tf.saved_model.save(module, str(folder), signatures=module.serve.get_concrete_function())
    return folder


def test_a_file_that_answers_the_same_to_everything_is_refused(
    evaluate, as_tflite_model, as_examples, accuracy_config, pairs, tmp_path
) -> None:
    folder = _saved(tmp_path / 'stuck', lambda x: tf.nn.softmax(tf.minimum(x * x, 0.0)))
    stuck = convert_saved_model(str(folder), 'serving_default')
    outcome = evaluate(as_tflite_model(stuck), as_examples(pairs, ['eval']), accuracy_config(0.01))
    assert outcome.report['reasons'] == [
        'outputs_change: 1, limit 0 (the output never changes over 40 examples that differ)'
    ]
    assert not outcome.report['outputs'][0]['changes']


def test_a_baseline_that_no_file_can_be_made_of_is_reported_and_evaluated(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config, pairs, tmp_path
) -> None:
    """LiteRT has no kernel for the Bessel function; metrics, agreement and all else do not need one."""
    file = convert_saved_model(str(_saved(tmp_path / 'plain', lambda x: tf.nn.softmax(x))), 'serving_default')
    bessel = _saved(tmp_path / 'bessel', lambda x: tf.nn.softmax(x + 0.0 * tf.math.special.bessel_i0(x)))
    outcome = evaluate(
        as_tflite_model(file),
        as_examples(pairs, ['eval']),
        accuracy_config(0.9),
        baseline=as_saved_model(bessel, 'bessel_baseline'),
        edge=proto.EdgeEvaluation(min_agreement=0.99, max_latency_ratio=100),
    )
    (reason,) = outcome.report['reasons']
    assert reason.startswith(
        'max_latency_ratio: not measured, limit 100 (the baseline cannot be made a .tflite file'
    )
    assert outcome.report['layers']['not_compared'] == outcome.report['weights']['not_compared']
    assert outcome.report['agreement'] == 1


def test_a_baseline_with_other_classes_is_evaluated_and_not_compared(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config, pairs, tmp_path
) -> None:
    file = convert_saved_model(str(_saved(tmp_path / 'two', lambda x: tf.nn.softmax(x))), 'serving_default')
    three = _saved(tmp_path / 'three', lambda x: tf.nn.softmax(tf.concat([x, x[:, :1] - 9.0], 1)))
    outcome = evaluate(
        as_tflite_model(file),
        as_examples(pairs, ['eval']),
        accuracy_config(0.9),
        baseline=as_saved_model(three, 'three_classes'),
    )
    report = outcome.report
    assert outcome.blessed
    assert report['comparison']['not_compared'].endswith(
        'has the shape (None, 2), but (None, 3) in the baseline'
    )
    (confused,) = report['confusion']['outputs']
    (candidate,) = confused['models']
    assert (candidate['model'], np.sum(candidate['table'])) == ('candidate', 40)
