"""A step as Kubeflow's launcher starts it: artifacts on its mounts, an answer to publish, one line when it fails."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, MutableSequence
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor as protobuf_descriptor
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tfx import v1 as tfx
from tfx.orchestration import data_types

from tests.pipelines.kubeflow.launcher import Launcher
from tests.pipelines.kubeflow.recorder import MESSAGES, Recorder
from tfx_edge import proto
from tfx_edge.components.tfx_interface import exec_properties
from tfx_edge.pipelines.kubeflow import container_step
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.kubeflow.mounts import ROOT_VARIABLE, Mounts

pytestmark = pytest.mark.slow

ROOT = 'minio://bucket/root'


def launcher(folder: pathlib.Path, *components: Any, root: str = ROOT, **parameters: Any) -> Launcher:
    pipeline = tfx.dsl.Pipeline('small', root, components=list(components))
    text = as_text(compile_pipeline(pipeline, 'image', 'kfp'), 'kfp')
    return Launcher(yaml.safe_load(text), folder, parameters)


@pytest.fixture
def mount_root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    return tmp_path


def given_to(launcher: Launcher, task: str) -> Mapping[str, Any]:
    path = pathlib.Path(launcher.mounts.path(launcher.artifacts[task, 'recorded']['uri']))
    return json.loads((path / 'given.json').read_text())


@pytest.mark.parametrize('root', [ROOT, 's3://bucket/root', 'gs://bucket/root'])
def test_artifacts_are_on_the_mounts_and_answered_by_uri(root: str, mount_root: pathlib.Path) -> None:
    first = Recorder().with_id('First')
    second = Recorder(model=first.outputs['recorded']).with_id('Second')
    made = launcher(mount_root, first, second, root=root)
    for task in ('First', 'Second'):
        assert container_step.main(made.arguments(task)) == 0
        made.publish(task)
    answer = made.artifacts['First', 'recorded']
    uri = f'{root}/small/run/First/salt/recorded'
    assert answer['uri'] == uri
    assert answer['metadata']['blessed'] == 1
    assert answer['metadata']['current_model'] == f'{uri}/inside'
    assert answer['metadata']['elsewhere'] == '/data/x'
    assert 'nothing' not in answer['metadata']
    assert made.artifacts['Second', 'recorded']['metadata']['current_model_id'] == answer['name']
    given = given_to(made, 'Second')
    folder = {'minio': 'minio', 's3': 's3', 'gs': 'gcs'}[root.partition(':')[0]]
    assert given['inputs'] == {
        'model': [f'{mount_root}/{folder}/bucket/root/small/run/First/salt/recorded', 'Model']
    }
    assert given['outputs'] == ['recorded']


def test_artifacts_stay_at_their_uris_where_tfx_reads_them_itself(tmp_path: pathlib.Path) -> None:
    first = Recorder().with_id('First')
    made = launcher(tmp_path, first, Recorder(model=first.outputs['recorded']).with_id('Second'))
    made.artifacts['First', 'recorded'] = {'name': '1', 'uri': 'gs://bucket/model', 'metadata': {}}
    place = tmp_path / 'place'
    arguments = [part.replace(ROOT, str(place)) for part in made.arguments('Second')]
    arguments[arguments.index('mounts')] = 'uris'
    recorded = place / 'small' / 'run' / 'Second' / 'salt' / 'recorded'
    recorded.mkdir(parents=True)
    assert container_step.main(arguments) == 0
    (answer,) = json.loads(made.output_file('Second').read_text())['artifacts']['recorded']['artifacts']
    assert answer['uri'] == str(recorded)
    given = json.loads((recorded / 'given.json').read_text())
    assert given['inputs'] == {'model': ['gs://bucket/model', 'Model']}


def test_artifacts_are_in_the_shared_folder_while_the_step_runs(
    mount_root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = mount_root / 'shared'
    first = Recorder().with_id('First')
    second = Recorder(model=first.outputs['recorded']).with_id('Second')
    failing = Recorder(model=first.outputs['recorded'], fail='the reason').with_id('Failing')
    made = launcher(mount_root, first, second, failing)
    flags = ['--shared_folder', str(shared)]
    assert container_step.main([*made.arguments('First'), *flags]) == 1
    assert f'the shared folder {shared} cannot be written' in capsys.readouterr().err.splitlines()[-1]
    shared.mkdir()
    for task in ('First', 'Second'):
        assert container_step.main([*made.arguments(task), *flags]) == 0
        made.publish(task)
    assert container_step.main([*made.arguments('Failing'), *flags]) == 1
    assert not list(shared.iterdir())
    assert made.artifacts['Second', 'recorded']['uri'] == f'{ROOT}/small/run/Second/salt/recorded'
    assert made.artifacts['Second', 'recorded']['metadata']['current_model'].startswith(ROOT)
    given = given_to(made, 'Second')
    assert pathlib.Path(given['inputs']['model'][0]).is_relative_to(shared)
    assert given['files'] == {'model': ['given.json']}
    assert not made.output_file('Failing').exists()


def test_model_that_never_came_to_the_shared_folder_is_reported(
    mount_root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Workers that do not see the folder write into their own, and report no error."""
    shared = mount_root / 'shared'
    shared.mkdir()
    made = launcher(mount_root, Recorder(elsewhere='yes').with_id('First'))
    assert container_step.main([*made.arguments('First'), '--shared_folder', str(shared)]) == 1
    message = f"wrote no file for 'recorded': Beam's workers do not see {shared}; mount the volume"
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not made.output_file('First').exists()
    assert not list(shared.iterdir())


def test_step_that_fails_ends_its_log_with_one_line(
    mount_root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = launcher(mount_root, Recorder(fail='the reason').with_id('First'))
    assert container_step.main(made.arguments('First')) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith('RecorderExecutor failed: ValueError: the reason')
    assert last.startswith('tfx-edge: ')
    assert not made.output_file('First').exists()


@pytest.mark.parametrize(
    ('flag', 'text', 'message'),
    [
        ('--json_serialized_invocation_args', 'no json', 'is not the JSON of ExecutorInput'),
        ('--json_serialized_inputs_spec_args', 'no json', 'is not the JSON of ComponentInputsSpec'),
        ('--json_serialized_inputs_spec_args', '{}', "input 'model' has no artifact type"),
    ],
)
def test_wrong_call_is_reported(
    flag: str, text: str, message: str, mount_root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Recorder().with_id('First')
    made = launcher(mount_root, first, Recorder(model=first.outputs['recorded']).with_id('Second'))
    made.artifacts['First', 'recorded'] = {'name': '1', 'uri': f'{ROOT}/first', 'metadata': {}}
    arguments = made.arguments('Second')
    arguments[arguments.index(flag) + 1] = text
    assert container_step.main(arguments) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_output_type_that_is_not_in_the_image_is_reported(
    mount_root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = launcher(mount_root, Recorder().with_id('First'))
    arguments = [part.replace('tfx.Model', 'absent_package.Model') for part in made.arguments('First')]
    assert container_step.main(arguments) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert 'absent_package' in last
    assert 'put its package into the image' in last


def test_example_gen_runs_in_a_process_of_its_own_with_its_driver(
    digits_examples: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    span = tmp_path / 'data' / 'span-7'
    span.parent.mkdir()
    span.symlink_to(digits_examples)
    splits = [tfx.proto.Input.Split(name='eval', pattern='span-{SPAN}/Split-eval/*')]
    example_gen = tfx.components.ImportExampleGen(
        str(span.parent), input_config=tfx.proto.Input(splits=splits)
    )
    example_gen.with_beam_pipeline_args(['--runner=FnApiRunner', '--direct_running_mode=in_memory'])
    made = launcher(tmp_path, example_gen)
    done = subprocess.run(
        [sys.executable, '-m', container_step.__name__, *made.arguments('ImportExampleGen')],
        env={**os.environ, ROOT_VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made.publish('ImportExampleGen')
    examples = made.artifacts['ImportExampleGen', 'examples']
    assert examples['metadata']['custom:span'] == 7
    assert examples['metadata']['split_names'] == '["train", "eval"]'
    assert 'input_fingerprint' in examples['metadata']
    files = list((pathlib.Path(made.mounts.path(examples['uri'])) / 'Split-eval').iterdir())
    assert files


def values(field: protobuf_descriptor.FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values of one field, whatever its type."""
    kinds = {
        field.CPPTYPE_BOOL: st.booleans(),
        field.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        field.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        field.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
        field.CPPTYPE_STRING: st.text(st.characters(exclude_categories=['Cs']), max_size=8),
    }
    if field.cpp_type == field.CPPTYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return kinds[field.cpp_type]


@st.composite
def filled(draw: st.DrawFn, message: Any) -> Any:
    """A message with any of its fields set, those inside of messages included."""
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()):
            continue
        entry = field.message_type
        repeated = isinstance(getattr(message, field.name), MutableSequence)
        if entry is not None and entry.GetOptions().map_entry:
            texts = values(entry.fields_by_name['key'])
            getattr(message, field.name).update(draw(st.dictionaries(texts, texts, max_size=2)))
        elif repeated and entry is not None:
            for _ in range(draw(st.integers(1, 2))):
                draw(filled(getattr(message, field.name).add()))
        elif repeated:
            getattr(message, field.name).extend(draw(st.lists(values(field), max_size=3)))
        elif entry is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            draw(filled(inner))
        else:
            setattr(message, field.name, draw(values(field)))
    return message


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_field_of_every_message_survives_the_way_through_json(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp('property')
    messages = {kind.__name__: data.draw(filled(kind()), label=kind.__name__) for kind in MESSAGES}
    plain = {
        'count': data.draw(st.integers(-(2**53), 2**53)),
        'share': data.draw(st.floats(allow_nan=False, allow_infinity=False)),
        'text': data.draw(st.text(st.characters(exclude_categories=['Cs']))),
    }
    texts = {
        name: exec_properties.encode(message, type(message), lambda _: None)
        for name, message in messages.items()
    }
    recorder = Recorder(
        **{f'constant_{name}': text for name, text in texts.items()},
        **{
            f'runtime_{name}': data_types.RuntimeParameter(name, str, default=text)
            for name, text in texts.items()
        },
        **plain,
    )
    made = launcher(folder, recorder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ROOT_VARIABLE, str(folder))
        assert container_step.main(made.arguments('Recorder')) == 0
    made.publish('Recorder')
    properties = given_to(made, 'Recorder')['properties']
    for name, message in messages.items():
        for way in ('constant', 'runtime'):
            assert exec_properties.decode(properties[f'{way}_{name}'], type(message)) == message
    assert {name: properties[name] for name in plain} == plain
    assert [type(properties[name]) for name in plain] == [int, float, str]


def test_run_gives_other_values_than_the_defaults(mount_root: pathlib.Path) -> None:
    parameter = data_types.RuntimeParameter('pruning', str, default='{}')
    chosen = json_format.MessageToJson(proto.Pruning(target_sparsity=0.9))
    made = launcher(mount_root, Recorder(runtime_Pruning=parameter), pruning=chosen)
    assert container_step.main(made.arguments('Recorder')) == 0
    made.publish('Recorder')
    assert given_to(made, 'Recorder')['properties']['runtime_Pruning'] == chosen


@given(
    scheme=st.sampled_from(['minio://', 's3://', 'gs://']),
    key=st.text('abc/. ', min_size=1),
    inside=st.text('abc/. '),
)
def test_every_path_becomes_its_uri_again(scheme: str, key: str, inside: str) -> None:
    mounts = Mounts('/root')
    path = mounts.path(f'{scheme}bucket/{key}')
    assert mounts.uri(path) == f'{scheme}bucket/{key}'
    assert mounts.uri(f'{path.rstrip("/")}/{inside}').startswith(f'{scheme}bucket/{key}'.rstrip('/'))
    assert mounts.uri('/elsewhere') == '/elsewhere'
    assert Mounts().path('/plain') == '/plain'
