"""EdgeSelector's executor: reports in, the chosen model, its blessing and the selection out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.model_files import sizes
from tfx_edge.components.core.evaluation.report.report_format import FORMAT_VERSION
from tfx_edge.components.core.log_once import begin_step
from tfx_edge.components.core.selection.candidate import Candidate
from tfx_edge.components.core.selection.choice import Choice, choose
from tfx_edge.components.core.selection.route import Route
from tfx_edge.components.core.selection.selection_page import render_page
from tfx_edge.components.core.selection.selection_report import SelectionReport, make_report, to_json
from tfx_edge.components.edge_evaluator.keys import REPORT_FILE
from tfx_edge.components.edge_selector import keys, options
from tfx_edge.components.tfx_interface import artifacts, tfx_names
from tfx_edge.components.tfx_interface import exec_properties as properties
from tfx_edge.components.tfx_interface.missing_steps import MISSING_PROPERTY, read_missing_steps

_LOG = logging.getLogger(__name__)

_BLESSING_FILES = {True: tfx_names.BLESSED_FILE_NAME, False: tfx_names.NOT_BLESSED_FILE_NAME}


class Executor(base_executor.BaseExecutor):
    """Runs EdgeSelector; see its class."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Chooses, and writes model, selection and blessing, or nothing at all.

        Args:
          input_dict: `candidate_0`, `evaluation_0` and so on; empty or absent where a branch failed.
          output_dict: `model`, `selection`, `blessing`.
          exec_properties: `selection_config` and `routes` as JSON.

        Raises:
          EdgeError: no candidate arrived, or an input is at fault.
        """
        begin_step()
        self._log_startup(input_dict, output_dict, exec_properties)
        config = properties.decode(exec_properties[keys.SELECTION_CONFIG], proto.Selection)
        outputs = {key: artifact_utils.get_single_instance(output_dict[key]) for key in _OUTPUTS}
        causes = read_missing_steps(outputs[keys.SELECTION].uri)
        candidates = [
            _candidate(place, route, input_dict, causes)
            for place, route in enumerate(options.decode_routes(exec_properties[keys.ROUTES]))
        ]
        aim = options.aim(config, candidates)
        choice = choose(candidates, aim)
        report = make_report(candidates, choice, aim)
        chosen = artifact_utils.get_single_instance(input_dict[keys.candidate(choice.place)])
        _write_all(outputs, chosen, choice, report)
        _mark(outputs, chosen, choice, candidates[choice.place])
        _tell(candidates, choice)


# The order of entering; they are finished in reverse, so that no blessing exists without the others.
_OUTPUTS = (keys.BLESSING, keys.SELECTION, artifacts.MODEL)


def _candidate(
    place: int,
    route: Route,
    input_dict: Mapping[str, list[types.Artifact]],
    causes: Mapping[str, str],
) -> Candidate:
    model, evaluation = (
        next(iter(input_dict.get(key) or ()), None) for key in (keys.candidate(place), keys.evaluation(place))
    )
    handed_on = [
        artifact.get_string_custom_property(MISSING_PROPERTY) for artifact in (model, evaluation) if artifact
    ]
    if any(handed_on):
        return Candidate(route, missing=list(dict.fromkeys(filter(None, handed_on))))
    if model is None or evaluation is None:
        missing = [f'{step}: {causes[step]}' for step in route.components if step in causes]
        absent = 'its evaluation' if model is not None else 'no model'
        return Candidate(
            route, missing=missing or [f'{absent} arrived: a step of its branch failed, whose log says why']
        )
    path = os.path.join(evaluation.uri, REPORT_FILE)
    report = _read_report(path, route)
    _check_same_file(report, artifacts.serving_model_path(model), route)
    return Candidate(route, report, path)


def _read_report(path: str, route: Route) -> Mapping[str, Any]:
    try:
        if not fileio.exists(path):
            raise ValueError('there is no such file')
        with fileio.open(path) as file:
            report = json.loads(file.read())
        if not isinstance(report, dict) or report.get('format_version') != FORMAT_VERSION:
            raise ValueError(f'its format version is not {FORMAT_VERSION}')
        return report
    except ValueError as error:
        raise EdgeError(
            f"{path} cannot be read as EdgeEvaluator's report of candidate {route.name!r} ({error}); give "
            "outputs['edge_evaluation'] of an EdgeEvaluator, and run it again."
        ) from error


def _check_same_file(report: Mapping[str, Any], folder: str, route: Route) -> None:
    """Refuses a report of another file than the candidate's."""
    path = os.path.join(folder, 'tflite')
    if not fileio.exists(path):
        raise EdgeError(
            f"candidate {route.name!r} holds no .tflite file (looked for {path}); give outputs['model'] of a "
            'TFLiteQuantizer.'
        )
    with fileio.open(path, 'rb') as file:
        content = file.read()
    found = {'file_bytes': sizes.file_bytes(content), 'zip_bytes': sizes.zip_bytes(content)}
    said = {key: report['file'][key] for key in found}
    if said != found:
        raise EdgeError(
            f'the evaluation of candidate {route.name!r} is of another file ({_told(said)}; the candidate has '
            f'{_told(found)}); give evaluations in the order of candidates.'
        )


def _told(bytes_: Mapping[str, int]) -> str:
    return ', '.join(f'{value:,} {key.replace("_", " ")}' for key, value in bytes_.items())


def _write_all(
    outputs: Mapping[str, types.Artifact], chosen: types.Artifact, choice: Choice, report: SelectionReport
) -> None:
    source = artifacts.serving_model_path(chosen)
    with contextlib.ExitStack() as stack:
        drafts = {key: stack.enter_context(artifacts.written_whole(outputs[key].uri)) for key in _OUTPUTS}
        io_utils.copy_dir(source, path_utils.serving_model_dir(drafts[artifacts.MODEL]))
        _write(os.path.join(drafts[keys.SELECTION], keys.REPORT_FILE), to_json(report))
        _write(os.path.join(drafts[keys.SELECTION], keys.PAGE_FILE), render_page(report))
        _write(os.path.join(drafts[keys.BLESSING], _BLESSING_FILES[choice.holds_all]), '')


def _mark(
    outputs: Mapping[str, types.Artifact], chosen: types.Artifact, choice: Choice, candidate: Candidate
) -> None:
    """The custom properties that Pusher and LatestBlessedModelStrategy read, and those of the chosen model."""
    blessing = outputs[keys.BLESSING]
    blessing.set_string_custom_property(tfx_names.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, chosen.uri)
    blessing.set_int_custom_property(tfx_names.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, chosen.id)
    if not choice.holds_all:
        blessing.set_string_custom_property(
            tfx_names.ARTIFACT_PROPERTY_BLESSING_MESSAGE_KEY, '; '.join(candidate.missed)
        )
    blessing.set_int_custom_property(
        tfx_names.ARTIFACT_PROPERTY_BLESSED_KEY,
        tfx_names.BLESSED_VALUE if choice.holds_all else tfx_names.NOT_BLESSED_VALUE,
    )
    outputs[artifacts.MODEL].set_string_custom_property(_ROUTE_PROPERTY, candidate.route.name)
    outputs[keys.SELECTION].set_string_custom_property(_ROUTE_PROPERTY, candidate.route.name)


_ROUTE_PROPERTY = 'tfx_edge_route'


def _tell(candidates: list[Candidate], choice: Choice) -> None:
    for place, candidate in enumerate(candidates):
        if place != choice.place:
            _LOG.info('%s: %s', candidate.route.name, choice.outcomes[place])
            for line in candidate.missed:
                _LOG.info('  %s', line)
    chosen = candidates[choice.place]
    level = logging.INFO if choice.holds_all else logging.WARNING
    _LOG.log(level, '%s is chosen: %s', chosen.route.name, choice.outcomes[choice.place])
    for line in chosen.missed:
        _LOG.warning('not blessed: %s', line)


def _write(path: str, text: str) -> None:
    with fileio.open(path, 'w') as file:
        file.write(text)
