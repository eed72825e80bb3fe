"""EdgeEvaluator's executor: artifacts in, TFMA on Beam, evaluation, report and blessing out."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from tfx_edge import proto
from tfx_edge.components import artifacts
from tfx_edge.components import exec_properties as properties
from tfx_edge.components.core.evaluation import (
    comparison_report,
    flip_pictures,
    flips,
    gates,
    non_inferiority,
    report_page,
    run,
    sizes,
)
from tfx_edge.components.core.evaluation import report as reporting
from tfx_edge.components.core.evaluation.eval_config import check_eval_config, thresholds
from tfx_edge.components.core.evaluation.latency import measure_latency
from tfx_edge.components.core.evaluation.models import read_tflite
from tfx_edge.components.core.evaluation.reading import require_examples
from tfx_edge.components.core.examples import read_records
from tfx_edge.components.core.litert.activation_memory import peak_activation_bytes
from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.litert.inspect import ModelSummary, inspect_model
from tfx_edge.components.core.litert.isolation import run_isolated
from tfx_edge.components.edge_evaluator import keys, options

_LOG = logging.getLogger(__name__)


class Executor(base_beam_executor.BaseBeamExecutor):
    """Runs EdgeEvaluator; see its class."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates the model, and writes evaluation, report and blessing, or nothing at all.

        Args:
          input_dict: `model`, `examples`, and where given `baseline_model`, `schema`, `transform_graph`.
          output_dict: `evaluation`, `blessing`, `edge_evaluation`.
          exec_properties: `eval_config`, `edge` and `example_splits` as JSON.

        Raises:
          EdgeError: an input is at fault.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        candidate = artifact_utils.get_single_instance(input_dict[artifacts.MODEL])
        baseline = _optional(input_dict, keys.BASELINE_MODEL)
        edge = properties.decode(exec_properties[keys.EDGE], proto.EdgeEvaluation)
        limits, rules, max_flips = options.edge_limits(edge), options.rules(edge), options.max_flips(edge)
        config = options.decode_eval_config(exec_properties[keys.EVAL_CONFIG])
        check_eval_config(config, has_baseline=baseline is not None)
        splits = options.decode_splits(exec_properties[keys.EXAMPLE_SPLITS])
        for split in splits:
            require_examples(artifacts.split_files(input_dict[artifacts.EXAMPLES], [split]), split)
        evaluation = run.prepare(
            config,
            artifacts.serving_model_path(candidate),
            artifacts.serving_model_path(baseline) if baseline else None,
            drops=options.metric_drops(edge),
            confidence=rules.confidence,
            max_flips=max_flips,
        )
        outputs = {key: artifact_utils.get_single_instance(output_dict[key]) for key in _OUTPUTS}
        with contextlib.ExitStack() as stack:
            # They take their names in the order evaluation, report, blessing: a blessing is never alone.
            drafts = {key: stack.enter_context(artifacts.written_whole(outputs[key].uri)) for key in _OUTPUTS}
            fit_path, counts_path, slices_path, flips_path = (
                os.path.join(drafts[keys.EDGE_EVALUATION], name)
                for name in (_FIT_FILE, _COUNTS_FILE, _SLICES_FILE, keys.FLIPS_FILE)
            )
            results = run.run(
                evaluation,
                self._make_beam_pipeline,
                artifacts.split_files(input_dict[artifacts.EXAMPLES], splits),
                schema=artifacts.read_schema(input_dict),
                transform_graph=artifacts.transform_graph_folder(input_dict),
                output_path=drafts[keys.EVALUATION],
                counts_path=counts_path,
                slices_path=slices_path,
                flips_path=flips_path,
                fit_path=fit_path if limits.judge_calibration else None,
            )
            lists_flips = bool(max_flips) and not _no_flips(evaluation, results)
            unwanted = [counts_path, fit_path, slices_path, *([] if lists_flips else [flips_path])]
            for path in filter(fileio.exists, unwanted):
                fileio.remove(path)
            notes = _notes(config, baseline)
            verdict = _write_report(drafts, evaluation, limits, rules, results, notes)
            _write(os.path.join(drafts[keys.BLESSING], _BLESSING_FILES[verdict.blessed]), '')
        _mark(outputs[keys.BLESSING], verdict, candidate, baseline)
        for reason in verdict.reasons:
            _LOG.info('not blessed: %s', reason)
        _LOG.info('%s is %s', candidate.uri, 'blessed' if verdict.blessed else 'not blessed')


# The order of entering; they are finished in reverse.
_OUTPUTS = (keys.BLESSING, keys.EDGE_EVALUATION, keys.EVALUATION)
_COUNTS_FILE = 'counts.json'
_FIT_FILE = 'calibration_fit.json'
_SLICES_FILE = 'slices.json'
_BLESSING_FILES = {True: constants.BLESSED_FILE_NAME, False: constants.NOT_BLESSED_FILE_NAME}


def _write_report(
    drafts: dict[str, str],
    evaluation: run.Evaluation,
    limits: gates.Limits,
    rules: non_inferiority.Rules,
    results: run.Results,
    notes: Sequence[str],
) -> reporting.Verdict:
    model = read_tflite(evaluation.candidate.source.path)
    summary = inspect_model(model)
    measured = _measure(model, summary, evaluation, limits, results)
    tests = non_inferiority.judge_tests(evaluation.tested, results.slices, rules, evaluation.obstacle)
    judged = (*gates.judge(limits, measured), *non_inferiority.gates_of(tests, rules))
    for gate in judged:
        if gate.name in gates.CALIBRATION_GATES and not gate.holds:
            _LOG.warning('the calibration of the .tflite file does not fit the examples: %s', gate.reason)
    path = drafts[keys.EVALUATION]
    verdict = reporting.decide(
        tfma.load_validation_result(path), judged, has_thresholds=bool(thresholds(evaluation.config))
    )
    names = {evaluation.candidate.name: 'candidate'}
    if evaluation.baseline is not None:
        names[evaluation.baseline.name] = 'baseline'
    slices = reporting.metrics_by_slice(path, names)
    reporting.require_slices(evaluation.config, slices)
    report = reporting.make_report(
        verdict=verdict,
        gates=judged,
        measured=measured,
        summary=summary,
        metrics=slices,
        models={
            names[c.name]: {'path': c.source.path, 'signature_name': c.model.signature_name}
            for c in evaluation.contenders
        },
        notes=notes,
        against_baseline={
            'comparison': comparison_report.comparison_part(results.slices, evaluation.obstacle),
            'non_inferiority': comparison_report.non_inferiority_part(tests, rules),
            'flips': _flips_part(drafts[keys.EDGE_EVALUATION], evaluation, results),
        },
    )
    _write(os.path.join(drafts[keys.EDGE_EVALUATION], keys.REPORT_FILE), reporting.to_json(report))
    page = report_page.render_page(report, _pictures(drafts[keys.EDGE_EVALUATION], evaluation))
    _write(os.path.join(drafts[keys.EDGE_EVALUATION], keys.PAGE_FILE), page)
    return verdict


def _pictures(folder: str, evaluation: run.Evaluation) -> dict[int, list[str]]:
    path = os.path.join(folder, keys.FLIPS_FILE)
    if not fileio.exists(path):
        return {}
    inputs = evaluation.candidate.model.inputs
    shapes = {name: tuple(spec.shape) for name, spec in inputs.items()}
    return flip_pictures.flip_pictures(list(read_records([path])), shapes)


def _flips_part(folder: str, evaluation: run.Evaluation, results: run.Results) -> dict[str, Any]:
    path = os.path.join(folder, keys.FLIPS_FILE)
    is_listed = fileio.exists(path)
    listed = (
        list(flips.read_flips(path, list(evaluation.plan.outputs))) if evaluation.plan and is_listed else []
    )
    obstacle = _no_flips(evaluation, results)
    return comparison_report.flips_part(
        results.slices, obstacle, keys.FLIPS_FILE if is_listed else None, listed
    )


def _no_flips(evaluation: run.Evaluation, results: run.Results) -> str:
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


def _measure(
    model: bytes,
    summary: ModelSummary,
    evaluation: run.Evaluation,
    limits: gates.Limits,
    results: run.Results,
) -> gates.Measurements:
    counts, comparison = results.counts, evaluation.comparison
    compared = comparison.baseline is not None
    latency = None
    if limits.max_latency_ratio is not None and evaluation.baseline is not None:
        latency = run_isolated(measure_latency, model, _as_file(evaluation.baseline))
        _LOG.info('%.4g ms, %.3g times the baseline', latency.milliseconds, latency.ratio)
    return gates.Measurements(
        examples=counts.examples,
        not_finite=counts.not_finite,
        agreement=counts.agreeing / counts.examples if compared else None,
        no_agreement=comparison.obstacle,
        file_bytes=sizes.file_bytes(model),
        zip_bytes=sizes.zip_bytes(model),
        activation_bytes=peak_activation_bytes(model),
        latency=latency,
        float_ops=tuple(f'{op.name} {op.output}' for op in summary.float_ops),
        fit=results.fit,
    )


def _as_file(baseline: run.Contender) -> bytes:
    """The baseline's `.tflite` file; the float one of a SavedModel."""
    if baseline.source.is_tflite:
        return read_tflite(baseline.source.path)
    return convert_saved_model(baseline.source.path, baseline.model.signature_name)


def _notes(config: tfma.EvalConfig, baseline: types.Artifact | None) -> list[str]:
    if baseline is None and tfma.utils.has_change_threshold(config):
        return ['there was no baseline model: thresholds on a change from it were not checked']
    return []


def _mark(
    blessing: types.Artifact,
    verdict: reporting.Verdict,
    candidate: types.Artifact,
    baseline: types.Artifact | None,
) -> None:
    """The custom properties that TFX's Evaluator sets: Pusher and LatestBlessedModelStrategy read them."""
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, candidate.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, candidate.id)
    if baseline is not None:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
    if verdict.reasons:
        blessing.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_BLESSING_MESSAGE_KEY, '; '.join(verdict.reasons)
        )
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY,
        constants.BLESSED_VALUE if verdict.blessed else constants.NOT_BLESSED_VALUE,
    )


def _optional(input_dict: dict[str, list[types.Artifact]], key: str) -> types.Artifact | None:
    found = input_dict.get(key)
    return artifact_utils.get_single_instance(found) if found else None


def _write(path: str, text: str) -> None:
    with fileio.open(path, 'w') as file:
        file.write(text)
