"""EdgeEvaluator against a baseline: non-inferiority by slice, flips, and differences of outputs."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma

from tests.components.edge_evaluator.conftest import RUNNER, write_examples
from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import content_hash
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model

pytestmark = pytest.mark.slow

CLASSES = 4
# Of the examples from 'us' one in ten is marked; a file that was broken there answers them by the smallest score.
SITES = {'de': 1500, 'us': 250, 'fr': 40}


class Scores(tf.Module):
    """Answers softmax of the scores it is given; of marked examples, of their negatives if it is broken."""

    def __init__(self, *, broken: bool) -> None:
        super().__init__()
        self.broken = broken

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, CLASSES], name='score'), tf.TensorSpec([None, 1], name='mark'),
        ]
    )  # fmt: skip
    def serve(self, score, mark):
        sign = 1.0 - 2.0 * mark if self.broken else 1.0 + 0.0 * mark
        return {'probabilities': tf.nn.softmax(score * sign)}


@dataclasses.dataclass(frozen=True)
class World:
    """A SavedModel, its own file and a broken one, and examples of three sites."""

    saved_model: pathlib.Path
    twin: bytes
    broken: bytes
    examples: pathlib.Path
    rows: list[dict[str, Any]]


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp('world')
    files = {}
    for broken in (False, True):
        module = Scores(broken=broken)
        folder = root / f'broken_{broken}'
        tf.saved_model.save(module, str(folder), signatures=module.serve.get_concrete_function())
        files[broken] = convert_saved_model(str(folder), 'serving_default')
    random = np.random.default_rng(0)
    rows = []
    for site, size in SITES.items():
        score = random.normal(0, 2, (size, CLASSES)).astype(np.float32)
        noisy = score + random.normal(0, 1, score.shape)
        for number in range(size):
            marked = site == 'us' and number % 10 == 0
            label = score[number].argmax() if marked else noisy[number].argmax()
            mark = np.float32(marked)
            rows.append({'score': score[number], 'mark': mark, 'label': label, 'site': site.encode()})
    write_examples(root / 'examples' / 'Split-eval', rows)
    return World(root / 'broken_False', files[False], files[True], root / 'examples', rows)


@pytest.fixture
def compare(
    world: World, evaluate: Callable[..., Any], as_tflite_model, as_saved_model, as_examples
) -> Callable[..., Any]:
    """Evaluates a file against the SavedModel, by site."""

    def run(
        model: bytes,
        *,
        name: str = 'run',
        examples=None,
        config=None,
        beam_args=RUNNER,
        first_run=False,
        **edge,
    ) -> Any:
        return evaluate(
            as_tflite_model(model, f'{name}_candidate'),
            as_examples(examples or world.examples, ['eval']),
            config or by_site(),
            baseline=as_saved_model(world.saved_model, f'{name}_baseline'),
            edge=proto.EdgeEvaluation(**edge),
            beam_args=beam_args,
            first_run=first_run,
            name=name,
        )

    return run


def by_site(*slices: str) -> tfma.EvalConfig:
    accuracy = tfma.MetricConfig(class_name='SparseCategoricalAccuracy')
    accuracy.threshold.value_threshold.lower_bound.value = 0.1
    loss = tfma.MetricConfig(class_name='SparseCategoricalCrossentropy')
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')],
        slicing_specs=[
            tfma.SlicingSpec(), *(tfma.SlicingSpec(feature_keys=[key]) for key in slices or ('site',)),
        ],
        metrics_specs=[tfma.MetricsSpec(metrics=[accuracy, loss])],
    )  # fmt: skip


ACCURACY = {'metric': 'SparseCategoricalAccuracy', 'margin': 0.03}
LOSS = {'metric': 'SparseCategoricalCrossentropy', 'margin': 0.15}


def by_metric_and_slice(outcome: Any) -> dict[tuple[str, str], Mapping[str, Any]]:
    """By metric and slice."""
    return {
        (test['metric'], test['slice'][0][1] if test['slice'] else 'all'): test
        for test in outcome.report['non_inferiority']['tests']
    }


def test_a_degraded_slice_is_refused_though_all_examples_are_within_the_margin(compare, world):
    outcome = compare(
        world.broken, max_metric_drop=[ACCURACY, LOSS], bless_undecided=True, max_flips_listed=0
    )
    tests = by_metric_and_slice(outcome)
    assert {key: test['outcome'] for key, test in tests.items() if key[0] == ACCURACY['metric']} == {
        ('SparseCategoricalAccuracy', 'all'): 'holds',
        ('SparseCategoricalAccuracy', 'de'): 'holds',
        ('SparseCategoricalAccuracy', 'us'): 'fails',
        ('SparseCategoricalAccuracy', 'fr'): 'undecided',
    }
    assert not outcome.blessed
    accuracy, loss = outcome.report['reasons']
    assert accuracy.startswith(
        'max_metric_drop SparseCategoricalAccuracy site=us: 0.1, limit 0.03 (fails; at 0.95'
    )
    assert loss.startswith('max_metric_drop SparseCategoricalCrossentropy site=us: ')
    assert accuracy in outcome.blessing.get_string_custom_property('blessing_message')

    # The list of flips is switched off; they are counted all the same.
    assert (outcome.report['flips']['file'], outcome.report['flips']['listed']) == (None, [])
    assert outcome.report['flips']['slices'][0]['worse'] == 25
    files = sorted(path.name for path in pathlib.Path(outcome.edge_evaluation.uri).iterdir())
    assert files == ['report.html', 'report.json']

    of_us = tests['SparseCategoricalAccuracy', 'us']['test']
    assert (of_us['examples'], of_us['worse'], of_us['better'], of_us['drop']) == (250, 25, 0, 0.1)
    assert of_us['lower'] > 0.03
    overall = tests['SparseCategoricalAccuracy', 'all']['test']
    assert overall['drop'] == pytest.approx(25 / 1790, abs=1e-12)
    # The metrics that were tested are those that TFMA reports.
    for (metric, site), test in tests.items():
        slice_ = () if site == 'all' else [['site', site]]
        name = {ACCURACY['metric']: 'sparse_categorical_accuracy'}.get(
            metric, 'sparse_categorical_crossentropy'
        )
        for model in ('candidate', 'baseline'):
            reported = outcome.metric(name, model, slice_=slice_)
            assert test['test'][model] == pytest.approx(reported, abs=2e-6)


def test_floats_own_twin_is_blessed_and_a_slice_with_few_examples_is_undecided(compare, world):
    outcome = compare(
        world.twin, max_metric_drop=[ACCURACY, LOSS], min_slice_examples=41, bless_undecided=True
    )
    tests = by_metric_and_slice(outcome)
    assert {key: test['outcome'] for key, test in tests.items()} == {
        (metric['metric'], site): 'undecided' if site == 'fr' else 'holds'
        for metric in (ACCURACY, LOSS)
        for site in ('all', *SITES)
    }
    assert (
        tests['SparseCategoricalAccuracy', 'fr']['why'] == '40 examples are fewer than min_slice_examples, 41'
    )
    assert outcome.blessed
    assert outcome.report['non_inferiority']['bless_undecided']
    assert outcome.report['flips']['listed'] == []
    path = pathlib.Path(outcome.edge_evaluation.uri) / 'flips.tfrecord'
    assert list(tf.data.TFRecordDataset([str(path)])) == []


def test_flips_and_differences_are_reported_by_slice(compare, world):
    outcome = compare(world.broken, max_flips_listed=7)
    report = outcome.report
    marked = [row for row in world.rows if row['mark']]
    assert len(marked) == 25
    # One of the smallest hashes first.
    parsed = [row for row in _records(world.examples) if row[1]]
    expected = sorted((content_hash(record), record) for record, is_marked in parsed if is_marked)[:7]
    path = pathlib.Path(outcome.edge_evaluation.uri) / report['flips']['file']
    listed = list(tf.data.TFRecordDataset([str(path)]).as_numpy_iterator())
    assert len(listed) == len(report['flips']['listed']) == 7
    for place, (record, (_, source), entry) in enumerate(
        zip(listed, expected, report['flips']['listed'], strict=True)
    ):
        flip, example = tf.train.Example.FromString(record), tf.train.Example.FromString(source)
        for name, feature in example.features.feature.items():
            assert flip.features.feature[name] == feature
        score = np.array(example.features.feature['score'].float_list.value)
        ours = np.array(flip.features.feature['tfx_edge/candidate'].float_list.value)
        theirs = np.array(flip.features.feature['tfx_edge/baseline'].float_list.value)
        np.testing.assert_allclose(theirs, np.exp(score) / np.exp(score).sum(), atol=1e-6)
        np.testing.assert_allclose(ours, np.exp(-score) / np.exp(-score).sum(), atol=1e-6)
        slices = flip.features.feature['tfx_edge/slice'].bytes_list.value
        assert list(slices) == [b'all examples', b'site=us']
        (answers,) = entry['outputs']
        assert (entry['place'], entry['slices']) == (place, ['all examples', 'site=us'])
        assert answers == {
            'output': '', 'label': score.argmax(), 'candidate': score.argmin(), 'baseline': score.argmax(),
        }  # fmt: skip

    counts = {
        _site(entry): (entry['worse'], entry['better'], entry['labelled'])
        for entry in report['flips']['slices']
    }
    assert counts == {'all': (25, 0, 1790), 'de': (0, 0, 1500), 'us': (25, 0, 250), 'fr': (0, 0, 40)}
    comparison = {_site(entry): entry for entry in report['comparison']['slices']}
    assert comparison['all']['agreement'] == report['agreement']
    assert comparison['us']['agreement'] == 0.9
    assert comparison['de']['agreement'] == 1.0
    score = np.stack([row['score'] for row in world.rows]).astype(np.float64)
    mark = np.array([row['mark'] for row in world.rows])
    site = np.array([row['site'].decode() for row in world.rows])
    theirs = _softmax(score)
    ours = _softmax(score * (1 - 2 * mark[:, np.newaxis]))
    for name, entry in comparison.items():
        chosen = (site == name) | (name == 'all')
        (difference,) = entry['differences']
        assert entry['examples'] == chosen.sum()
        apart = np.abs(ours - theirs)[chosen]
        assert difference['largest'] == pytest.approx(apart.max(), abs=1e-6)
        assert difference['mean'] == pytest.approx(apart.mean(), abs=1e-6)
        divergence = np.sum(theirs * np.log(theirs / ours), axis=1)[chosen].mean()
        assert difference['mean_divergence'] == pytest.approx(divergence, rel=1e-4, abs=1e-6)


def test_where_the_baseline_is_still_to_come_nothing_is_shown_to_hold(compare, world):
    outcome = compare(world.twin, max_metric_drop=[ACCURACY], first_run=True)
    assert not outcome.blessed
    assert outcome.report['reasons'] == [
        'max_metric_drop SparseCategoricalAccuracy: not measured, limit 0.03 (undecided: there is no baseline)'
    ]
    assert outcome.report['comparison'] == {'not_compared': 'there is no baseline', 'slices': []}
    assert outcome.report['flips']['not_told'] == 'there is no baseline'


def test_numbers_have_differences_and_no_flips(
    evaluate, as_tflite_model, as_saved_model, as_examples, two_headed
):
    error = tfma.MetricConfig(class_name='MeanAbsoluteError')
    error.threshold.value_threshold.upper_bound.value = 1
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_keys={'total': 'sum', 'product': 'mul'}, signature_name='score')],
        metrics_specs=[tfma.MetricsSpec(metrics=[error], output_names=['total', 'product'])],
    )
    outcome = evaluate(
        as_tflite_model(two_headed.tflite),
        as_examples(two_headed.examples, ['eval']),
        config,
        baseline=as_saved_model(two_headed.saved_model),
        edge=proto.EdgeEvaluation(
            max_metric_drop=[{'metric': 'MeanAbsoluteError', 'margin': 1e-3}], min_slice_examples=20
        ),
    )
    assert outcome.blessed
    report = outcome.report
    assert [(test['output'], test['outcome']) for test in report['non_inferiority']['tests']] == [
        ('total', 'holds'), ('product', 'holds'),
    ]  # fmt: skip
    assert [gate['name'] for gate in report['gates']][-2:] == [
        'max_metric_drop MeanAbsoluteError of output total all examples',
        'max_metric_drop MeanAbsoluteError of output product all examples',
    ]
    (everything,) = report['comparison']['slices']
    assert everything['agreement'] is None
    assert {entry['output'] for entry in everything['differences']} == {'total', 'product'}
    for entry in everything['differences']:
        assert entry['largest'] < 1e-5
        assert entry['mean_divergence'] is None
    assert report['flips']['not_told'].startswith("output 'product' has the shape")
    assert report['flips']['file'] is None


def test_labels_that_the_metric_is_not_for_are_refused_in_one_line(compare, world):
    config = by_site()
    config.metrics_specs[0].metrics.add(class_name='CategoricalCrossentropy')
    with pytest.raises(EdgeError) as caught:
        compare(
            world.twin, config=config, max_metric_drop=[{'metric': 'CategoricalCrossentropy', 'margin': 0.1}]
        )
    assert '\n' not in str(caught.value)


def _records(examples: pathlib.Path) -> list[tuple[bytes, bool]]:
    """Each record, and whether it is marked."""
    dataset = tf.data.TFRecordDataset([str(path) for path in (examples / 'Split-eval').iterdir()])
    return [
        (record, tf.train.Example.FromString(record).features.feature['mark'].float_list.value[0] == 1)
        for record in dataset.as_numpy_iterator()
    ]


def _site(entry: Mapping[str, Any]) -> str:
    return entry['slice'][0][1] if entry['slice'] else 'all'


def _softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
