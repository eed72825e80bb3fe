"""EdgeEvaluator's executor: artifacts in, TFMA on Beam, evaluation, report and blessing out."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from tfx_edge import proto
from tfx_edge.components.core.dense_function.preparation import Preparation, preparation_of
from tfx_edge.components.core.evaluation import run
from tfx_edge.components.core.evaluation.contenders import evaluation_setup
from tfx_edge.components.core.evaluation.contenders.string_signature import compare_with_strings
from tfx_edge.components.core.evaluation.evaluators.example_batches import require_examples
from tfx_edge.components.core.evaluation.gates.verdict import Verdict
from tfx_edge.components.core.evaluation.judgement import Judgement, judge_run
from tfx_edge.components.core.evaluation.measurements.demands import Demands
from tfx_edge.components.core.evaluation.metrics.eval_config import check_eval_config, used_features
from tfx_edge.components.core.evaluation.report.evaluation_report import to_json
from tfx_edge.components.core.examples.example_parser import ExampleParser, read_records
from tfx_edge.components.core.examples.example_stage import TRANSFORMED
from tfx_edge.components.core.isolation.isolated_process import load_ahead
from tfx_edge.components.core.litert.conversion import saved_model_converter
from tfx_edge.components.core.log_once import begin_step
from tfx_edge.components.core.signature import read_signatures
from tfx_edge.components.core.step_time import limited_step_time
from tfx_edge.components.edge_evaluator import eval_config_property, keys, options
from tfx_edge.components.tfx_interface import artifacts, fidelity_properties, tfx_names
from tfx_edge.components.tfx_interface import exec_properties as properties
from tfx_edge.components.tfx_interface.example_files import split_files
from tfx_edge.components.tfx_interface.example_parsing import example_parser

_LOG = logging.getLogger(__name__)


class Executor(base_beam_executor.BaseBeamExecutor):
    """Runs EdgeEvaluator; see its class."""

    @limited_step_time()
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
        begin_step()
        self._log_startup(input_dict, output_dict, exec_properties)
        candidate = artifact_utils.get_single_instance(input_dict[artifacts.MODEL])
        baseline = _optional(input_dict, keys.BASELINE_MODEL)
        task = _task(input_dict, exec_properties)
        if baseline is not None:
            # The converter loads while Beam runs; afterwards it converts the baseline, to compare the files.
            load_ahead(saved_model_converter.convert_signature)
        outputs = {key: artifact_utils.get_single_instance(output_dict[key]) for key in _OUTPUTS}
        with contextlib.ExitStack() as stack:
            # Drafts are renamed in the order evaluation, report, blessing: no blessing exists without the others.
            drafts = {key: stack.enter_context(artifacts.written_whole(outputs[key].uri)) for key in _OUTPUTS}
            findings = run.run(
                task.evaluation,
                task.demands,
                self._make_beam_pipeline,
                task.files,
                parser=task.parser,
                schema=artifacts.read_schema(input_dict),
                output_path=drafts[keys.EVALUATION],
                folder=drafts[keys.EDGE_EVALUATION],
                convert=artifacts.float_files(outputs[keys.EDGE_EVALUATION]).convert,
            )
            judged = judge_run(
                task.evaluation,
                findings,
                metrics_path=drafts[keys.EVALUATION],
                folder=drafts[keys.EDGE_EVALUATION],
                notes=task.notes,
                fidelity=fidelity_properties.reported(candidate),
            )
            _write_all(drafts, judged)
        _mark(outputs[keys.BLESSING], judged.verdict, candidate, baseline)
        for reason in judged.verdict.reasons:
            _LOG.info('not blessed: %s', reason)
        _LOG.info('%s is %s', candidate.uri, 'blessed' if judged.verdict.blessed else 'not blessed')


@dataclasses.dataclass(frozen=True)
class _Task:
    """What is run: inputs and configuration, checked against each other."""

    evaluation: evaluation_setup.Evaluation
    demands: Demands
    parser: ExampleParser
    files: Sequence[str]
    notes: Sequence[str]


# Examples on which a function is compared with its signature of strings.
_COMPARED = 64
# The order of entering; they are finished in reverse.
_OUTPUTS = (keys.BLESSING, keys.EDGE_EVALUATION, keys.EVALUATION)
_BLESSING_FILES = {True: tfx_names.BLESSED_FILE_NAME, False: tfx_names.NOT_BLESSED_FILE_NAME}


def _task(input_dict: dict[str, list[types.Artifact]], exec_properties: Mapping[str, Any]) -> _Task:
    edge = properties.decode(exec_properties[keys.EDGE], proto.EdgeEvaluation)
    demands = options.demands(edge)
    config = eval_config_property.decode_eval_config(exec_properties[keys.EVAL_CONFIG])
    baseline = _optional(input_dict, keys.BASELINE_MODEL)
    transform_graph = artifacts.transform_graph_folder(input_dict)
    check_eval_config(
        config, has_baseline=baseline is not None, has_transform_graph=transform_graph is not None
    )
    splits = options.decode_splits(exec_properties[keys.EXAMPLE_SPLITS])
    for split in splits:
        require_examples(split_files(input_dict[artifacts.EXAMPLES], [split]), split)
    evaluation = evaluation_setup.prepare(
        config,
        artifacts.serving_model_path(artifact_utils.get_single_instance(input_dict[artifacts.MODEL])),
        artifacts.serving_model_path(baseline) if baseline else None,
        drops=options.metric_drops(edge),
        transform_graph=transform_graph,
    )
    parser = example_parser(
        input_dict,
        splits,
        evaluation.inputs,
        also_made=used_features(evaluation.config),
        preparation=_preparation(evaluation.baseline),
    )
    files = split_files(input_dict[artifacts.EXAMPLES], splits)
    notes = [*_notes(config, baseline), *_string_signature_note(evaluation.baseline, files, parser)]
    return _Task(evaluation, demands, parser, files, notes)


def _notes(config: tfma.EvalConfig, baseline: types.Artifact | None) -> list[str]:
    if baseline is None and tfma.utils.has_change_threshold(config):
        return ['there was no baseline model: thresholds on a change from it were not checked']
    return []


def _preparation(baseline: evaluation_setup.Contender | None) -> Preparation | None:
    """What the Trainer's model does with words or encoded images before the evaluated function."""
    if baseline is None or baseline.source.signature is None:
        return None
    return preparation_of(baseline.source.path, baseline.source.signature)


def _string_signature_note(
    baseline: evaluation_setup.Contender | None,
    files: Sequence[str],
    parser: ExampleParser,
) -> list[str]:
    """A note on whether the baseline's dense function returns the same as the signature of strings it is part of."""
    signature = None if baseline is None else baseline.source.signature
    if baseline is None or signature is None or signature.source is None:
        return []
    whole = read_signatures(baseline.source.path).get(signature.name)
    if whole is None or [spec.dtype for spec in whole.inputs.values()] != [tf.string]:
        return []
    if parser.transform_graph is not None and parser.stage == TRANSFORMED:
        return [
            f'signature {signature.name!r} takes raw examples, and these are transformed: it was not called'
        ]
    records = list(itertools.islice(read_records(files), _COMPARED))
    return [compare_with_strings(baseline.source.path, signature, records, parser(records))]


def _write_all(drafts: Mapping[str, str], judged: Judgement) -> None:
    _write(os.path.join(drafts[keys.EDGE_EVALUATION], keys.REPORT_FILE), to_json(judged.report))
    _write(os.path.join(drafts[keys.EDGE_EVALUATION], keys.PAGE_FILE), judged.page)
    _write(os.path.join(drafts[keys.BLESSING], _BLESSING_FILES[judged.verdict.blessed]), '')


def _mark(
    blessing: types.Artifact,
    verdict: Verdict,
    candidate: types.Artifact,
    baseline: types.Artifact | None,
) -> None:
    """The custom properties that TFX's Evaluator sets: Pusher and LatestBlessedModelStrategy read them."""
    blessing.set_string_custom_property(tfx_names.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, candidate.uri)
    blessing.set_int_custom_property(tfx_names.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, candidate.id)
    if baseline is not None:
        blessing.set_string_custom_property(tfx_names.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(tfx_names.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
    if verdict.reasons:
        blessing.set_string_custom_property(
            tfx_names.ARTIFACT_PROPERTY_BLESSING_MESSAGE_KEY, '; '.join(verdict.reasons)
        )
    blessing.set_int_custom_property(
        tfx_names.ARTIFACT_PROPERTY_BLESSED_KEY,
        tfx_names.BLESSED_VALUE if verdict.blessed else tfx_names.NOT_BLESSED_VALUE,
    )


def _optional(input_dict: dict[str, list[types.Artifact]], key: str) -> types.Artifact | None:
    found = input_dict.get(key)
    return artifact_utils.get_single_instance(found) if found else None


def _write(path: str, text: str) -> None:
    with fileio.open(path, 'w') as file:
        file.write(text)
