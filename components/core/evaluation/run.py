"""One TFMA run over a `.tflite` file, and its baseline where there is one."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.beam_errors import told_in_one_line
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation import agreement
from tfx_edge.components.core.evaluation import eval_config as configuration
from tfx_edge.components.core.evaluation.calibration_fit import MeasureCalibrationFit, read_calibration_fit
from tfx_edge.components.core.evaluation.models import (
    Model,
    ModelSource,
    common_inputs,
    find_baseline,
    find_model,
    load_model,
    read_tflite,
)
from tfx_edge.components.core.evaluation.predictions import EdgePredictionsExtractor
from tfx_edge.components.core.evaluation.range_probe import integer_tensors
from tfx_edge.components.core.evaluation.range_use import CalibrationFit
from tfx_edge.components.core.evaluation.reading import ReadExamples
from tfx_edge.components.core.examples import ExampleParser

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A model in the run: the name of its ModelSpec ('' if it is alone), where it lies, and the model, loaded."""

    name: str
    source: ModelSource
    model: Model


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is run.

    Attributes:
      config: TFMA's configuration, completed.
      candidate: the `.tflite` file.
      baseline: what it is compared with, or None.
      comparison: which outputs tell whether they agree.
    """

    config: tfma.EvalConfig
    candidate: Contender
    baseline: Contender | None
    comparison: agreement.Comparison

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """The candidate, and the baseline where there is one."""
        return (self.candidate,) if self.baseline is None else (self.candidate, self.baseline)


@dataclasses.dataclass(frozen=True)
class Results:
    """What a run measured beside TFMA's files: the counts, and how well the calibration fits the examples."""

    counts: agreement.Counts
    fit: CalibrationFit


def prepare(config: tfma.EvalConfig, candidate_folder: str, baseline_folder: str | None) -> Evaluation:
    """Loads the models, and checks that they fit the configuration and each other.

    Args:
      config: the user's.
      candidate_folder: the serving folder that holds the `.tflite` file.
      baseline_folder: the serving folder that holds a SavedModel or a `.tflite` file, or None.

    Returns:
      The evaluation, ready to run.

    Raises:
      EdgeError: the candidate is no `.tflite` file or a damaged one, or the models do not fit.
    """
    config = configuration.complete_eval_config(config, has_baseline=baseline_folder is not None)
    spec = configuration.candidate_spec(config)
    source = find_model(candidate_folder, spec.signature_name)
    if not source.is_tflite:
        raise EdgeError(
            f'{candidate_folder} holds a SavedModel and no .tflite file; '
            'give the output of TFLiteQuantizer as model (and a SavedModel as baseline_model).'
        )
    candidate = Contender(spec.name, source, load_model(source))
    comparison = agreement.Comparison(candidate.name, None, {}, 'there is no baseline')
    baseline = None
    baseline_spec = configuration.baseline_spec(config)
    if baseline_folder is not None and baseline_spec is not None:
        source = find_baseline(baseline_folder, baseline_spec.signature_name, candidate.model)
        baseline = Contender(baseline_spec.name, source, load_model(source))
        comparison = agreement.compare_outputs(
            candidate.name, candidate.model.outputs, baseline.name, baseline.model.outputs
        )
    return Evaluation(config, candidate, baseline, comparison)


def run(
    evaluation: Evaluation,
    make_pipeline: Callable[[], Any],
    files: Sequence[str],
    *,
    schema: schema_pb2.Schema | None,
    transform_graph: str | None,
    output_path: str,
    counts_path: str,
    fit_path: str | None,
) -> Results:
    """Runs the evaluation on Beam; TFMA writes its files to `output_path`.

    Args:
      evaluation: what is run.
      make_pipeline: makes the Beam pipeline.
      files: TFRecord files of tf.Examples.
      schema: of the examples, or None.
      transform_graph: folder of a TransformGraph to apply, or None.
      output_path: folder for TFMA's files.
      counts_path: file for the counts.
      fit_path: file for the fit of the calibration; None not to measure it.

    Returns:
      The counts, and the fit.

    Raises:
      EdgeError: an example or a file is at fault, or there is no example.
    """
    inputs = common_inputs({c.name or 'candidate': c.model for c in evaluation.contenders})
    parser = ExampleParser(inputs, schema=schema, transform_graph=transform_graph)
    predict = EdgePredictionsExtractor(
        {c.name: c.source for c in evaluation.contenders},
        parser,
        configuration.named_features(evaluation.config),
    )
    shared = [_for_tfma(c, is_baseline=c is evaluation.baseline) for c in evaluation.contenders]
    examples = ReadExamples(files, schema)
    common = {'eval_config': evaluation.config, 'eval_shared_model': shared}
    _LOG.info('evaluating %s', ' and '.join(c.source.path for c in evaluation.contenders))
    fit, fit_path = _fit_to_measure(evaluation, fit_path)
    with told_in_one_line(), _metric_failures(), make_pipeline() as pipeline:
        batches = pipeline | 'ReadExamples' >> examples
        _ = batches | 'Evaluate' >> tfma.ExtractEvaluateAndWriteResults(
            extractors=_extractors(predict, examples.tensor_adapter_config(), common),
            evaluators=[
                *tfma.default_evaluators(schema=schema, **common),
                agreement.CountingEvaluator(evaluation.comparison),
            ],
            writers=[*tfma.default_writers(output_path, **common), agreement.CountsWriter(counts_path)],
            **common,
        )
        if fit_path is not None:
            measure = MeasureCalibrationFit(evaluation.candidate.source, parser, fit_path)
            _ = batches | 'MeasureCalibrationFit' >> measure
    counts = agreement.read_counts(counts_path)
    if not counts.examples:
        raise EdgeError(f'there is no example in {", ".join(files)}; give examples to evaluate on.')
    _LOG.info('evaluated %d examples', counts.examples)
    return Results(counts, fit if fit_path is None else read_calibration_fit(fit_path))


def _fit_to_measure(evaluation: Evaluation, fit_path: str | None) -> tuple[CalibrationFit, str | None]:
    """The fit as far as it is known before the run, and the file for it; None where nothing is to be measured."""
    if fit_path is None:
        return CalibrationFit(0, (), 'max_clipping and min_range_used are switched off'), None
    if not integer_tensors(read_tflite(evaluation.candidate.source.path)):
        return CalibrationFit(0, (), 'not applicable: the file has no calibrated integer activations'), None
    return CalibrationFit(0, ()), fit_path


# How TFMA reports that a metric could not take an example; Beam appends the stage.
_METRIC_FAILED = re.compile(
    r'add_input failed on "<?(?:\w+\.)*_?(?P<metric>\w+)[^"]*" with inputs:\n'
    r"(?P<inputs>[^\n]*?)(?= \[while running '|\n|$)"
)


@contextlib.contextmanager
def _metric_failures() -> Iterator[None]:
    """Tells in one line which metric failed on what; TFMA's own error is pages long."""
    try:
        yield
    except Exception as error:
        failed = _METRIC_FAILED.search(str(error))
        if failed is None:
            raise
        metric, inputs = failed['metric'], failed['inputs'][:300]
        raise EdgeError(
            f'TFMA cannot compute a metric of eval_config: its {metric} cannot take {inputs}; expected labels '
            'that the metric is for, and predictions that are finite numbers. Correct one of the three.'
        ) from error


def _extractors(predict: Any, tensor_adapter_config: Any, common: Mapping[str, Any]) -> list[Any]:
    """TFMA's own extractors with ours early: labels and slices may need what the transform graph makes."""
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
