"""From what a run measured to the verdict and the report."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.devices.profile import profile
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation import (
    comparison_report,
    confusion,
    device_gates,
    file_report,
    flip_pictures,
    flips,
    gates,
    metrics_report,
    non_inferiority,
    report_page,
    sizes,
)
from tfx_edge.components.core.evaluation.eval_config import thresholds
from tfx_edge.components.core.evaluation.file_comparison import FileComparison, compare_files
from tfx_edge.components.core.evaluation.models import read_tflite
from tfx_edge.components.core.evaluation.preparation import Evaluation
from tfx_edge.components.core.evaluation.report import make_report
from tfx_edge.components.core.evaluation.run import FLIPS_FILE, Results
from tfx_edge.components.core.evaluation.verdict import Verdict, decide
from tfx_edge.components.core.examples import read_records
from tfx_edge.components.core.litert import metadata
from tfx_edge.components.core.litert.activation_memory import peak_activation_bytes
from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.litert.float_islands import float_islands
from tfx_edge.components.core.litert.inspect import ModelSummary, inspect_model
from tfx_edge.components.core.litert.interpreter import RUNTIME
from tfx_edge.components.core.litert.model_file import ModelFile
from tfx_edge.components.core.signature import Signature

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The verdict, and the report that tells it.

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
    results: Results,
    limits: gates.Limits,
    rules: non_inferiority.Rules,
    *,
    devices: Sequence[device_gates.DeviceLimits] = (),
    metrics_path: str,
    folder: str,
    max_flips: int,
    notes: Sequence[str] = (),
    fidelity: Mapping[str, Any] | None = None,
    convert: Callable[[str, Signature], bytes] = convert_saved_model,
) -> Judgement:
    """Holds what a run measured against every limit, and reports all of it.

    Args:
      evaluation: what was run.
      results: what it measured.
      limits: of the device.
      rules: for tests against the baseline.
      devices: that are not here, whose tools are asked.
      metrics_path: folder with TFMA's files.
      folder: with FLIPS_FILE, which is removed where no flips can be told.
      max_flips: how many are listed at most; 0 where none are wanted.
      notes: what a reader should know.
      fidelity: what the file's maker said of it: `told`, `db`, `agreement` and `samples`; None where it said nothing.
      convert: gives the float `.tflite` of a SavedModel's folder and one of its signatures.

    Returns:
      The verdict and the report.

    Raises:
      EdgeError: the file is damaged, or a slice of the configuration has no example.
    """
    model = ModelFile(read_tflite(evaluation.candidate.source.path))
    summary = inspect_model(model)
    compared = compare_files(
        evaluation.candidate,
        evaluation.baseline,
        results.sample,
        latency=limits.max_latency_ratio is not None,
        convert=convert,
    )
    measured = _measure(model, summary, evaluation, results, compared)
    tests = non_inferiority.judge_tests(evaluation.tested, results.slices, rules, evaluation.obstacle)
    costs = [_cost(model, wanted.device) for wanted in devices]
    judged = (
        *gates.judge(limits, measured),
        *device_gates.judge_devices(devices, costs),
        *non_inferiority.gates_of(tests, rules),
    )
    for gate in judged:
        if gate.name in gates.CALIBRATION_GATES and not gate.holds:
            _LOG.warning('the calibration of the .tflite file does not fit the examples: %s', gate.reason)
    verdict = decide(
        tfma.load_validation_result(metrics_path), judged, has_thresholds=bool(thresholds(evaluation.config))
    )
    names = {evaluation.candidate.name: 'candidate'}
    if evaluation.baseline is not None:
        names[evaluation.baseline.name] = 'baseline'
    slices = metrics_report.metrics_by_slice(metrics_path, names)
    metrics_report.require_slices(evaluation.config, slices)
    label_names, unreadable = _label_names(model, evaluation)
    report = make_report(
        verdict=verdict,
        gates=judged,
        measured=measured,
        models={
            names[c.name]: {'path': c.source.path, 'signature_name': c.model.signature_name}
            for c in evaluation.contenders
        },
        notes=[*notes, *evaluation.notes, *unreadable],
        parts={
            'metrics': slices,
            'comparison': comparison_report.comparison_part(results.slices, evaluation.obstacle),
            'non_inferiority': comparison_report.non_inferiority_part(tests, rules),
            'flips': _flips_part(folder, evaluation, results, max_flips),
            'confusion': confusion.confusion_part(
                evaluation.confusion.classes if evaluation.confusion else {},
                results.answers,
                evaluation.no_confusion,
                label_names,
            ),
            'outputs': file_report.outputs_part(results.use),
            'fidelity': fidelity,
            'file': file_report.file_part(measured, summary, _islands(model)),
            'devices': device_gates.devices_part(costs),
            'runtime': file_report.runtime_part(RUNTIME),
            'layers': file_report.layers_part(compared),
            'weights': file_report.weights_part(compared),
        },
    )
    return Judgement(verdict, report, report_page.render_page(report, _pictures(folder, evaluation)))


def _measure(
    model: ModelFile,
    summary: ModelSummary,
    evaluation: Evaluation,
    results: Results,
    compared: FileComparison,
) -> gates.Measurements:
    counts, comparison = results.counts, evaluation.comparison
    return gates.Measurements(
        examples=counts.examples,
        has_baseline=evaluation.baseline is not None,
        not_finite=counts.not_finite,
        agreement=counts.agreeing / counts.examples if comparison.baseline is not None else None,
        no_agreement=comparison.obstacle,
        file_bytes=sizes.file_bytes(model.data),
        zip_bytes=sizes.zip_bytes(model.data),
        activation_bytes=peak_activation_bytes(model),
        stuck_outputs=results.use.stuck,
        latency=compared.latency,
        no_latency=compared.obstacle,
        float_ops=tuple(f'{op.name} {op.output}' for op in summary.float_ops),
        fit=results.fit,
    )


def _cost(model: ModelFile, device: str) -> DeviceCosts:
    cost = profile(model, device)
    if cost.absent or cost.obstacle:
        _LOG.warning('%s: %s', device, cost.absent or cost.obstacle)
    return cost


def _islands(model: ModelFile) -> Sequence[Any]:
    islands = float_islands(model)
    for island in islands:
        _LOG.warning('float operators between integer ones: %s', ', '.join(island.operators))
    return islands


def _label_names(model: ModelFile, evaluation: Evaluation) -> tuple[dict[str, Sequence[str]], list[str]]:
    """The names of an output's classes, where the file has them; and a note where they cannot be read."""
    try:
        told = metadata.read(model)
    except EdgeError as error:
        return {}, [f'the names of the classes in the .tflite file cannot be read: {error}']
    if told is None or told.labels is None or evaluation.confusion is None:
        return {}, []
    candidate = evaluation.candidate.model
    outputs = candidate.as_predicted({name: name for name in candidate.outputs})
    return {
        name: told.labels
        for name, classes in evaluation.confusion.classes.items()
        if outputs[name] == told.labels_output and len(told.labels) == classes
    }, []


def _pictures(folder: str, evaluation: Evaluation) -> dict[int, list[str]]:
    path = os.path.join(folder, FLIPS_FILE)
    if not tf.io.gfile.exists(path):
        return {}
    inputs = evaluation.candidate.model.inputs
    shapes = {name: tuple(spec.shape) for name, spec in inputs.items()}
    return flip_pictures.flip_pictures(list(read_records([path])), shapes)


def _flips_part(folder: str, evaluation: Evaluation, results: Results, max_flips: int) -> dict[str, Any]:
    path = os.path.join(folder, FLIPS_FILE)
    obstacle = _no_flips(evaluation, results)
    if tf.io.gfile.exists(path) and (obstacle or not max_flips):
        tf.io.gfile.remove(path)
    is_listed = tf.io.gfile.exists(path)
    listed = (
        list(flips.read_flips(path, list(evaluation.plan.answering))) if evaluation.plan and is_listed else []
    )
    return comparison_report.flips_part(results.slices, obstacle, FLIPS_FILE if is_listed else None, listed)


def _no_flips(evaluation: Evaluation, results: Results) -> str:
    """Why right and wrong answers cannot be told apart, or ''."""
    plan = evaluation.plan
    if plan is None:
        return evaluation.obstacle
    if not plan.answers:
        return evaluation.comparison.obstacle
    if not plan.labelled:
        return 'eval_config names no label'
    everything, *_ = results.slices
    return '' if everything.labelled else 'no label is a class'
