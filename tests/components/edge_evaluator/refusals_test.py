"""One configuration, under which float's own twin is blessed, and each bad file refused for what is wrong with it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import tensorflow as tf

from tests.components.edge_evaluator.conftest import write_examples
from tfx_edge import proto
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model

pytestmark = pytest.mark.slow

CLASSES = 10
TURNS = 16
# One in ten of the examples from 'us' has a white pixel in a corner, which is black in all of scikit-learn's digits.
SITES = {'de': 1200, 'us': 200}
DROPS = [
    f'max_metric_drop SparseCategoricalAccuracy {name}' for name in ('all examples', 'site=de', 'site=us')
]


class Flawed(tf.Module):
    """The digits net with a flaw."""

    def __init__(self, saved_model: pathlib.Path, flaw: str) -> None:
        super().__init__()
        self._loaded = tf.saved_model.load(str(saved_model))
        self._flaw = flaw

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], name='image')])
    def serve(self, image):
        order = np.arange(CLASSES)
        if self._flaw == 'slow':  # the same answer, worked out over and over
            answers = tf.reshape(self._answer(tf.tile(image, [TURNS, 1, 1, 1])), [TURNS, -1, CLASSES])
            return {'output_0': tf.reduce_mean(answers, axis=0)}
        if self._flaw == 'swapped labels':
            order[[3, 8]] = [8, 3]
            return {'output_0': tf.gather(self._answer(image), order, axis=1)}
        right = self._answer(image)
        wrong = tf.gather(right, np.roll(order, 1), axis=1)
        marked = image[:, 0, 0, :]
        return {'output_0': (1 - marked) * right + marked * wrong}

    def _answer(self, image):
        (answer,) = self._loaded.signatures['serving_default'](image=image).values()
        return answer


@pytest.fixture(scope='module')
def files(
    digits_saved_model: pathlib.Path,
    float_tflite: bytes,
    quantize: Callable[..., bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    """Float's own twin, and a file with each flaw."""
    made = {'twin': float_tflite, 'a byte too large': float_tflite.ljust(max_bytes(float_tflite) + 1, b'\0')}
    for flaw in ('slow', 'swapped labels', 'degraded slice'):
        folder = str(tmp_path_factory.mktemp('flawed') / 'model')
        module = Flawed(digits_saved_model, flaw)
        tf.saved_model.save(module, folder, signatures=module.serve.get_concrete_function())
        made[flaw] = convert_saved_model(folder, 'serving_default')
    noise = np.random.default_rng(0).uniform(0, 0.5, (100, 8, 8, 1)).astype(np.float32)
    made['calibrated on noise'] = quantize(noise)
    return made


@pytest.fixture(scope='module')
def examples(digits: Mapping[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp('sites')
    sites = [site for site, size in SITES.items() for _ in range(size)]
    rows = []
    for number, site in enumerate(sites):
        image, label = digits['x_train'][number].copy(), digits['y_train'][number]
        image[0, 0, 0] = site == 'us' and number % 10 == 0
        rows.append({'image': image, 'label': label, 'site': site.encode()})
    write_examples(folder / 'Split-eval', rows)
    return folder


def max_bytes(float_tflite: bytes) -> int:
    return len(float_tflite) + 2000


@pytest.mark.parametrize(
    ('file', 'gates'),
    [
        ('twin', []),
        ('calibrated on noise', ['min_agreement', 'max_clipping', *DROPS]),
        ('swapped labels', ['min_agreement', *DROPS]),
        ('degraded slice', [DROPS[-1]]),
        ('slow', ['max_latency_ratio']),
        ('a byte too large', ['max_file_bytes']),
    ],
)
def test_each_file_is_refused_for_what_is_wrong_with_it(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config,
    float_tflite, digits_saved_model, examples, files, file, gates,
):  # fmt: skip
    # The others come after the twin, which was blessed.
    baseline = (
        as_saved_model(digits_saved_model) if file == 'twin' else as_tflite_model(files['twin'], 'twin')
    )
    outcome = evaluate(
        as_tflite_model(files[file]),
        as_examples(examples, ['eval']),
        accuracy_config(0.2, slices=['site']),
        baseline=baseline,
        edge=proto.EdgeEvaluation(
            max_metric_drop=[{'metric': 'SparseCategoricalAccuracy', 'margin': 0.03}],
            min_agreement=0.9,
            max_file_bytes=max_bytes(float_tflite),
            max_zip_bytes=max_bytes(float_tflite),
            max_latency_ratio=4,
        ),
    )
    reasons = outcome.report['reasons']
    assert [reason.partition(':')[0] for reason in reasons] == gates
    assert outcome.blessed == (not gates)
    assert outcome.report['examples'] == sum(SITES.values())
