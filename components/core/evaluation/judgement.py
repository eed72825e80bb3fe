"""Makes the verdict and the report of what a run measured."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.contenders.evaluation_setup import Evaluation
from tfx_edge.components.core.evaluation.evaluators.flips import FLIPS_FILE
from tfx_edge.components.core.evaluation.gates.verdict import Verdict, decide
from tfx_edge.components.core.evaluation.measurements.measurement import Finding
from tfx_edge.components.core.evaluation.metrics.eval_config import thresholds
from tfx_edge.components.core.evaluation.report import flip_pictures, metrics_by_slice, report_page
from tfx_edge.components.core.evaluation.report.evaluation_report import ModelRow, Models, make_report
from tfx_edge.components.core.examples.example_parser import read_records


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The verdict, and the report that explains it.

    Attributes:
      verdict: with its reasons.
      report: as JSON values.
      page: the same as HTML.
    """

    verdict: Verdict
    report: Mapping[str, Any]
    page: str


def judge_run(
    evaluation: Evaluation,
    findings: Sequence[Finding],
    *,
    metrics_path: str,
    folder: str,
    notes: Sequence[str] = (),
    fidelity: Mapping[str, Any] | None = None,
) -> Judgement:
    """Compares what a run measured with every limit, and reports all of it.

    Args:
      evaluation: what was run.
      findings: of every measurement.
      metrics_path: folder with TFMA's files.
      folder: with FLIPS_FILE, where flips are listed.
      notes: what a reader should know.
      fidelity: what the file's maker said of it; None where it said nothing.

    Returns:
      The verdict and the report.

    Raises:
      EdgeError: a slice of the configuration has no example.
    """
    verdict = decide(
        tfma.load_validation_result(metrics_path),
        [gate for finding in findings for gate in finding.gates],
        has_thresholds=bool(thresholds(evaluation.config)),
    )
    names = {evaluation.candidate.name: 'candidate'}
    if evaluation.baseline is not None:
        names[evaluation.baseline.name] = 'baseline'
    metrics = metrics_by_slice.metrics_by_slice(metrics_path, names)
    metrics_by_slice.require_slices(evaluation.config, metrics)
    report = make_report(
        verdict=verdict,
        findings=findings,
        models=_models(evaluation),
        metrics=metrics,
        fidelity=fidelity,
        notes=[*notes, *evaluation.notes],
    )
    return Judgement(verdict, report, report_page.render_page(report, _pictures(folder, evaluation)))


def _models(evaluation: Evaluation) -> Models:
    rows = [
        ModelRow(path=c.source.path, signature_name=c.model.signature_name) for c in evaluation.contenders
    ]
    models = Models(candidate=rows[0])
    if evaluation.baseline is not None:
        models['baseline'] = rows[1]
    return models


def _pictures(folder: str, evaluation: Evaluation) -> dict[int, list[str]]:
    path = os.path.join(folder, FLIPS_FILE)
    if not tf.io.gfile.exists(path):
        return {}
    inputs = evaluation.candidate.model.inputs
    shapes = {name: tuple(spec.shape) for name, spec in inputs.items()}
    return flip_pictures.flip_pictures(list(read_records([path])), shapes)
