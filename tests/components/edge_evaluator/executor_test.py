"""EdgeEvaluator's executor on real `.tflite` files, SavedModels and examples."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from sklearn.metrics import accuracy_score

from tests.components.core.litert.file_edits import without_signatures
from tests.components.edge_evaluator.plain_loop import cross_entropy, plain_loop
from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.model_files.sizes import zip_bytes

pytestmark = pytest.mark.slow


def test_float_file_meets_threshold_and_baseline_and_is_blessed(
    evaluate,
    as_tflite_model,
    as_saved_model,
    as_examples,
    accuracy_config,
    float_tflite,
    digits_saved_model,
    digits_examples,
    digits,
):
    outcome = evaluate(
        as_tflite_model(float_tflite),
        as_examples(digits_examples),
        accuracy_config(0.9, -0.005),
        baseline=as_saved_model(digits_saved_model),
        edge=proto.EdgeEvaluation(
            min_agreement=0.99, max_file_bytes=len(float_tflite), max_zip_bytes=zip_bytes(float_tflite)
        ),
    )
    assert outcome.blessed
    report = outcome.report
    assert (report['verdict'], report['reasons'], report['format_version']) == ('BLESSED', [], 1)
    assert [gate['name'] for gate in report['gates']] == [
        'finite_predictions', 'outputs_change', 'min_agreement', 'max_file_bytes', 'max_zip_bytes',
    ]  # fmt: skip
    assert report['agreement'] == 1.0
    assert report['examples'] == len(digits['y_eval'])
    predictions = plain_loop(float_tflite, digits['x_eval'])
    expected = accuracy_score(digits['y_eval'], predictions.argmax(1))
    assert outcome.metric('sparse_categorical_accuracy') == pytest.approx(expected, abs=1e-6)
    expected = cross_entropy(digits['y_eval'], predictions)
    assert outcome.metric('sparse_categorical_crossentropy') == pytest.approx(expected, abs=1e-6)

    blessing = outcome.blessing
    assert blessing.get_string_custom_property('current_model').endswith('candidate')
    assert blessing.get_int_custom_property('current_model_id') == 7
    assert blessing.get_string_custom_property('baseline_model').endswith('baseline')
    assert blessing.get_int_custom_property('baseline_model_id') == 5

    result = tfma.load_eval_result(outcome.evaluation.uri, model_name=tfma.CANDIDATE_KEY)
    ((slice_key, metrics),) = result.slicing_metrics
    assert slice_key == ()
    stored = metrics['']['']['sparse_categorical_accuracy']['doubleValue']
    assert stored == outcome.metric('sparse_categorical_accuracy')
    assert tfma.load_eval_result(outcome.evaluation.uri, model_name=tfma.BASELINE_KEY).slicing_metrics
    assert result.data_location == str(digits_examples / 'Split-eval')
    assert tfma.load_validation_result(outcome.evaluation.uri).validation_ok
    assert not list(pathlib.Path(outcome.evaluation.uri).parent.glob('*.unfinished'))
    files = sorted(path.name for path in pathlib.Path(outcome.edge_evaluation.uri).iterdir())
    assert files == ['flips.tfrecord', 'report.html', 'report.json']
    page = pathlib.Path(outcome.edge_evaluation.uri, 'report.html').read_text()
    assert page.count('data:image/png;base64,') == len(outcome.report['flips']['listed'])
    assert f'{outcome.report["file"]["file_bytes"]:,} bytes' in page


@pytest.mark.parametrize(('limit', 'blessed'), [(1000.0, True), (1e-6, False)])
def test_latency_is_held_against_the_float_file_of_the_baseline(
    evaluate,
    as_tflite_model,
    as_saved_model,
    as_examples,
    accuracy_config,
    float_tflite,
    digits_saved_model,
    digits_examples,
    limit,
    blessed,
):
    outcome = evaluate(
        as_tflite_model(float_tflite),
        as_examples(digits_examples),
        accuracy_config(0.9),
        baseline=as_saved_model(digits_saved_model),
        edge=proto.EdgeEvaluation(max_latency_ratio=limit),
    )
    assert outcome.blessed == blessed
    found = outcome.report['latency']
    # It is compared with itself.
    assert 0.5 < found['ratio'] < 2.0
    if not blessed:
        (reason,) = outcome.report['reasons']
        assert reason.startswith('max_latency_ratio: ')
        assert ' ms against ' in reason


def test_every_limit_that_fails_is_a_reason(
    evaluate, as_tflite_model, as_examples, accuracy_config, float_tflite, digits_examples
):
    outcome = evaluate(
        as_tflite_model(float_tflite),
        as_examples(digits_examples),
        accuracy_config(1.5),
        edge=proto.EdgeEvaluation(
            max_file_bytes=len(float_tflite) - 1,
            max_zip_bytes=zip_bytes(float_tflite) - 1,
            require_full_integer=True,
        ),
    )
    assert not outcome.blessed
    accuracy, file_size, zip_size, full_integer = outcome.report['reasons']
    assert accuracy.startswith('sparse_categorical_accuracy: 0.9')
    assert accuracy.endswith('limit at least 1.5 on all examples')
    assert file_size == f'max_file_bytes: {len(float_tflite)}, limit {len(float_tflite) - 1}'
    assert zip_size.startswith('max_zip_bytes: ')
    assert full_integer.startswith('require_full_integer: ')
    assert 'CONV_2D' in full_integer
    assert outcome.blessing.get_string_custom_property('blessing_message') == '; '.join(
        outcome.report['reasons']
    )
    assert not tfma.load_validation_result(outcome.evaluation.uri).validation_ok


def test_without_threshold_nothing_is_blessed(
    evaluate, as_tflite_model, as_examples, accuracy_config, float_tflite, digits_examples
):
    outcome = evaluate(as_tflite_model(float_tflite), as_examples(digits_examples), accuracy_config())
    assert not outcome.blessed
    assert 'sets no threshold' in outcome.report['reasons'][0]


@pytest.mark.parametrize('mode', ['INT8', 'DYNAMIC_INT8'])
def test_the_fit_of_the_calibration_is_judged_where_there_is_one(
    evaluate, as_tflite_model, as_examples, accuracy_config, quantize, digits_examples, digits, mode
):
    outcome = evaluate(
        as_tflite_model(quantize(digits['x_train'][:400], 'FLOAT', mode)),
        as_examples(digits_examples),
        accuracy_config(0.9),
        edge=proto.EdgeEvaluation(require_full_integer=mode == 'INT8'),
    )
    assert outcome.blessed
    assert outcome.report['file']['integer_share'] == (1.0 if mode == 'INT8' else 0.0)
    fit, gates = outcome.report['calibration_fit'], [gate['name'] for gate in outcome.report['gates']]
    if mode == 'INT8':
        assert gates[-2:] == ['max_clipping', 'min_range_used']
        assert (fit['not_judged'], fit['examples']) == ('', 200)
        assert all(tensor['clipping'] < 0.01 for tensor in fit['worst_tensors'])
    else:
        assert 'max_clipping' not in gates
        assert 'min_range_used' not in gates
        assert fit['not_judged'].startswith('not applicable: the file has no calibrated integer activations')


@pytest.mark.parametrize(
    ('factor', 'gate', 'how'), [(0.5, 'max_clipping', 'narrow'), (255.0, 'min_range_used', 'wide')]
)
def test_a_file_calibrated_on_other_data_is_not_blessed_for_that_reason(
    evaluate, as_tflite_model, as_examples, accuracy_config, quantize, digits_examples, digits, caplog,
    factor, gate, how,
):  # fmt: skip
    noise = np.random.default_rng(0).uniform(size=(100, 8, 8, 1)).astype(np.float32)
    model = quantize(noise * np.float32(factor))
    outcome = evaluate(as_tflite_model(model), as_examples(digits_examples), accuracy_config(0.01))
    assert not outcome.blessed
    (reason,) = (reason for reason in outcome.report['reasons'] if reason.startswith(f'{gate}: '))
    assert f'too {how} for these examples; calibrate on examples like those of the evaluation' in reason
    worst = {tensor['name']: tensor for tensor in outcome.report['calibration_fit']['worst_tensors']}
    input_range = worst['serving_default_image:0_quantized']
    assert input_range['high'] == pytest.approx(factor, rel=0.01)
    assert f'does not fit the examples: {reason}' in caplog.text
    assert reason in outcome.blessing.get_string_custom_property('blessing_message')
    files = sorted(path.name for path in pathlib.Path(outcome.edge_evaluation.uri).iterdir())
    assert files == ['report.html', 'report.json']


def test_the_fit_of_the_calibration_can_be_switched_off(
    evaluate, as_tflite_model, as_examples, accuracy_config, quantize, digits_examples, digits
):
    model = quantize(digits['x_train'][:100] * np.float32(0.3))
    edge = proto.EdgeEvaluation(max_clipping=1, min_range_used=0)
    outcome = evaluate(as_tflite_model(model), as_examples(digits_examples), accuracy_config(0.01), edge=edge)
    assert outcome.blessed
    assert 'switched off' in outcome.report['calibration_fit']['not_judged']
    assert [gate['name'] for gate in outcome.report['gates']] == ['finite_predictions', 'outputs_change']


def test_change_from_a_saved_model_baseline_is_a_threshold(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config,
    quantize, digits_saved_model, digits_examples, digits,
):  # fmt: skip
    model = quantize(digits['x_train'][:400] * 0.1)
    outcome = evaluate(
        as_tflite_model(model),
        as_examples(digits_examples),
        accuracy_config(change=-0.015),
        baseline=as_saved_model(digits_saved_model),
        edge=proto.EdgeEvaluation(min_agreement=0.98),
    )
    assert not outcome.blessed
    baseline = tf.saved_model.load(str(digits_saved_model)).signatures['serving_default']
    theirs = next(iter(baseline(image=tf.constant(digits['x_eval'])).values())).numpy()
    ours = plain_loop(model, digits['x_eval'])
    expected = accuracy_score(digits['y_eval'], theirs.argmax(1))
    assert outcome.metric('sparse_categorical_accuracy', 'baseline') == pytest.approx(expected, abs=1e-6)
    change = accuracy_score(digits['y_eval'], ours.argmax(1)) - expected
    measured = outcome.metric('sparse_categorical_accuracy', difference=True)
    assert measured == pytest.approx(change, abs=1e-6)
    assert outcome.report['agreement'] == pytest.approx(
        np.mean(ours.argmax(1) == theirs.argmax(1)), abs=1e-12
    )
    threshold, stuck, agreement, clipping = outcome.report['reasons']
    assert stuck.startswith('outputs_change')
    assert clipping.startswith('max_clipping: 0.39')
    assert threshold.startswith(f'sparse_categorical_accuracy: change from the baseline {change:.4g}'[:-1])
    assert agreement.startswith('min_agreement: 0.')


@pytest.mark.parametrize('signatures', ['with signatures', 'without'])
def test_tflite_file_is_a_baseline_too(
    signatures,
    evaluate,
    as_tflite_model,
    as_examples,
    accuracy_config,
    float_tflite,
    int8_tflite,
    digits_examples,
    digits,
):
    read = without_signatures if signatures == 'without' else bytes
    outcome = evaluate(
        as_tflite_model(read(int8_tflite)),
        as_examples(digits_examples),
        accuracy_config(0.9, -0.02),
        baseline=as_tflite_model(read(float_tflite), 'baseline', 3),
        edge=proto.EdgeEvaluation(min_agreement=0.97, require_full_integer=True),
    )
    assert outcome.blessed
    models = outcome.report['models']
    assert models['baseline']['path'].endswith('baseline/Format-Serving/tflite')
    assert (models['candidate']['signature_name'] == '') == (signatures == 'without')
    answers = [plain_loop(model, digits['x_eval']).argmax(1) for model in (int8_tflite, float_tflite)]
    assert outcome.report['agreement'] == pytest.approx(np.mean(np.equal(*answers)), abs=1e-12)
    expected = accuracy_score(digits['y_eval'], answers[0])
    assert outcome.metric('sparse_categorical_accuracy') == pytest.approx(expected, abs=1e-6)


def test_slices_are_measured_and_judged_each(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config,
    int8_tflite, digits_saved_model, digits_examples, digits,
):  # fmt: skip
    config = accuracy_config(0.5, slices=['label'])
    config.metrics_specs[0].metrics.add(class_name='ExampleCount')
    bound = config.metrics_specs[0].metrics[0].per_slice_thresholds.add()
    bound.slicing_specs.add().feature_values['label'] = '3'
    bound.threshold.value_threshold.lower_bound.value = 1.1
    outcome = evaluate(
        as_tflite_model(int8_tflite),
        as_examples(digits_examples),
        config,
        baseline=as_saved_model(digits_saved_model),
    )
    correct = plain_loop(int8_tflite, digits['x_eval']).argmax(1) == digits['y_eval']
    for label in range(10):
        of_label = digits['y_eval'] == label
        measured = outcome.metric('sparse_categorical_accuracy', slice_=[['label', label]])
        assert measured == pytest.approx(correct[of_label].mean(), abs=1e-6)
        assert outcome.metric('example_count', 'baseline', slice_=[['label', label]]) == of_label.sum()
    (reason,) = outcome.report['reasons']
    assert reason.endswith('limit at least 1.1 on label=3')


def test_model_that_answers_nan_is_not_blessed(
    evaluate, as_tflite_model, as_examples, digits_examples, nan_tflite
):
    # TFMA leaves NaN out of this mean, so the threshold holds.
    error = tfma.MetricConfig(class_name='MeanSquaredError')
    error.threshold.value_threshold.upper_bound.value = 1000
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')], metrics_specs=[tfma.MetricsSpec(metrics=[error])]
    )
    outcome = evaluate(as_tflite_model(nan_tflite), as_examples(digits_examples), config)
    assert tfma.load_validation_result(outcome.evaluation.uri).validation_ok
    assert not outcome.blessed
    (reason,) = outcome.report['reasons']
    assert reason.startswith('finite_predictions: ')
    assert 'get NaN or infinity' in reason


def test_any_signature_name_several_inputs_and_outputs(
    evaluate, as_tflite_model, as_saved_model, as_examples, two_headed, tmp_path
):
    absolute = tfma.MetricConfig(class_name='MeanAbsoluteError')
    absolute.threshold.value_threshold.upper_bound.value = 1e-6
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_keys={'total': 'sum', 'product': 'mul'}, signature_name='score')],
        metrics_specs=[tfma.MetricsSpec(metrics=[absolute], output_names=['total', 'product'])],
    )
    outcome = evaluate(
        as_tflite_model(two_headed.tflite),
        as_examples(two_headed.examples, ['eval']),
        config,
        baseline=as_saved_model(two_headed.saved_model),
        edge=proto.EdgeEvaluation(min_agreement=0.5),
    )
    report = outcome.report
    assert report['models']['candidate']['signature_name'] == 'score'
    assert report['models']['baseline']['signature_name'] == 'score'
    found = {m['output']: m['value'] for m in report['metrics'][0]['metrics']
             if m['name'] == 'mean_absolute_error' and m['model'] == 'candidate' and not m['difference']}  # fmt: skip
    assert found == {'total': pytest.approx(0, abs=1e-6), 'product': pytest.approx(0, abs=1e-6)}
    # There is no top-1 answer of a number: the limit is not known to hold, so it does not.
    (reason,) = report['reasons']
    assert reason.startswith('min_agreement: not measured, limit 0.5 (output ')


def test_the_only_output_may_be_named(evaluate, as_tflite_model, as_examples, float_tflite, digits_examples):
    metric = tfma.MetricConfig(class_name='SparseCategoricalAccuracy')
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_keys={'output_0': 'label'})],
        metrics_specs=[tfma.MetricsSpec(metrics=[metric], output_names=['output_0'])],
    )
    outcome = evaluate(as_tflite_model(float_tflite), as_examples(digits_examples), config)
    assert outcome.metric('sparse_categorical_accuracy') > 0.9


def test_signature_that_the_file_has_not_is_refused(
    evaluate, as_tflite_model, as_examples, accuracy_config, float_tflite, digits_examples
):
    spec = tfma.ModelSpec(label_key='label', signature_name='serving_raw')
    with pytest.raises(EdgeError, match=r"signature 'serving_raw' is not in .*found: 'serving_default'"):
        evaluate(
            as_tflite_model(float_tflite),
            as_examples(digits_examples),
            accuracy_config(0.5, model_specs=[spec]),
        )


def test_transform_graph_makes_inputs_labels_and_slices(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config,
    int8_tflite, digits_saved_model, transformed_digits, digits,
):  # fmt: skip
    from tfx.types import standard_artifacts

    graph = standard_artifacts.TransformGraph()
    graph.uri = str(transformed_digits.graph)
    outcome = evaluate(
        as_tflite_model(int8_tflite),
        as_examples(transformed_digits.examples, ['eval']),
        accuracy_config(0.5, -0.2, slices=['is_even', 'word']),
        baseline=as_saved_model(digits_saved_model),
        more_inputs={'transform_graph': graph},
    )
    assert outcome.blessed
    correct = plain_loop(int8_tflite, digits['x_eval']).argmax(1) == digits['y_eval']
    assert outcome.metric('sparse_categorical_accuracy') == pytest.approx(correct.mean(), abs=1e-6)
    even = digits['y_eval'] % 2 == 0
    measured = outcome.metric('sparse_categorical_accuracy', slice_=[['is_even', 1]])
    assert measured == pytest.approx(correct[even].mean(), abs=1e-6)
    measured = outcome.metric('sparse_categorical_accuracy', slice_=[['word', 'digit 4']])
    assert measured == pytest.approx(correct[digits['y_eval'] == 4].mean(), abs=1e-6)


def test_schema_types_the_features(
    evaluate, as_tflite_model, as_examples, accuracy_config, int8_tflite, digits_examples, digits_schema
):
    outcome = evaluate(
        as_tflite_model(int8_tflite),
        as_examples(digits_examples),
        accuracy_config(0.5, slices=['label']),
        more_inputs={'schema': digits_schema('INT')},
    )
    assert outcome.blessed
    with pytest.raises(
        EdgeError, match=r"feature 'label' is int64_list in record 0 of .* but bytes_list in the schema"
    ):
        evaluate(
            as_tflite_model(int8_tflite, 'again'),
            as_examples(digits_examples),
            accuracy_config(0.9),
            more_inputs={'schema': digits_schema('BYTES')},
            name='again_run',
        )


def test_all_confidence_intervals_and_plots_of_tfma_work(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config,
    int8_tflite, digits_saved_model, digits_examples,
):  # fmt: skip
    config = accuracy_config(0.9)
    config.options.compute_confidence_intervals.value = True
    config.metrics_specs[0].metrics.add(class_name='MultiClassConfusionMatrixPlot')
    outcome = evaluate(
        as_tflite_model(int8_tflite),
        as_examples(digits_examples),
        config,
        baseline=as_saved_model(digits_saved_model),
    )
    (entry,) = outcome.report['metrics']
    accuracy = next(m for m in entry['metrics'] if m['name'] == 'sparse_categorical_accuracy')
    low, high = accuracy['interval']
    assert low < accuracy['value'] < high
    assert next(tfma.load_plots(outcome.evaluation.uri)).plot_keys_and_values
    assert outcome.blessed


@pytest.mark.parametrize('blessed', [True, False])
def test_stock_pusher_pushes_only_what_is_blessed(
    evaluate,
    as_tflite_model,
    as_examples,
    accuracy_config,
    int8_tflite,
    digits_examples,
    tmp_path,
    blessed,
):
    from tfx.components.pusher import executor as pusher
    from tfx.types import standard_artifacts

    model = as_tflite_model(int8_tflite)
    outcome = evaluate(model, as_examples(digits_examples), accuracy_config(0.5 if blessed else 1.5))
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / 'pushed')
    serving = tmp_path / 'serving'
    destination = {'filesystem': {'base_directory': str(serving)}}
    pusher.Executor().Do(
        {'model': [model], 'model_blessing': [outcome.blessing]},
        {'pushed_model': [pushed]},
        {'push_destination': json.dumps(destination)},
    )
    files = [path.read_bytes() for path in serving.glob('*/tflite')]
    assert files == ([int8_tflite] if blessed else [])
    assert pushed.get_int_custom_property('pushed') == int(blessed)
