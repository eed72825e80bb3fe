"""The same report, metrics and flips from any number of workers, any runner, and any files and order of examples."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma

from tests.components.edge_evaluator.conftest import RUNNER, Outcome
from tfx_edge import proto
from tfx_edge.components.core.evaluation.report.evaluation_report import to_json

pytestmark = pytest.mark.slow

LOSS = 'sparse_categorical_crossentropy'
EDGE = proto.EdgeEvaluation(
    max_metric_drop=[
        {'metric': 'SparseCategoricalAccuracy', 'margin': 0.03},
        {'metric': 'SparseCategoricalCrossentropy', 'margin': 0.1},
    ],
    min_slice_examples=20,
    max_flips_listed=5,
)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a run left behind: all that must be equal to the last byte, and TFMA's losses.

    Those are added up by Keras in float32, in the order in which the examples come.
    """

    report: str
    flips: bytes
    metrics: Mapping[Any, float]
    losses: Mapping[Any, float]


def found(outcome: Outcome) -> Found:
    report = outcome.report
    for entry in report['metrics']:
        entry['metrics'] = [metric for metric in entry['metrics'] if metric['name'] != LOSS]
    values = {}
    for model in (tfma.CANDIDATE_KEY, tfma.BASELINE_KEY):
        result = tfma.load_eval_result(outcome.evaluation.uri, model_name=model)
        for slice_, outputs in result.slicing_metrics:
            for name, value in outputs[''][''].items():
                values[model, slice_, name] = value['doubleValue']
    return Found(
        to_json(report),
        pathlib.Path(outcome.edge_evaluation.uri, 'flips.tfrecord').read_bytes(),
        {key: value for key, value in values.items() if not key[-1].startswith(LOSS)},
        {key: value for key, value in values.items() if key[-1].startswith(LOSS)},
    )


@pytest.fixture
def sharded(digits_examples: pathlib.Path, tmp_path: pathlib.Path) -> Callable[[int], pathlib.Path]:
    """Writes the examples into so many files of uneven size, in another order for each number of files."""
    files = sorted(str(path) for path in (digits_examples / 'Split-eval').iterdir())
    records = list(tf.data.TFRecordDataset(files, compression_type='GZIP').as_numpy_iterator())

    def write(shards: int) -> pathlib.Path:
        random = np.random.default_rng(shards)
        folder = tmp_path / f'in_{shards}' / 'Split-eval'
        folder.mkdir(parents=True)
        cuts = np.sort(random.choice(len(records), shards - 1, replace=False))
        for number, part in enumerate(np.split(random.permutation(len(records)), cuts)):
            with tf.io.TFRecordWriter(str(folder / f'data-{number}')) as writer:
                for place in part:
                    writer.write(records[place])
        return folder.parent

    return write


def test_results_do_not_depend_on_workers_runner_files_or_order(
    evaluate, as_tflite_model, as_saved_model, as_examples, accuracy_config,
    quantize, digits_saved_model, digits, sharded, portable_runner, monkeypatch,
):  # fmt: skip
    monkeypatch.setenv('PATH', f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}')
    # Dark images cut the ranges off, so that some answers flip.
    candidate = as_tflite_model(quantize(digits['x_train'][:200] * np.float32(0.8), 'INT8'))
    baseline = as_saved_model(digits_saved_model)
    config = accuracy_config(0.5, -0.2, slices=['label'])
    config.metrics_specs[0].metrics.add(class_name='ExampleCount')

    def run(name: str, shards: int, arguments: Sequence[str]) -> Found:
        return found(
            evaluate(
                candidate,
                as_examples(sharded(shards), ['eval']),
                config,
                baseline=baseline,
                edge=EDGE,
                beam_args=arguments,
                name=name,
            )
        )

    one = run('one', 1, RUNNER)
    assert one.flips
    assert json.loads(one.report)['calibration_fit']['examples'] == 200  # of 359: some are drawn
    assert len(one.losses) == 33  # of each model and their difference, on all examples and for ten labels
    for name, shards, arguments in (
        ('two', 3, [*RUNNER, '--direct_running_mode=multi_processing', '--direct_num_workers=2']),
        ('four', 7, [*RUNNER, '--direct_running_mode=multi_threading', '--direct_num_workers=4']),
        ('portable', 5, [*portable_runner, '--sdk_container_image=none']),
    ):
        other = run(name, shards, arguments)
        assert other.report == one.report
        assert other.flips == one.flips
        assert other.metrics == one.metrics
        assert other.losses == pytest.approx(one.losses, rel=1e-6, abs=1e-6)
