"""EdgeSelector's executor on real files: what it copies, blesses and reports."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from tfx.dsl.components.base import base_executor
from tfx.types import channel_utils, standard_artifacts

from tests.components.core.selection.reports import report
from tests.components.executed import artifact
from tfx_edge import proto
from tfx_edge.components import EdgeSelector
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.model_files import sizes
from tfx_edge.components.core.selection.route import Route
from tfx_edge.components.tfx_interface.artifact_types import EdgeEvaluation
from tfx_edge.components.tfx_interface.missing_steps import write_missing_steps

pytestmark = pytest.mark.slow

MISSED = 'max_zip_bytes: 20000, limit 1000'


def model(folder: pathlib.Path, content: bytes, number: int) -> Any:
    made = artifact(standard_artifacts.Model, folder)
    made.id = number
    (folder / 'Format-Serving').mkdir(parents=True)
    (folder / 'Format-Serving' / 'tflite').write_bytes(content)
    (folder / 'Format-Serving' / 'tflite_micro').write_bytes(b'micro of ' + str(number).encode())
    return made


def evaluation(folder: pathlib.Path, content: bytes, accuracy: float, reasons: tuple[str, ...] = ()) -> Any:
    made = artifact(EdgeEvaluation, folder)
    folder.mkdir()
    file = {
        'file_bytes': sizes.file_bytes(content),
        'zip_bytes': sizes.zip_bytes(content),
        'activation_bytes': 3072,
    }
    (folder / 'report.json').write_text(json.dumps(report(accuracy, reasons=reasons, file=file)))
    return made


def select(
    folder: pathlib.Path,
    pairs: list[tuple[Any, Any]],
    selection: proto.Selection | None = None,
    routes: list[Any] | None = None,
) -> dict[str, Any]:
    """Runs the executor; an input of None did not arrive."""
    channels = [[channel_utils.as_channel([given]) if given else None for given in pair] for pair in pairs]
    types = (standard_artifacts.Model, EdgeEvaluation)
    empty = [channel_utils.as_channel([artifact(kind, folder / 'absent')]) for kind in types]
    made = EdgeSelector(
        candidates=[candidate or empty[0] for candidate, _ in channels],
        evaluations=[found or empty[1] for _, found in channels],
        selection=selection,
        routes=routes or [f'route{place}' for place in range(len(pairs))],
    )
    inputs = {
        f'{kind}_{place}': [given] if given else []
        for place, pair in enumerate(pairs)
        for kind, given in zip(('candidate', 'evaluation'), pair, strict=True)
    }
    outputs = {
        key: [artifact(channel.type, folder / 'EdgeSelector' / key / '9')]
        for key, channel in made.outputs.items()
    }
    context = base_executor.BaseExecutor.Context(tmp_dir=str(folder), unique_id='1')
    made.executor_spec.executor_class(context).Do(inputs, outputs, made.exec_properties)
    return {key: value[0] for key, value in outputs.items()}


@pytest.fixture
def pairs(tmp_path, digits_float, digits_int8):
    """A float file that is larger and better, and an int8 file."""

    def make(*reasons: tuple[str, ...]) -> list[tuple[Any, Any]]:
        files = ((digits_float, 0.98), (digits_int8, 0.97))
        return [
            (
                model(tmp_path / f'model{place}', content, 11 + place),
                evaluation(tmp_path / f'report{place}', content, accuracy, missed),
            )
            for place, ((content, accuracy), missed) in enumerate(
                zip(files, reasons or ((), ()), strict=True)
            )
        ]

    return make


def listed(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob('*') if path.is_file())


def chosen(outputs: dict[str, Any]) -> dict[str, Any]:
    return json.loads((pathlib.Path(outputs['selection'].uri) / 'selection.json').read_text())


def test_the_smaller_file_is_copied_whole_and_blessed(tmp_path, pairs, digits_int8):
    outputs = select(tmp_path, pairs())
    assert listed(outputs['model'].uri) == ['Format-Serving/tflite', 'Format-Serving/tflite_micro']
    served = pathlib.Path(outputs['model'].uri) / 'Format-Serving'
    assert (served / 'tflite').read_bytes() == digits_int8
    assert (served / 'tflite_micro').read_bytes() == b'micro of 12'
    assert listed(outputs['blessing'].uri) == ['BLESSED']
    assert outputs['blessing'].get_int_custom_property('blessed') == 1
    assert outputs['blessing'].get_int_custom_property('current_model_id') == 12
    assert outputs['blessing'].get_string_custom_property('current_model') == str(tmp_path / 'model1')
    assert listed(outputs['selection'].uri) == ['selection.html', 'selection.json']
    assert (chosen(outputs)['chosen'], chosen(outputs)['verdict']) == ('route1', 'BLESSED')
    assert outputs['model'].get_string_custom_property('tfx_edge_route') == 'route1'


def test_the_objective_decides(tmp_path, pairs):
    outputs = select(tmp_path, pairs(), proto.Selection(objective='METRIC'))
    assert chosen(outputs)['chosen'] == 'route0'


def test_where_none_holds_the_nearest_is_given_out_and_not_blessed(tmp_path, pairs):
    outputs = select(tmp_path, pairs((MISSED, 'x'), (MISSED,)))
    assert listed(outputs['blessing'].uri) == ['NOT_BLESSED']
    assert outputs['blessing'].get_int_custom_property('blessed') == 0
    assert outputs['blessing'].get_string_custom_property('blessing_message') == MISSED
    assert (chosen(outputs)['chosen'], chosen(outputs)['verdict']) == ('route1', 'NOT_BLESSED')
    assert listed(outputs['model'].uri) == ['Format-Serving/tflite', 'Format-Serving/tflite_micro']


@pytest.mark.parametrize('absent', [0, 1])
def test_a_candidate_that_did_not_arrive_is_named_with_the_step_that_failed(tmp_path, pairs, absent):
    first, second = pairs()
    lost = (None, None) if absent == 0 else (second[0], None)
    write_missing_steps(str(tmp_path), 'run', {'Pruner-zeros50': 'EdgeError: no space'})
    routes = [
        Route('whole', components=('Q0',)),
        Route('lost', components=('Pruner-zeros50', 'Q1')),
    ]
    outputs = select(tmp_path, [first, lost], routes=routes)
    found = chosen(outputs)
    assert found['chosen'] == 'whole'
    assert found['candidates'][1]['reasons'] == ['Pruner-zeros50: EdgeError: no space']
    assert found['notes'] == ['1 of 2 candidates did not arrive: lost; the choice is among the others']


def test_without_any_candidate_nothing_is_written(tmp_path):
    with pytest.raises(EdgeError, match='no candidate arrived'):
        select(tmp_path, [(None, None)])
    assert not (tmp_path / 'EdgeSelector').exists()


def test_the_evaluation_of_another_file_is_refused(tmp_path, pairs):
    first, second = pairs()
    with pytest.raises(
        EdgeError, match=r"evaluation of candidate 'route0' is of another file .* in the order"
    ):
        select(tmp_path, [(first[0], second[1]), (second[0], first[1])])
    assert not (tmp_path / 'EdgeSelector').exists()


@pytest.mark.parametrize('text', ['', '[]', '{"format_version": 2}', None])
def test_a_report_that_cannot_be_read_is_refused(tmp_path, pairs, text):
    first, second = pairs()
    path = tmp_path / 'report1' / 'report.json'
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(EdgeError, match="cannot be read as EdgeEvaluator's report of candidate 'route1'"):
        select(tmp_path, [first, second])


def test_a_candidate_without_a_file_is_refused(tmp_path, pairs):
    first, second = pairs()
    (tmp_path / 'model0' / 'Format-Serving' / 'tflite').unlink()
    with pytest.raises(EdgeError, match=r"candidate 'route0' holds no \.tflite file"):
        select(tmp_path, [first, second])


def test_the_same_inputs_give_the_same_bytes(tmp_path, pairs):
    given = pairs()
    written = []
    for _ in range(2):
        outputs = select(tmp_path, given)
        folder = pathlib.Path(outputs['selection'].uri)
        written.append([(folder / name).read_bytes() for name in ('selection.json', 'selection.html')])
    assert written[0] == written[1]
