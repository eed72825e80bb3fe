"""One TFMA run over a `.tflite` file, and its baseline where there is one."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.beam_errors import told_in_one_line
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation import agreement
from tfx_edge.components.core.evaluation import eval_config as configuration
from tfx_edge.components.core.evaluation.calibration_fit import MeasureCalibrationFit, read_calibration_fit
from tfx_edge.components.core.evaluation.comparison import (
    ComparingEvaluator,
    ComparisonWriters,
    SliceComparison,
    read_comparison,
)
from tfx_edge.components.core.evaluation.confusion import (
    Answer,
    ConfusionEvaluator,
    ConfusionWriter,
    read_confusion,
)
from tfx_edge.components.core.evaluation.fitting_metrics import fit_metrics, needs_limits, require_fit
from tfx_edge.components.core.evaluation.label_check import label_checks
from tfx_edge.components.core.evaluation.models import (
    fitted,
    read_tflite,
)
from tfx_edge.components.core.evaluation.output_limits import (
    OutputLimitsEvaluator,
    OutputLimitsWriter,
    limits_of,
    read_output_limits,
)
from tfx_edge.components.core.evaluation.output_use import (
    OutputsUse,
    OutputUseEvaluator,
    OutputUseWriter,
    read_output_use,
)
from tfx_edge.components.core.evaluation.predictions import EdgePredictionsExtractor
from tfx_edge.components.core.evaluation.preparation import Contender, Evaluation
from tfx_edge.components.core.evaluation.range_probe import integer_tensors
from tfx_edge.components.core.evaluation.range_use import CalibrationFit
from tfx_edge.components.core.evaluation.reading import ReadExamples
from tfx_edge.components.core.evaluation.record_sample import KeepSample
from tfx_edge.components.core.examples import ExampleParser, read_records
from tfx_edge.components.core.record_places import first_fault, is_of_a_record

_LOG = logging.getLogger(__name__)

# What a run leaves in its folder; the rest of it is read and removed.
FLIPS_FILE = 'flips.tfrecord'
_COUNTS_FILE, _USE_FILE, _SAMPLE_FILE = 'counts.json', 'output_use.json', 'sample.tfrecord'
_LIMITS_FILE = 'output_limits.json'
_FIT_FILE, _SLICES_FILE, _CONFUSION_FILE = 'calibration_fit.json', 'slices.json', 'confusion.json'
# Examples by which metrics are fitted to the outputs.
_LOOKED_AT = 64
# Examples on which two files are compared tensor by tensor.
_SAMPLE = 32


@dataclasses.dataclass(frozen=True)
class Results:
    """What a run measured beside TFMA's files.

    Attributes:
      counts: of all examples.
      fit: how well the calibration fits them.
      use: what the candidate's outputs do.
      slices: candidate against baseline, all examples first; empty where nothing was compared.
      answers: which classes are taken for which; empty where that is not told.
      sample: features of a few examples, by input name; empty where there is no baseline.
    """

    counts: agreement.Counts
    fit: CalibrationFit
    use: OutputsUse
    slices: tuple[SliceComparison, ...]
    answers: tuple[Answer, ...]
    sample: Mapping[str, np.ndarray]


def run(
    evaluation: Evaluation,
    make_pipeline: Callable[[], Any],
    files: Sequence[str],
    *,
    parser: ExampleParser,
    schema: schema_pb2.Schema | None,
    output_path: str,
    folder: str,
    judge_calibration: bool,
) -> Results:
    """Runs the evaluation on Beam; TFMA writes its files to `output_path`.

    Args:
      evaluation: what is run.
      make_pipeline: makes the Beam pipeline.
      files: TFRecord files of tf.Examples.
      parser: makes the models' inputs of the examples.
      schema: of the examples, or None.
      output_path: folder for TFMA's files.
      folder: for FLIPS_FILE, a TFRecord file that is written where outputs are compared with a baseline's.
      judge_calibration: whether to measure how the calibration fits.

    Returns:
      What was measured.

    Raises:
      EdgeError: an example or a file is at fault, or there is no example.
    """
    predict = EdgePredictionsExtractor(
        {c.name: c.source for c in evaluation.contenders},
        parser,
        configuration.named_features(evaluation.config),
        label_checks(
            evaluation.config,
            evaluation.candidate.model.as_predicted(evaluation.candidate.model.outputs),
        ),
    )
    shared = [_for_tfma(c, is_baseline=c is evaluation.baseline) for c in evaluation.contenders]
    examples = ReadExamples(files, schema)
    config = _fitted_config(evaluation, parser, files)
    common = {'eval_config': config, 'eval_shared_model': shared}
    _LOG.info('evaluating %s', ' and '.join(c.source.path for c in evaluation.contenders))
    fit, measures_fit = _fit_to_measure(evaluation, judge_calibration)
    evaluators, writers = _own_parts(evaluation, folder)
    with _told_by_place(files, parser), told_in_one_line(), _metric_failures(), make_pipeline() as pipeline:
        batches = pipeline | 'ReadExamples' >> examples
        _ = batches | 'Evaluate' >> tfma.ExtractEvaluateAndWriteResults(
            extractors=_extractors(predict, examples.tensor_adapter_config(), common),
            evaluators=[*tfma.default_evaluators(schema=schema, **common), *evaluators],
            writers=[
                *tfma.default_writers(
                    output_path,
                    display_only_data_location=', '.join(sorted({os.path.dirname(file) for file in files})),
                    display_only_data_file_format='tfrecord',
                    **{**common, 'eval_config': evaluation.config},
                ),
                *writers,
            ],
            **common,
        )
        if measures_fit:
            path = os.path.join(folder, _FIT_FILE)
            measure = MeasureCalibrationFit(evaluation.candidate.source, parser, path)
            _ = batches | 'MeasureCalibrationFit' >> measure
        if evaluation.baseline is not None:
            _ = batches | 'KeepSample' >> KeepSample(_SAMPLE, os.path.join(folder, _SAMPLE_FILE))
    counts = _taken(folder, _COUNTS_FILE, agreement.read_counts)
    if not counts.examples:
        raise EdgeError(f'there is no example in {", ".join(files)}; give examples to evaluate on.')
    _LOG.info('evaluated %d examples', counts.examples)
    require_fit(evaluation.config, config, _taken(folder, _LIMITS_FILE, read_output_limits))
    return Results(
        counts,
        _taken(folder, _FIT_FILE, read_calibration_fit) if measures_fit else fit,
        _taken(folder, _USE_FILE, read_output_use),
        () if evaluation.plan is None else _taken(folder, _SLICES_FILE, read_comparison),
        () if evaluation.confusion is None else _taken(folder, _CONFUSION_FILE, read_confusion),
        {}
        if evaluation.baseline is None
        else _taken(folder, _SAMPLE_FILE, lambda path: parser(list(read_records([path])))),
    )


@contextlib.contextmanager
def _told_by_place(files: Sequence[str], parser: ExampleParser) -> Iterator[None]:
    """Names the place of a record that cannot be parsed; batches of TFMA do not know it."""
    try:
        yield
    except EdgeError as error:
        if not is_of_a_record(error):
            raise
        raise first_fault(files, lambda record: parser([record])) or error from error


def _fitted_config(evaluation: Evaluation, parser: ExampleParser, files: Sequence[str]) -> tfma.EvalConfig:
    """The configuration with metrics that suit what the candidate answers to the first examples."""
    if not needs_limits(evaluation.config):
        return evaluation.config
    records = list(itertools.islice(read_records(files), _LOOKED_AT))
    model = evaluation.candidate.model
    with _told_by_place(files, parser):
        outputs = model.as_predicted(model(fitted(model, parser(records)))) if records else {}
    limits = {name: limits_of(values) for name, values in outputs.items()}
    return fit_metrics(evaluation.config, limits, model.as_predicted(model.outputs))


def _own_parts(evaluation: Evaluation, folder: str) -> tuple[list[Any], list[Any]]:
    """What a run measures beside TFMA's metrics: evaluators, and writers for what they find."""
    paths = {
        name: os.path.join(folder, name)
        for name in (_COUNTS_FILE, _USE_FILE, _LIMITS_FILE, _SLICES_FILE, _CONFUSION_FILE, FLIPS_FILE)
    }
    evaluators = [
        agreement.CountingEvaluator(evaluation.comparison),
        OutputUseEvaluator(
            evaluation.candidate.name,
            evaluation.candidate.model.as_predicted(evaluation.candidate.model.rails),
            evaluation.plan.baseline if evaluation.plan else None,
            evaluation.plan.outputs if evaluation.plan else {},
        ),
        OutputLimitsEvaluator([c.name for c in evaluation.contenders]),
    ]
    writers = [
        agreement.CountsWriter(paths[_COUNTS_FILE]),
        OutputUseWriter(paths[_USE_FILE]),
        OutputLimitsWriter(paths[_LIMITS_FILE]),
    ]
    if evaluation.plan is not None:
        evaluators.append(ComparingEvaluator(evaluation.plan))
        writers += ComparisonWriters(paths[_SLICES_FILE], paths[FLIPS_FILE])
    if evaluation.confusion is not None:
        evaluators.append(ConfusionEvaluator(evaluation.confusion))
        writers.append(ConfusionWriter(paths[_CONFUSION_FILE]))
    return evaluators, writers


def _taken(folder: str, name: str, read: Callable[[str], Any]) -> Any:
    """What a file of the run holds; the file itself is not kept."""
    path = os.path.join(folder, name)
    found = read(path)
    tf.io.gfile.remove(path)
    return found


def _fit_to_measure(evaluation: Evaluation, judge_calibration: bool) -> tuple[CalibrationFit, bool]:
    """The fit as far as it is known before the run, and whether it is to be measured."""
    if not judge_calibration:
        return CalibrationFit(0, (), 'max_clipping and min_range_used are switched off'), False
    if not integer_tensors(read_tflite(evaluation.candidate.source.path)):
        return CalibrationFit(0, (), 'not applicable: the file has no calibrated integer activations'), False
    return CalibrationFit(0, ()), True


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
