"""The decision guide: its Python runs, its settings exist, its links lead somewhere."""

from __future__ import annotations

import pathlib
import re
import types
from typing import Any

import pytest
import tensorflow as tf
from tfx.dsl.components.base import base_component
from tfx.types import channel, standard_artifacts

from tfx_edge import components, proto
from tfx_edge.components.core.compression.training.user_functions import NAMES
from tfx_edge.pipelines import deployment_tree
from tfx_edge.pipelines.digits.pipeline import eval_config

pytestmark = pytest.mark.slow

GUIDE = pathlib.Path(__file__).parents[3] / 'pipelines/tree/README.md'
TEXT = GUIDE.read_text()
SNIPPETS = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
PROSE = re.sub(r'```.*?```', '', TEXT, flags=re.DOTALL)
SPANS = sorted({*re.findall(r'`([^`\n]+)`', PROSE)})
MESSAGES = {name: getattr(proto, name) for name in proto.__all__}
# What the guide names beside components, messages, their fields and values.
OTHER_NAMES = {*NAMES} | {
    *('features', 'teacher', 'student', 'own_loss.py'),
    *('examples', 'schema', 'transform_graph', 'calibration', 'module_file', 'module_path'),
    *('deployment_tree', 'edge', 'eval_config', 'ethos-u', 'selection.html', 'tflite-micro', 'web'),
    *('TFLM_DECODE', 'tflite_micro', 'train'),
}
# Routes of the default tree that the guide names.
ROUTE_NAMES = {'zeros50-clusters16-qat-int8'}


@pytest.fixture
def user_names(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for what the user's pipeline has, in a folder with the user's module."""
    (module,) = re.findall(r'```py\n(.*?)```', TEXT, re.DOTALL)
    (tmp_path / 'own_loss.py').write_text(module)
    monkeypatch.chdir(tmp_path)
    model = channel.Channel(type=standard_artifacts.Model, producer_component_id='Trainer')
    examples = channel.Channel(type=standard_artifacts.Examples, producer_component_id='ImportExampleGen')
    return {
        'trainer': types.SimpleNamespace(outputs={'model': model}),
        'example_gen': types.SimpleNamespace(outputs={'examples': examples}),
        'eval_config': eval_config(),
    }


def run(snippet: str, names: dict[str, Any]) -> list[base_component.BaseComponent]:
    """Runs a snippet, and returns the components that it made."""
    before = set(map(id, names.values()))
    exec(compile(snippet, str(GUIDE), 'exec'), names)
    made: list[base_component.BaseComponent] = []
    for value in names.values():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, base_component.BaseComponent) and id(value) not in before:
                made.append(each)
    return made


def test_each_snippet_makes_components_with_the_names_of_the_first(user_names: dict[str, Any]) -> None:
    assert len(SNIPPETS) >= 15
    made = []
    for number, snippet in enumerate(SNIPPETS):
        names = user_names if number == 0 else {**user_names}
        new = run(snippet, names)
        assert new, f'no component is made by:\n{snippet}'
        made += new
    assert {type(component).__name__ for component in made} == {*components.__all__}


def test_snippets_are_short() -> None:
    for snippet in SNIPPETS:
        assert len([line for line in snippet.splitlines() if line]) <= 13, snippet


def test_module_of_the_guide_has_a_loss_that_is_a_scalar(user_names: dict[str, Any]) -> None:
    names: dict[str, Any] = {}
    exec(pathlib.Path('own_loss.py').read_text(), names)
    teacher, student = tf.constant([[1.0, 0.0]]), tf.constant([[0.5, 0.5]])
    loss = names['loss_fn']({}, {'digit': teacher}, {'digit': student})
    assert loss.shape.rank == 0
    assert float(loss) == 0.5


def test_calls_in_the_text_are_possible() -> None:
    calls = [span for span in SPANS if span.startswith('proto.')]
    assert calls
    for call in calls:
        eval(call, {'proto': proto})


def test_every_name_in_the_text_is_known() -> None:
    known = OTHER_NAMES | ROUTE_NAMES | {*components.__all__, *MESSAGES}
    for message in MESSAGES.values():
        known |= names_of(message.DESCRIPTOR)
    targets = (GUIDE.parents[2] / 'Makefile').read_text()
    unknown = []
    for span in SPANS:
        if span.startswith('make '):
            target = span.removeprefix('make ')
            assert re.search(rf'(^|\s){re.escape(target)}(\s|:)', targets), f'no target {target} in Makefile'
        elif re.fullmatch(r'[A-Z]\w+\.\w+', span):
            message, field = span.split('.')
            assert field in MESSAGES[message].DESCRIPTOR.fields_by_name, span
        elif re.fullmatch(r'[\w.-]+', span) and span not in known:
            unknown.append(span)
    assert unknown == []


def test_routes_of_the_guide_are_routes(user_names: dict[str, Any]) -> None:
    assert all(name in TEXT for name in ROUTE_NAMES)
    trainer, example_gen = user_names['trainer'], user_names['example_gen']
    made = deployment_tree(trainer.outputs, example_gen.outputs['examples'], eval_config())
    ends = {component.id for component in made if component.id.startswith('EdgeEvaluator-')}
    assert {f'EdgeEvaluator-{name}' for name in ROUTE_NAMES} <= ends
    assert f'{len(ends)} routes' in TEXT


def names_of(descriptor: Any) -> set[str]:
    """Fields and values of enums of a message, and of those inside of it."""
    found = {field.name for field in descriptor.fields}
    for enum in descriptor.enum_types:
        found |= {value.name for value in enum.values}
    for nested in descriptor.nested_types:
        found |= names_of(nested)
    return found


def test_links_lead_to_files_and_headings_that_exist() -> None:
    links = re.findall(r'\]\(([^)\s]+)\)', PROSE)
    internal = [link for link in links if not link.startswith('https://')]
    assert internal
    for link in internal:
        path, _, anchor = link.partition('#')
        target = (GUIDE.parent / path).resolve() if path else GUIDE
        assert target.is_file(), link
        assert not anchor or anchor in headings(target), link


def headings(file: pathlib.Path) -> set[str]:
    """Anchors of a Markdown file's headings, as GitHub makes them."""
    text = re.sub(r'```.*?```', '', file.read_text(), flags=re.DOTALL)
    titles = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def test_every_leaf_is_reached_from_the_table() -> None:
    table = [line for line in PROSE.splitlines() if line.startswith('|')]
    reached = {*re.findall(r'\(#([^)]+)\)', '\n'.join(table))}
    assert headings(GUIDE) - reached == {'which-component', 'let-the-pipeline-decide'}
