"""TFMA's files, written in one step: what TFMA's own writers write of the same evaluation."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from tfx_edge.components.core.evaluation.evaluators.found_files import WriteFound
from tfx_edge.components.core.evaluation.evaluators.tfma_files import TfmaFiles

_OPTIONS = ('--runner=FnApiRunner', '--sdk_container_image=none')


def _config() -> tfma.EvalConfig:
    slices = [config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=['country'])]
    nowhere = config_pb2.SlicingSpec(feature_values={'country': 'nowhere'})
    bound = config_pb2.MetricThreshold(value_threshold={'lower_bound': {'value': 0.9}})
    accuracy = config_pb2.MetricConfig(
        class_name='BinaryAccuracy',
        per_slice_thresholds=[{'slicing_specs': [*slices, nowhere], 'threshold': bound}],
    )
    others = [
        config_pb2.MetricConfig(class_name=name) for name in ('AUC', 'CalibrationPlot', 'ConfusionMatrixPlot')
    ]
    pair = config_pb2.CrossSlicingSpec(
        baseline_spec={}, slicing_specs=[{'feature_values': {'country': 'de'}}]
    )
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(prediction_key='score', label_key='label')],
        slicing_specs=slices,
        cross_slicing_specs=[pair],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[accuracy, *others])],
    )


def _extracts() -> dict[str, Any]:
    """Forty examples of four countries, with labels that the scores do not always meet."""
    random = np.random.default_rng(0)
    scores = random.uniform(size=(40, 1))
    countries = np.array(['pt', 'de', 'it', 'fr'] * 10, object)[:, np.newaxis]
    features = {
        'country': countries,
        'score': scores,
        'label': np.clip(np.round(scores + random.normal(size=(40, 1)) / 3), 0, 1),
    }
    return {tfma.INPUT_KEY: np.arange(40), tfma.FEATURES_KEY: features}


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    """What TFMA's writers wrote, and what TfmaFiles did."""
    theirs, ours = tmp_path_factory.mktemp('theirs'), tmp_path_factory.mktemp('ours')
    config, extracts = _config(), _extracts()
    files = TfmaFiles(str(ours), config, '/examples', {'': '<unknown>'})
    extractors = [
        tfma.extractors.LabelsExtractor(config),
        tfma.extractors.PredictionsExtractor(config),
        tfma.extractors.ExampleWeightsExtractor(config),
        tfma.extractors.UnbatchExtractor(),
        tfma.extractors.SliceKeyExtractor(eval_config=config),
    ]
    with beam.Pipeline(argv=list(_OPTIONS)) as pipeline:
        evaluation = (
            pipeline
            | beam.Create([extracts])
            | tfma.ExtractAndEvaluate(extractors, tfma.default_evaluators(eval_config=config))
        )
        writers = tfma.default_writers(
            str(theirs),
            eval_config=config,
            display_only_data_location='/examples',
            display_only_data_file_format='tfrecord',
        )
        _ = evaluation | 'Theirs' >> tfma.WriteResults(writers)
        _ = files.found(evaluation) | 'Ours' >> WriteFound(files.writers())
    return theirs, ours


def _records(path: pathlib.Path) -> list[bytes]:
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def test_the_same_files_are_there_and_no_others(folders: tuple[pathlib.Path, pathlib.Path]) -> None:
    theirs, ours = ({path.name for path in folder.iterdir()} for folder in folders)
    assert ours == theirs


@pytest.mark.parametrize('kind', ['metrics', 'plots', 'attributions'])
def test_they_hold_the_same_records(folders: tuple[pathlib.Path, pathlib.Path], kind: str) -> None:
    theirs, ours = (_records(folder / f'{kind}-00000-of-00001.tfrecord') for folder in folders)
    assert len(ours) == 6  # all examples, four countries, and a pair
    assert sorted(ours) == sorted(theirs)


def test_slices_come_in_one_order_whatever_the_workers(folders: tuple[pathlib.Path, pathlib.Path]) -> None:
    slices = [
        [(key.column, key.bytes_value) for key in metrics.slice_key.single_slice_keys]
        for metrics in tfma.load_metrics(str(folders[1]))
        if not metrics.HasField('cross_slice_key')
    ]
    assert slices == [[], *([('country', name)] for name in (b'de', b'fr', b'it', b'pt'))]


def test_the_validation_is_the_same(folders: tuple[pathlib.Path, pathlib.Path]) -> None:
    theirs, ours = (tfma.load_validation_result(str(folder)) for folder in folders)
    assert not ours.validation_ok
    assert len(ours.missing_slices) == 1
    assert len(ours.metric_validations_per_slice) > 1
    for result in (theirs, ours):
        for parts in (result.metric_validations_per_slice, result.validation_details.slicing_details):
            parts.sort(key=lambda part: part.SerializeToString(deterministic=True))
    assert ours == theirs


def test_tfma_loads_them(folders: tuple[pathlib.Path, pathlib.Path]) -> None:
    theirs, ours = (tfma.load_eval_result(str(folder)) for folder in folders)
    assert (ours.config, ours.data_location, ours.file_format) == (_config(), '/examples', 'tfrecord')
    assert ours.model_location == theirs.model_location
    config = 'eval_config.json'
    assert json.loads((folders[1] / config).read_text()) == json.loads((folders[0] / config).read_text())


def test_nothing_found_is_written_too(tmp_path: pathlib.Path) -> None:
    files = TfmaFiles(str(tmp_path), _config(), '/examples', {'': '<unknown>'})
    for write in files.writers().values():
        write([])
    assert _records(tmp_path / 'metrics-00000-of-00001.tfrecord') == []
    assert not tfma.load_validation_result(str(tmp_path)).validation_ok
