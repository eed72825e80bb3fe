"""A pipeline whose baseline is the `.tflite` file it blessed last, by TFX's own LatestBlessedModelStrategy."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.slicer import slicer_lib
from tensorflow_model_analysis.view import util as view_data
from tensorflow_model_analysis.view import view_types
from tfx import v1 as tfx

from tfx_edge import proto
from tfx_edge.components import EdgeEvaluator, TFLiteQuantizer
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.pipelines.local import BEAM_ARGS
from tfx_edge.pipelines.run_records import Output, last_run

pytestmark = pytest.mark.e2e

NAME = 'latest-blessed'
ACCURACY = 'sparse_categorical_accuracy'
DROP = {'metric': 'SparseCategoricalAccuracy', 'margin': 0.05}


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run of the pipeline left behind."""

    model: Output
    blessing: Output
    evaluation: Output
    report: Mapping[str, Any]
    pushed_model: Output

    @property
    def pushed(self) -> bytes:
        return pathlib.Path(self.pushed_model.properties['pushed_destination'], 'tflite').read_bytes()

    @property
    def file(self) -> bytes:
        return pathlib.Path(self.model.uri, 'Format-Serving', 'tflite').read_bytes()


@pytest.fixture(scope='module')
def runs(
    digits_saved_model: pathlib.Path, digits_examples: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Run]:
    """Two runs, each with another way to make the file."""
    root = tmp_path_factory.mktemp('latest_blessed')
    shutil.copytree(digits_saved_model, root / 'trained' / 'Format-Serving')
    sources = root / 'trained', digits_examples
    # Digits are too few to decide on each; without a baseline nothing is decided at all.
    limits = proto.EdgeEvaluation(
        max_metric_drop=[DROP], min_agreement=0.95, max_latency_ratio=100, bless_undecided=True
    )
    return tuple(run_once(root, *sources, mode, limits) for mode in ('DYNAMIC_INT8', 'FLOAT16'))


def run_once(
    root: pathlib.Path, trained: pathlib.Path, examples: pathlib.Path, mode: str, limits: proto.EdgeEvaluation
) -> Run:
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / 'metadata.sqlite'))
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name=NAME,
            pipeline_root=str(root / 'pipeline'),
            metadata_connection_config=connection,
            components=components(trained, examples, root / 'serving', mode, limits),
            beam_pipeline_args=[*BEAM_ARGS, '--sdk_container_image=none'],
        )
    )
    steps = last_run(connection, NAME)
    evaluator = steps['EdgeEvaluator']
    report = pathlib.Path(evaluator.output('edge_evaluation').uri, 'report.json').read_text()
    return Run(
        steps['TFLiteQuantizer'].output('model'),
        evaluator.output('blessing'),
        evaluator.output('evaluation'),
        json.loads(report),
        steps['Pusher'].output('pushed_model'),
    )


def components(
    trained: pathlib.Path,
    examples: pathlib.Path,
    serving: pathlib.Path,
    mode: str,
    limits: proto.EdgeEvaluation,
) -> list[Any]:
    """Quantizer, evaluator and Pusher on a model that was trained, and the model blessed last."""
    artifacts = tfx.types.standard_artifacts
    trained_model = tfx.dsl.Importer(
        source_uri=str(trained),
        artifact_type=artifacts.Model,
        custom_properties={'tfx_version': tfx.__version__},
    ).with_id('trained')
    examples_of_eval = tfx.dsl.Importer(
        source_uri=str(examples),
        artifact_type=artifacts.Examples,
        properties={'split_names': '["train", "eval"]'},
    ).with_id('examples')
    quantizer = TFLiteQuantizer(
        model=trained_model.outputs['result'], quantization=proto.Quantization(mode=mode)
    )
    resolver = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=artifacts.ModelBlessing),
    ).with_id('latest_blessed')
    evaluator = EdgeEvaluator(
        model=quantizer.outputs['model'],
        examples=examples_of_eval.outputs['result'],
        baseline_model=resolver.outputs['model'],
        eval_config=eval_config(),
        edge=limits,
    )
    pusher = tfx.components.Pusher(
        model=quantizer.outputs['model'],
        model_blessing=evaluator.outputs['blessing'],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(serving))
        ),
    )
    return [trained_model, examples_of_eval, quantizer, resolver, evaluator, pusher]


def eval_config() -> tfma.EvalConfig:
    accuracy = tfma.MetricConfig(class_name='SparseCategoricalAccuracy')
    accuracy.threshold.value_threshold.lower_bound.value = 0.5
    accuracy.threshold.change_threshold.absolute.value = -0.2
    accuracy.threshold.change_threshold.direction = tfma.MetricDirection.HIGHER_IS_BETTER
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=['label'])],
        metrics_specs=[tfma.MetricsSpec(metrics=[accuracy, tfma.MetricConfig(class_name='ExampleCount')])],
    )


def test_a_first_run_finds_no_blessed_model_and_ends_well(runs: tuple[Run, Run]) -> None:
    first, _ = runs
    assert first.blessing.properties['blessed'] == 1
    assert 'baseline_model_id' not in first.blessing.properties
    assert set(first.report['models']) == {'candidate'}
    assert first.report['notes'] == [
        'there was no baseline model: thresholds on a change from it were not checked'
    ]
    undecided = {gate['name'] for gate in first.report['gates'] if gate['measured'] is None}
    assert {'min_agreement', 'max_latency_ratio'} <= undecided
    (test,) = first.report['non_inferiority']['tests']
    assert (test['outcome'], test['why']) == ('undecided', 'there is no baseline')


def test_a_second_run_compares_with_the_file_that_was_blessed(
    runs: tuple[Run, Run], digits: dict[str, np.ndarray]
) -> None:
    first, second = runs
    assert second.file != first.file
    assert second.report['models']['baseline']['path'] == f'{first.model.uri}/Format-Serving/tflite'
    properties = second.blessing.properties
    assert properties['blessed'] == 1
    assert properties['baseline_model'] == first.model.uri
    assert properties['baseline_model_id'] == first.blessing.properties['current_model_id']
    assert properties['current_model_id'] != properties['baseline_model_id']

    answers = [LiteRTModel(run.file)({'image': digits['x_eval']})['output_0'].argmax(1) for run in runs]
    assert second.report['agreement'] == np.mean(np.equal(*answers))
    latency = second.report['latency']
    assert min(latency['milliseconds'], latency['baseline_milliseconds']) > 0
    assert latency['ratio_low'] <= latency['ratio'] <= latency['ratio_high'] < 100
    outcomes = {test['outcome'] for test in second.report['non_inferiority']['tests'] if not test['slice']}
    assert outcomes == {'holds'}
    measured = [
        metric['value']
        for run, model in ((first, 'candidate'), (second, 'baseline'))
        for metric in metrics_of_all(run)
        if (metric['name'], metric['model'], metric['difference']) == (ACCURACY, model, False)
    ]
    accuracy = np.mean(answers[0] == digits['y_eval'])
    assert measured == pytest.approx([accuracy, accuracy], abs=1e-6)


def test_stock_pusher_pushes_the_tflite_file_of_each_run(runs: tuple[Run, Run]) -> None:
    assert [run.pushed for run in runs] == [run.file for run in runs]


def test_tfma_loads_the_evaluations_and_shows_them(runs: tuple[Run, Run]) -> None:
    first, second = runs
    candidate, baseline = (
        tfma.load_eval_result(second.evaluation.uri, model_name=name)
        for name in (tfma.CANDIDATE_KEY, tfma.BASELINE_KEY)
    )
    assert tfma.load_validation_result(second.evaluation.uri).validation_ok
    shown = view_data.get_slicing_metrics(candidate.slicing_metrics, slicing_column='label')
    assert {entry['slice'] for entry in shown} == {f'label:{digit}' for digit in range(10)}
    assert sum(entry['metrics']['']['']['example_count']['doubleValue'] for entry in shown) == 359
    (everything,) = view_data.get_slicing_metrics(candidate.slicing_metrics)
    (of_baseline,) = view_data.get_slicing_metrics(baseline.slicing_metrics)
    ours, theirs = (view['metrics'][''][''][ACCURACY]['doubleValue'] for view in (everything, of_baseline))
    change = everything['metrics']['']['']['sparse_categorical_accuracy_diff']['doubleValue']
    assert change == pytest.approx(ours - theirs, abs=1e-6)
    assert view_data.get_slicing_config(candidate.config) == {'weightedExamplesColumn': 'example_count'}

    results = view_types.EvalResults(
        [tfma.load_eval_result(first.evaluation.uri), candidate], tfma.MODEL_CENTRIC_MODE
    )
    series = view_data.get_time_series(results, slicer_lib.SingleSliceSpec(), False)
    values = [point['metrics'][''][''][ACCURACY]['doubleValue'] for point in series]
    assert values == [theirs, ours]


def metrics_of_all(run: Run) -> Sequence[Mapping[str, Any]]:
    (everything,) = (entry for entry in run.report['metrics'] if not entry['slice'])
    return everything['metrics']
