"""What TFMA's own extractor makes of `.tflite` files without a word, and what EdgeEvaluator makes of the same."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import PipelineOptions
from sklearn.metrics import accuracy_score

from tests.components.edge_evaluator.conftest import RUNNER, write_examples
from tests.components.edge_evaluator.plain_loop import plain_loop
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model

pytestmark = pytest.mark.slow

ACCURACY = 'sparse_categorical_accuracy'


@pytest.fixture
def stock(tmp_path: pathlib.Path, accuracy_config: Callable[..., Any]) -> Callable[..., float]:
    """The accuracy that TFMA finds by itself, without EdgeEvaluator."""

    def accuracy(model: bytes, examples: pathlib.Path) -> float:
        folder = tmp_path / 'stock'
        folder.mkdir()
        (folder / 'tflite').write_bytes(model)
        spec = tfma.ModelSpec(label_key='label', model_type=tfma.TF_LITE)
        config = accuracy_config(model_specs=[spec])
        result = tfma.run_model_analysis(
            eval_shared_model=tfma.default_eval_shared_model(str(folder), eval_config=config),
            eval_config=config,
            data_location=str(examples / 'Split-eval' / '*'),
            output_path=str(folder / 'evaluation'),
            pipeline_options=PipelineOptions(RUNNER),
        )
        return result.get_metrics_for_slice()[ACCURACY]['doubleValue']

    return accuracy


def accuracy_of(model: bytes, images: np.ndarray, labels: np.ndarray) -> float:
    return accuracy_score(labels, plain_loop(model, images).argmax(1))


def test_inputs_of_a_signature_of_another_name_are_fed(
    stock, evaluate, as_tflite_model, as_examples, accuracy_config, digits_saved_model, digits_examples, digits
):  # fmt: skip
    model = convert_saved_model(str(digits_saved_model), 'serve')
    images, labels = digits['x_eval'], digits['y_eval']
    # Stock finds no feature 'serve_image', and feeds -1 for all of it.
    blind = accuracy_of(model, np.full_like(images, -1), labels)
    assert stock(model, digits_examples) == pytest.approx(blind, abs=1e-6)
    assert blind < 0.2

    outcome = evaluate(as_tflite_model(model), as_examples(digits_examples), accuracy_config(0.9))
    assert outcome.report['models']['candidate']['signature_name'] == 'serve'
    assert outcome.metric(ACCURACY) == pytest.approx(accuracy_of(model, images, labels), abs=1e-6)
    assert outcome.blessed


@pytest.mark.parametrize('lacking', [1.0, 0.5])
def test_a_feature_that_is_missing_is_an_error(
    stock, evaluate, as_tflite_model, as_examples, accuracy_config, float_tflite, digits, tmp_path, lacking
):
    images, labels = digits['x_eval'][:100], digits['y_eval'][:100]
    rows: list[Mapping[str, Any]] = [
        {'label': label} if number < lacking * 100 else {'image': image, 'label': label}
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    write_examples(tmp_path / 'examples' / 'Split-eval', rows)
    if lacking == 1.0:
        # Stock makes up an image of -1 for each, and scores the model on it.
        made_up = accuracy_of(float_tflite, np.full_like(images, -1), labels)
        assert stock(float_tflite, tmp_path / 'examples') == pytest.approx(made_up, abs=1e-6)

    examples = as_examples(tmp_path / 'examples', ['eval'])
    with pytest.raises(EdgeError, match="no feature 'image'") as caught:
        evaluate(as_tflite_model(float_tflite), examples, accuracy_config(0.01))
    assert '\n' not in str(caught.value)


def test_inputs_beyond_the_calibrated_range_are_clipped(
    stock, evaluate, as_tflite_model, as_examples, accuracy_config, quantize, digits_examples, digits
):
    model = quantize(digits['x_train'][:200] * np.float32(0.8), 'INT8')
    right = accuracy_of(model, digits['x_eval'], digits['y_eval'])
    # Stock casts without clipping: the brightest pixels become the darkest.
    assert stock(model, digits_examples) < right - 0.5

    outcome = evaluate(as_tflite_model(model), as_examples(digits_examples), accuracy_config(0.1))
    assert outcome.metric(ACCURACY) == pytest.approx(right, abs=1e-6)


def test_a_saved_model_is_the_baseline_of_a_tflite_file(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config,
    int8_tflite, float_tflite, digits_saved_model, digits_examples, digits,
):  # fmt: skip
    candidate, baseline = as_tflite_model(int8_tflite), as_saved_model(digits_saved_model)
    config = accuracy_config(
        model_specs=[
            tfma.ModelSpec(name='candidate', label_key='label', model_type=tfma.TF_LITE),
            tfma.ModelSpec(name='baseline', label_key='label', is_baseline=True),
        ]
    )
    shared = [
        tfma.default_eval_shared_model(
            f'{artifact.uri}/Format-Serving', model_name=artifact.uri.rpartition('/')[2], eval_config=config
        )
        for artifact in (candidate, baseline)
    ]
    with pytest.raises(NotImplementedError, match='mixing tf_lite and non-tf_lite models'):
        tfma.default_extractors(eval_shared_model=shared, eval_config=config)

    outcome = evaluate(
        candidate, as_examples(digits_examples), accuracy_config(0.9, -0.05), baseline=baseline
    )
    expected = accuracy_of(int8_tflite, digits['x_eval'], digits['y_eval'])
    assert outcome.metric(ACCURACY) == pytest.approx(expected, abs=1e-6)
    expected = accuracy_of(float_tflite, digits['x_eval'], digits['y_eval'])
    assert outcome.metric(ACCURACY, 'baseline') == pytest.approx(expected, abs=1e-6)
    assert outcome.blessed
