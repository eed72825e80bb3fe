"""Kubeflow's cache and data that change at the same address: ExampleGen runs anew if, and only if, they did."""

from __future__ import annotations

import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from google.protobuf import struct_pb2
from tfx import v1 as tfx

from tests.pipelines.kubeflow.cluster import Cluster
from tests.pipelines.kubeflow.launcher import Launcher
from tests.pipelines.kubeflow.object_store import ObjectStore, new_bucket, object_store
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow import container_step, data_fingerprint
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.kubeflow.mounts import ROOT_VARIABLE
from tfx_edge.pipelines.kubeflow.pods import PodOptions

pytestmark = pytest.mark.slow

BEAM_ARGS = ['--runner=FnApiRunner', '--direct_running_mode=in_memory']
TASK = 'ImportExampleGen-data'


@pytest.fixture(scope='module')
def server() -> Iterator[ObjectStore]:
    with object_store() as made:
        yield made


@pytest.fixture
def store(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    server.reach(monkeypatch)
    return server


def compiled(
    root: str,
    base: str,
    pattern: str = 'eval/*',
    pods: PodOptions | None = None,
    name: str = 'ImportExampleGen',
) -> str:
    splits = [tfx.proto.Input.Split(name='eval', pattern=pattern)]
    example_gen = tfx.components.ImportExampleGen(base, input_config=tfx.proto.Input(splits=splits))
    example_gen.with_beam_pipeline_args(BEAM_ARGS)
    pipeline = tfx.dsl.Pipeline('small', root, components=[example_gen.with_id(name)], enable_cache=True)
    return as_text(compile_pipeline(pipeline, 'registry/small:1', 'kfp', pods or PodOptions()), 'kfp')


def test_example_gen_is_cached_until_a_byte_or_a_file_changes(
    server: ObjectStore, tmp_path: pathlib.Path, digits_examples: pathlib.Path
) -> None:
    bucket = new_bucket()
    file = tmp_path / 'file'
    shutil.copy(next((digits_examples / 'Split-eval').iterdir()), file)
    server.upload(file, f's3://{bucket}/data/eval/one.gz')
    pods = PodOptions(variables=(f'AWS_ENDPOINT_URL={server.endpoint}', 'AWS_DEFAULT_REGION=us-east-1'))
    text = compiled(f'minio://{bucket}/root', f's3://{bucket}/data', pods=pods)
    cluster = Cluster(
        server, tmp_path / 'cluster', environment={'AWS_ACCESS_KEY_ID': 'u', 'AWS_SECRET_ACCESS_KEY': 's'}
    )
    assert cluster.run(text).executed == [TASK, 'ImportExampleGen']

    # The same bytes, written again.
    server.upload(file, f's3://{bucket}/data/eval/one.gz')
    again = cluster.run(text)
    assert (again.executed, again.cached) == ([TASK], ['ImportExampleGen'])

    # The byte of gzip's header that names the operating system: the records stay what they are.
    content = bytearray(file.read_bytes())
    content[9] ^= 1
    file.write_bytes(content)
    server.upload(file, f's3://{bucket}/data/eval/one.gz')
    changed = cluster.run(text)
    assert changed.executed == [TASK, 'ImportExampleGen']
    log = server.read(changed.artifacts[TASK, 'executor-logs']['uri']).decode()
    assert 'image version 1' in log
    assert 'split eval: 1 files' in log

    server.upload(file, f's3://{bucket}/data/eval/two.gz')
    assert cluster.run(text).executed == [TASK, 'ImportExampleGen']


def parameters(base: str | pathlib.Path, pattern: str = 'eval/*') -> dict[str, struct_pb2.Value]:
    spec = yaml.safe_load(compiled('minio://bucket/root', str(base), pattern))
    given = Launcher(spec, pathlib.Path('/pod')).executor_input(TASK)['inputs']['parameterValues']
    return {name: struct_pb2.Value(string_value=value) for name, value in given.items()}


def folder_with(tmp_path: pathlib.Path, *names: str) -> pathlib.Path:
    for name in names:
        file = tmp_path / 'data' / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('12345')
    return tmp_path / 'data'


@pytest.mark.parametrize(
    ('change', 'same'),
    [
        ('nothing', True),
        ('another folder', True),
        ('a byte', False),
        ('one more file', False),
        ('one file less', False),
        ('another name', False),
    ],
)
def test_fingerprint_of_files_on_a_volume(change: str, same: bool, tmp_path: pathlib.Path) -> None:
    base = folder_with(tmp_path, 'eval/one', 'eval/two', 'train/one')
    given = parameters(base)
    before = data_fingerprint.data_fingerprint(given)
    # Linux writes the time of its last tick.
    time.sleep(0.02)
    if change == 'another folder':
        (base / 'train' / 'more').touch()
    elif change == 'a byte':
        (base / 'eval' / 'one').write_text('12346')
    elif change == 'one more file':
        (base / 'eval' / 'three').touch()
    elif change == 'one file less':
        (base / 'eval' / 'two').unlink()
    elif change == 'another name':
        os.rename(base / 'eval' / 'two', base / 'eval' / 'three')
    assert (data_fingerprint.data_fingerprint(given) == before) is same


def test_fingerprint_is_that_of_the_newest_span(tmp_path: pathlib.Path) -> None:
    given = parameters(folder_with(tmp_path, 'span-1/one', 'span-2/one'), 'span-{SPAN}/*')
    before = data_fingerprint.data_fingerprint(given)
    assert before.startswith('span 2, version None\nsplit eval: 1 files, 5 bytes, ')
    folder_with(tmp_path, 'span-1/two')
    assert data_fingerprint.data_fingerprint(given) == before
    folder_with(tmp_path, 'span-3/one')
    assert data_fingerprint.data_fingerprint(given).startswith('span 3, ')


def test_fingerprint_of_a_store_is_of_content_not_of_time(store: ObjectStore, tmp_path: pathlib.Path) -> None:
    folder = folder_with(tmp_path, 'eval/one')
    uri = f'minio://{new_bucket()}/data'
    store.upload(folder, uri)
    given = parameters(uri)
    before = data_fingerprint.data_fingerprint(given)
    store.upload(folder, uri)
    assert data_fingerprint.data_fingerprint(given) == before
    # As long, and written in the same second.
    (folder / 'eval' / 'one').write_text('12346')
    store.upload(folder, uri)
    assert data_fingerprint.data_fingerprint(given) != before


@pytest.mark.parametrize('place', ['volume', 'store'])
def test_no_data_are_reported_before_any_step_works(
    place: str, store: ObjectStore, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = {'volume': str(tmp_path), 'store': f's3://{new_bucket()}/data'}[place]
    if place == 'store':
        store.upload(folder_with(tmp_path, 'other/one'), base)
    made = Launcher(yaml.safe_load(compiled('minio://b/r', base)), tmp_path / 'pod')
    assert data_fingerprint.main(made.arguments(TASK)) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        f"tfx-edge: the look at the data failed: no file matches 'eval/*' in {base}; correct the ExampleGen's "
        'input_base or the pattern of its split.'
    )
    assert not (tmp_path / 'pod' / 'outputs').exists()


def test_data_that_change_while_a_run_begins_are_not_taken_for_the_earlier_ones(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = folder_with(tmp_path, 'eval/one')
    made = Launcher(yaml.safe_load(compiled('minio://b/r', str(base))), tmp_path / 'pod')
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / 'pod'))
    assert data_fingerprint.main(made.arguments(TASK)) == 0
    made.publish(TASK)
    folder_with(tmp_path, 'eval/two')
    assert container_step.main(made.arguments('ImportExampleGen')) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert f'the data at {base} changed while the run began' in last
    assert '--no-cache' in last


def task_of(text: str, name: str) -> dict[str, Any]:
    return yaml.safe_load(text)['root']['dag']['tasks'][name]


def test_task_has_the_volumes_and_variables_of_the_steps_and_is_never_cached() -> None:
    pods = PodOptions(
        volumes=('data:/data',),
        variables=('AWS_ENDPOINT_URL=x',),
        secret_variables=('AWS_ACCESS_KEY_ID=a:b',),
    )
    spec, platform = yaml.safe_load_all(compiled('minio://b/r', '/data', pods=pods))
    assert task_of(compiled('minio://b/r', '/data'), TASK)['cachingOptions'] == {}
    container = spec['deploymentSpec']['executors'][f'{TASK}_executor']['container']
    assert container['env'] == [{'name': 'AWS_ENDPOINT_URL', 'value': 'x'}]
    assert container['image'] == 'registry/small:1'
    executors = platform['platforms']['kubernetes']['deploymentSpec']['executors']
    assert executors[f'{TASK}_executor'] == executors['ImportExampleGen_executor']


def test_name_that_leaves_none_for_the_task_is_refused() -> None:
    with pytest.raises(EdgeError, match='longer id than 116 characters'):
        compiled('minio://b/r', '/data', name='x' * 117)


def test_steps_have_the_version_of_their_image_in_their_arguments() -> None:
    spec = yaml.safe_load(compiled('minio://b/r', '/data'))
    for executor in spec['deploymentSpec']['executors'].values():
        arguments = executor['container']['args']
        assert arguments[arguments.index('--image_version') + 1] == '1'
