"""One TFMA run over a `.tflite` file, and its baseline where there is one."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.beam_errors import raised_in_one_line
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.evaluation.contenders.evaluation_setup import Contender, Evaluation
from tfx_edge.components.core.evaluation.evaluators.evaluate import Evaluate
from tfx_edge.components.core.evaluation.evaluators.example_batches import ReadExamples
from tfx_edge.components.core.evaluation.evaluators.example_check import ExampleCheck
from tfx_edge.components.core.evaluation.evaluators.output_limits import limits_of
from tfx_edge.components.core.evaluation.evaluators.predictions import EdgePredictionsExtractor
from tfx_edge.components.core.evaluation.evaluators.tfma_files import TfmaFiles
from tfx_edge.components.core.evaluation.measurements.all_measurements import MEASUREMENTS
from tfx_edge.components.core.evaluation.measurements.fitting_metrics import fit_metrics, needs_limits
from tfx_edge.components.core.evaluation.measurements.measurement import (
    Demands,
    Finding,
    Measurement,
    Setting,
)
from tfx_edge.components.core.evaluation.metrics import eval_config as configuration
from tfx_edge.components.core.evaluation.metrics.label_check import label_checks
from tfx_edge.components.core.evaluation.metrics.metric_failures import metric_failures
from tfx_edge.components.core.evaluation.model_files.models import fitted, read_tflite
from tfx_edge.components.core.evaluation.model_files.rounded_inputs import rounded_inputs
from tfx_edge.components.core.examples.example_parser import ExampleParser, read_records
from tfx_edge.components.core.examples.record_faults import decode, values_of
from tfx_edge.components.core.examples.record_places import first_fault, is_of_a_record
from tfx_edge.components.core.examples.unlike_records import unlike_record
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.lost_workers import lost_workers_raised
from tfx_edge.components.core.signature import Signature

_LOG = logging.getLogger(__name__)

# Examples by which metrics are fitted to the outputs.
_LOOKED_AT = 64


def run(
    evaluation: Evaluation,
    demands: Demands,
    make_pipeline: Callable[[], Any],
    files: Sequence[str],
    *,
    parser: ExampleParser,
    schema: schema_pb2.Schema | None,
    output_path: str,
    folder: str,
    convert: Callable[[str, Signature], bytes] = convert_saved_model,
) -> tuple[Finding, ...]:
    """Runs the evaluation on Beam; TFMA writes its files to `output_path`.

    Args:
      evaluation: what is run.
      demands: what is demanded of the candidate.
      make_pipeline: makes the Beam pipeline.
      files: TFRecord files of tf.Examples.
      parser: makes the models' inputs of the examples.
      schema: of the examples, or None.
      output_path: folder for TFMA's files.
      folder: for `flips.FLIPS_FILE`, which is written where outputs are compared with a baseline's, and for files that
        are read and removed.
      convert: gives the float `.tflite` of a SavedModel's folder and one of its signatures.

    Returns:
      What came of each measurement, in the order of their gates.

    Raises:
      EdgeError: an example or a file is at fault, or there is no example.
    """
    config = _fitted_config(evaluation, parser, files)
    setting = Setting(evaluation, demands, config, parser, tuple(files), folder, convert)
    measurements = [measurement(setting) for measurement in MEASUREMENTS]
    _LOG.info('evaluating %s', ' and '.join(c.source.path for c in evaluation.contenders))
    examples = ReadExamples(files, schema)
    with (
        metric_failures(),
        _unlike_records_named(files, config),
        _named_by_place(files, parser, _example_check(evaluation)),
        raised_in_one_line(),
        lost_workers_raised(),
        make_pipeline() as pipeline,
    ):
        batches = pipeline | 'ReadExamples' >> examples
        _ = batches | 'Evaluate' >> _evaluate(setting, measurements, schema, examples, output_path)
    return tuple(measurement.read() for measurement in measurements)


def _evaluate(
    setting: Setting,
    measurements: Sequence[Measurement],
    schema: schema_pb2.Schema | None,
    examples: ReadExamples,
    output_path: str,
) -> Evaluate:
    """TFMA's metrics, with what the measurements observe beside them."""
    evaluation = setting.evaluation
    shared = [_for_tfma(c, is_baseline=c is evaluation.baseline) for c in evaluation.contenders]
    common = {'eval_config': setting.config, 'eval_shared_model': shared}
    files = TfmaFiles(
        output_path,
        evaluation.config,
        ', '.join(sorted({os.path.dirname(file) for file in setting.files})),
        {c.name: c.source.path for c in evaluation.contenders},
    )
    return Evaluate(
        _extractors(_predictions(setting), examples.tensor_adapter_config(), common),
        tfma.default_evaluators(schema=schema, **common),
        files,
        [observer for measurement in measurements for observer in measurement.observers()],
        [branch for measurement in measurements for branch in measurement.branches()],
    )


def _predictions(setting: Setting) -> Any:
    evaluation = setting.evaluation
    return EdgePredictionsExtractor(
        {c.name: c.source for c in evaluation.contenders},
        setting.parser,
        configuration.named_features(evaluation.config),
        _example_check(evaluation),
    )


def _example_check(evaluation: Evaluation) -> ExampleCheck:
    candidate = evaluation.candidate.model
    files = [c.source.path for c in evaluation.contenders if c.source.is_tflite]
    rounded = {name for path in files for name in rounded_inputs(read_tflite(path))}
    checks = label_checks(evaluation.config, candidate.as_predicted(candidate.outputs))
    return ExampleCheck(checks, tuple(sorted(rounded)))


@contextlib.contextmanager
def _named_by_place(
    files: Sequence[str], parser: ExampleParser, check: ExampleCheck | None = None
) -> Iterator[None]:
    """Names the file and number of a record that cannot be taken, which TFMA's batches do not hold."""

    def read(record: bytes) -> None:
        inputs, transformed = parser.read([record])
        if check is not None:
            check(inputs, {**_label_features(record, check), **(transformed or {})})

    try:
        yield
    except EdgeError as error:
        if not (is_of_a_record(error) or str(error).startswith('label ')):
            raise
        raise first_fault(files, read) or error from error


def _label_features(record: bytes, check: ExampleCheck) -> dict[str, np.ndarray]:
    present = decode(record).features.feature
    labels = {label.feature for label in check.labels} & {*present}
    values = {name: list(values_of(present[name])) for name in labels}
    return {
        name: np.array([held], object if held and isinstance(held[0], bytes) else None)
        for name, held in values.items()
    }


@contextlib.contextmanager
def _unlike_records_named(files: Sequence[str], config: tfma.EvalConfig) -> Iterator[None]:
    """Names a record of other types or with another number of labels, on which TFMA fails with an error of its own."""
    try:
        yield
    except (EdgeError, EnvironmentFailure):
        raise
    except Exception as error:
        labels = {key for spec in config.model_specs for key in (spec.label_key, *spec.label_keys.values())}
        fault = unlike_record(files, sorted(labels - {''}))
        if fault is None:
            raise
        raise fault from error


def _fitted_config(evaluation: Evaluation, parser: ExampleParser, files: Sequence[str]) -> tfma.EvalConfig:
    """The configuration with metrics that suit what the candidate answers to the first examples."""
    if not needs_limits(evaluation.config):
        return evaluation.config
    records = list(itertools.islice(read_records(files), _LOOKED_AT))
    model = evaluation.candidate.model
    with _named_by_place(files, parser):
        outputs = model.as_predicted(model(fitted(model, parser(records)))) if records else {}
    limits = {name: limits_of(values) for name, values in outputs.items()}
    return fit_metrics(evaluation.config, limits, model.as_predicted(model.outputs))


def _extractors(predict: Any, tensor_adapter_config: Any, common: Mapping[str, Any]) -> list[Any]:
    """TFMA's own extractors with `predict` second: labels and slices may be outputs of the transform graph."""
    extractors = tfma.default_extractors(
        custom_predict_extractor=predict, tensor_adapter_config=tensor_adapter_config, **common
    )
    first, *others = (extractor for extractor in extractors if extractor is not predict)
    return [first, predict, *others]


def _for_tfma(contender: Contender, *, is_baseline: bool) -> tfma.EvalSharedModel:
    """What TFMA's files say of a model; TFMA does not load it.

    The generic type stands for both kinds: TFMA refuses to mix its own type for `.tflite` with another.
    """
    return tfma.EvalSharedModel(
        model_path=contender.source.path,
        model_name=contender.name,
        model_type=tfma.TF_GENERIC,
        include_default_metrics=False,
        is_baseline=is_baseline,
    )
