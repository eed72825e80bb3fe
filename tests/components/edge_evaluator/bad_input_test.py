"""Bad input of EdgeEvaluator: one clear line, and nothing left behind."""

from __future__ import annotations

import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma

from tests.components.edge_evaluator.conftest import write_examples
from tfx_edge.components.core.errors import EdgeError

pytestmark = pytest.mark.slow


@pytest.fixture
def refused(evaluate, tmp_path):
    """Runs the executor on bad input, and checks that it leaves no output and raises one line."""

    def run(match, *args, **kwargs):
        with pytest.raises(EdgeError, match=match) as caught:
            evaluate(*args, **kwargs)
        assert '\n' not in str(caught.value)
        assert '[while running' not in str(caught.value)
        left = [
            str(path) for path in (tmp_path / 'run').rglob('*') if path.is_file() or 'unfinished' in path.name
        ]
        assert left == []

    return run


@pytest.mark.parametrize('keep', [0, 100, 5_000])
def test_damaged_tflite_is_refused(
    refused, as_tflite_model, as_examples, accuracy_config, float_tflite, digits_examples, keep
):
    model = as_tflite_model(float_tflite[:keep])
    refused('tflite', model, as_examples(digits_examples), accuracy_config(0.5))


def test_saved_model_as_candidate_is_refused(
    refused, as_saved_model, as_examples, accuracy_config, digits_saved_model, digits_examples
):
    model = as_saved_model(digits_saved_model)
    refused('holds a SavedModel and no .tflite', model, as_examples(digits_examples), accuracy_config(0.5))


def test_missing_feature_is_named(
    refused, as_tflite_model, as_examples, accuracy_config, two_headed, float_tflite
):
    examples = as_examples(two_headed.examples, ['eval'])
    refused("no feature 'image'", as_tflite_model(float_tflite), examples, accuracy_config(0.5))


def test_missing_label_is_named(
    refused, as_tflite_model, as_examples, accuracy_config, float_tflite, digits_examples
):
    config = accuracy_config(0.5, model_specs=[tfma.ModelSpec(label_key='digit')])
    match = r"no feature 'digit', which ModelSpec.label_key of eval_config names \(found: image, label\)"
    refused(match, as_tflite_model(float_tflite), as_examples(digits_examples), config)


def test_slice_feature_that_no_example_has_is_named(
    refused, as_tflite_model, as_examples, accuracy_config, float_tflite, digits_examples
):
    match = 'no example has the features lable that a SlicingSpec of eval_config names'
    config = accuracy_config(0.5, slices=['lable'])
    refused(match, as_tflite_model(float_tflite), as_examples(digits_examples), config)


def test_metric_that_cannot_take_the_answers_is_named(
    refused, as_tflite_model, as_examples, nan_tflite, digits_examples
):
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name='AUC')])],
    )
    match = r"its CalibrationHistogramCombiner cannot take .*'predictions': array\(\[nan\]"
    refused(match, as_tflite_model(nan_tflite), as_examples(digits_examples), config)


@pytest.mark.parametrize('where', ['result', 'extract_output'])
def test_metric_that_fails_behind_the_examples_is_named_by_file_and_line(
    refused, as_tflite_model, as_examples, float_tflite, digits_examples, where
):
    metric = tfma.MetricConfig(
        class_name='Broken',
        module='tests.components.edge_evaluator.broken_metric',
        config=f'{{"where": "{where}"}}',
    )
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')],
        metrics_specs=[tfma.MetricsSpec(metrics=[metric])],
    )
    match = (
        r'TFMA cannot compute the metrics of eval_config: KeyError: absent '
        rf'\({where} in \S+broken_metric\.py, line \d+\); expected'
    )
    refused(match, as_tflite_model(float_tflite), as_examples(digits_examples), config)


def test_empty_split_is_refused(
    refused, as_tflite_model, as_examples, accuracy_config, float_tflite, tmp_path
):
    folder = tmp_path / 'examples' / 'Split-eval'
    folder.mkdir(parents=True)
    tf.io.TFRecordWriter(str(folder / 'data.gz'), options='GZIP').close()
    examples = as_examples(tmp_path / 'examples', ['eval'])
    refused("split 'eval' is empty", as_tflite_model(float_tflite), examples, accuracy_config(0.5))


def test_truncated_records_are_refused_by_file(
    refused, as_tflite_model, as_examples, accuracy_config, float_tflite, digits_examples, tmp_path
):
    folder = tmp_path / 'examples' / 'Split-eval'
    folder.mkdir(parents=True)
    whole = next((digits_examples / 'Split-eval').iterdir()).read_bytes()
    (folder / 'data.gz').write_bytes(whole[: len(whole) // 2])
    examples = as_examples(tmp_path / 'examples', ['eval'])
    refused(
        'Split-eval/data.gz cannot be read', as_tflite_model(float_tflite), examples, accuracy_config(0.5)
    )


def test_record_that_is_no_example_is_refused_by_file(
    refused, as_tflite_model, as_examples, accuracy_config, float_tflite, tmp_path
):
    folder = tmp_path / 'examples' / 'Split-eval'
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / 'data')) as writer:
        writer.write(b'\xff\xffnot an example')
    examples = as_examples(tmp_path / 'examples', ['eval'])
    refused(
        'record 0 of .*data is not a tf.Example',
        as_tflite_model(float_tflite),
        examples,
        accuracy_config(0.5),
    )


def test_models_of_other_inputs_are_refused(
    refused, as_tflite_model, as_saved_model, as_examples, accuracy_config,
    float_tflite, digits_examples, other_shape_saved_model,
):  # fmt: skip
    refused(
        r"input 'image' is float32\(8, 8, 1\) in the candidate, but float32\(4, 4, 1\) in the baseline",
        as_tflite_model(float_tflite),
        as_examples(digits_examples),
        accuracy_config(0.5),
        baseline=as_saved_model(other_shape_saved_model),
    )


def test_a_feature_that_one_record_lacks_is_reported_with_its_place(
    refused, as_tflite_model, as_examples, accuracy_config, float_tflite, digits, tmp_path
):
    rows = [{'image': image, 'label': 1} for image in digits['x_eval'][:200]]
    rows[150].pop('image')
    write_examples(tmp_path / 'examples' / 'Split-eval', rows)
    match = r"record 150 of .*Split-eval/data has no feature 'image'"
    refused(
        match,
        as_tflite_model(float_tflite),
        as_examples(tmp_path / 'examples', ['eval']),
        accuracy_config(0.5),
    )


_IMAGE = [0.5] * 64


@pytest.mark.parametrize(
    ('row', 'match'),
    [
        ({'image': _IMAGE}, "label 'label' holds no values, and 1 value in the records before it"),
        (
            {'image': _IMAGE, 'label': [1, 2]},
            "label 'label' holds 2 values, and 1 value in the records before it",
        ),
        (
            {'image': _IMAGE, 'label': [1.0]},
            "feature 'label' is float_list, and int64_list in the records before",
        ),
        (
            {'image': [1] * 64, 'label': [1]},
            "feature 'image' is int64_list, and float_list in the records before",
        ),
        (
            {'image': _IMAGE, 'label': b'one'},
            "feature 'label' is bytes_list, and int64_list in the records befo",
        ),
        ({'image': _IMAGE, 'label': [-1]}, r"label 'label' is -1 in an example, .* expected 0 to 9"),
        ({'image': _IMAGE, 'label': [99]}, r"label 'label' is 99 in an example, .* expected 0 to 9"),
        (
            {'image': [float('nan')] * 64, 'label': [1]},
            "feature 'image' holds NaN in an example, which the integers",
        ),
        (
            {'image': [float('inf')] * 64, 'label': [1]},
            "feature 'image' holds infinity in an example, which the int",
        ),
    ],
)
def test_an_example_that_differs_is_named_with_its_place(
    refused, as_tflite_model, as_examples, accuracy_config, int8_tflite, tmp_path, row, match
):
    rows = [{'image': _IMAGE, 'label': [3]} for _ in range(20)]
    rows[7] = row
    write_examples(tmp_path / 'examples' / 'Split-eval', rows)
    model, examples = as_tflite_model(int8_tflite), as_examples(tmp_path / 'examples', ['eval'])
    refused(f'^record 7 of .*{match}', model, examples, accuracy_config(0.5))
