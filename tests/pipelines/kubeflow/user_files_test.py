"""What a step's parameters name at s3:// or minio://: modules, data, and the place for a pushed model."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
import s3fs
import yaml
from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.orchestration import data_types

from tests.pipelines.kubeflow.launcher import Launcher
from tests.pipelines.kubeflow.object_store import ObjectStore, new_bucket, object_store
from tfx_edge import proto
from tfx_edge.components import Pruner
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow import container_step, object_store_files
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.kubeflow.mounts import ROOT_VARIABLE

pytestmark = pytest.mark.slow

TRAINER = """
import pathlib

def run_fn(fn_args):
    folder = pathlib.Path(fn_args.serving_model_dir)
    folder.mkdir(parents=True)
    (folder / 'made').write_text('by the user')
"""
TUNING = """
import keras

def optimizer_fn(num_steps):
    print('the optimizer of the user')
    return keras.optimizers.SGD(0.01)
"""


@pytest.fixture(scope='module')
def server() -> Iterator[ObjectStore]:
    with object_store() as made:
        yield made


@pytest.fixture
def store(server: ObjectStore, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / 'pod'))
    server.reach(monkeypatch)
    return server


@pytest.fixture
def bucket() -> str:
    return new_bucket()


def put(store: ObjectStore, uri: str, folder: pathlib.Path, text: str) -> str:
    file = folder / 'upload' / uri.rpartition('/')[2]
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    store.upload(file, uri)
    return uri


def launcher(folder: pathlib.Path, bucket: str, *components: Any) -> Launcher:
    pipeline = tfx.dsl.Pipeline('small', f'minio://{bucket}/root', components=list(components))
    text = as_text(compile_pipeline(pipeline, 'image', 'kfp'), 'kfp')
    return Launcher(yaml.safe_load(text), folder / 'pod')


def run(made: Launcher, task: str) -> pathlib.Path:
    """Runs a step and returns the folder of its model."""
    assert container_step.main(made.arguments(task)) == 0
    made.publish(task)
    return pathlib.Path(made.mounts.path(made.artifacts[task, 'model']['uri']))


@pytest.mark.parametrize('kind', ['file', 'uri', 'parameter'])
def test_trainer_runs_the_users_module(
    kind: str, store: ObjectStore, bucket: str, tmp_path: pathlib.Path
) -> None:
    uri = put(store, f's3://{bucket}/code/train.py', tmp_path, TRAINER)
    module = {
        'file': str(tmp_path / 'upload' / 'train.py'),
        'uri': uri,
        'parameter': data_types.RuntimeParameter('module', str, default=uri.replace('s3:', 'minio:')),
    }[kind]
    examples = tfx.dsl.Importer(f's3://{bucket}/x', tfx.types.standard_artifacts.Examples).with_id('Examples')
    trainer = tfx.components.Trainer(
        module_file=module,
        examples=examples.outputs['result'],
        train_args=tfx.proto.TrainArgs(num_steps=1),
        eval_args=tfx.proto.EvalArgs(),
    )
    made = launcher(tmp_path, bucket, examples, trainer)
    made.record('Examples', 'result', f's3://{bucket}/x', {'split_names': '["train", "eval"]'})
    assert (run(made, 'Trainer') / 'Format-Serving' / 'made').read_text() == 'by the user'
    wheels = store.keys(f's3://{bucket}/root/_wheels')
    assert len(wheels) == (0 if kind == 'parameter' else 1)


def test_pruner_runs_the_users_module(
    store: ObjectStore,
    bucket: str,
    tmp_path: pathlib.Path,
    digits_saved_model: pathlib.Path,
    digits_examples: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    uri = put(store, f's3://{bucket}/code/tuning.py', tmp_path, TUNING)
    importers = {
        name: tfx.dsl.Importer(f's3://{bucket}/{name}', kind).with_id(name)
        for name, kind in (
            ('Model', tfx.types.standard_artifacts.Model),
            ('Examples', tfx.types.standard_artifacts.Examples),
        )
    }
    pruner = Pruner(
        importers['Model'].outputs['result'],
        examples=importers['Examples'].outputs['result'],
        fine_tuning=proto.FineTuning(num_steps=2),
        module_file=uri,
    )
    made = launcher(tmp_path, bucket, *importers.values(), pruner)
    made.record('Model', 'result', f's3://{bucket}/Model', {'custom:tfx_version': '1.16.0'})
    made.record('Examples', 'result', f's3://{bucket}/Examples', {'split_names': '["train", "eval"]'})
    for name, folder in (('Model/Format-Serving', digits_saved_model), ('Examples', digits_examples)):
        place = pathlib.Path(made.mounts.path(f's3://{bucket}/{name}'))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(folder)
    assert (run(made, 'Pruner') / 'Format-Serving' / 'saved_model.pb').is_file()
    assert 'the optimizer of the user' in capfd.readouterr().out


@pytest.mark.parametrize('shared', [False, True])
def test_example_gen_reads_a_folder_of_the_store(
    shared: bool, store: ObjectStore, bucket: str, tmp_path: pathlib.Path, digits_examples: pathlib.Path
) -> None:
    store.upload(digits_examples / 'Split-eval', f'minio://{bucket}/data/span-7/eval')
    splits = [tfx.proto.Input.Split(name='eval', pattern='span-{SPAN}/eval/*')]
    example_gen = tfx.components.ImportExampleGen(
        f'minio://{bucket}/data', input_config=tfx.proto.Input(splits=splits)
    )
    example_gen.with_beam_pipeline_args(['--runner=FnApiRunner', '--direct_running_mode=in_memory'])
    made = launcher(tmp_path, bucket, example_gen)
    (tmp_path / 'shared').mkdir()
    flags = ['--shared_folder', str(tmp_path / 'shared')] if shared else []
    assert container_step.main([*made.arguments('ImportExampleGen'), *flags]) == 0
    made.publish('ImportExampleGen')
    examples = made.artifacts['ImportExampleGen', 'examples']
    assert examples['metadata']['custom:span'] == 7
    assert list((pathlib.Path(made.mounts.path(examples['uri'])) / 'Split-eval').iterdir())
    assert not list((tmp_path / 'shared').iterdir())


def test_pusher_pushes_to_the_store(store: ObjectStore, bucket: str, tmp_path: pathlib.Path) -> None:
    model = tfx.dsl.Importer(f's3://{bucket}/model', tfx.types.standard_artifacts.Model).with_id('Model')
    destination = tfx.proto.PushDestination(
        filesystem=tfx.proto.PushDestination.Filesystem(base_directory=f's3://{bucket}/serving')
    )
    put(store, f's3://{bucket}/serving/README', tmp_path, 'the bucket is there')
    made = launcher(
        tmp_path, bucket, model, tfx.components.Pusher(model.outputs['result'], push_destination=destination)
    )
    made.record('Model', 'result', f's3://{bucket}/model', {'custom:tfx_version': '1.16.0'})
    file = pathlib.Path(made.mounts.path(f's3://{bucket}/model')) / 'Format-Serving' / 'tflite'
    file.parent.mkdir(parents=True)
    file.write_bytes(b'model')
    assert container_step.main(made.arguments('Pusher')) == 0
    made.publish('Pusher')
    (pushed,) = set(store.keys(f's3://{bucket}/serving')) - {'README'}
    assert pushed.endswith('/tflite')
    assert store.read(f's3://{bucket}/serving/{pushed}') == b'model'
    assert made.artifacts['Pusher', 'pushed_model']['metadata']['pushed'] == 1


def test_files_are_what_was_written_until_they_are_removed(store: ObjectStore, bucket: str) -> None:
    object_store_files.register()
    store.upload(pathlib.Path(__file__), f's3://{bucket}/there')
    for scheme in ('s3', 'minio'):
        root = f'{scheme}://{bucket}/{scheme}'
        for name in ('a', 'b/c'):
            with fileio.open(f'{root}/{name}', 'wb') as file:
                file.write(name.encode())
        assert fileio.listdir(root) == ['a', 'b']
        assert fileio.glob(f'{root}/*/c') == [f'{root}/b/c']
        assert list(fileio.walk(root)) == [(root, ['b'], ['a']), (f'{root}/b', [], ['c'])]
        assert (fileio.isdir(f'{root}/b'), fileio.isdir(f'{root}/a')) == (True, False)
        fileio.rename(f'{root}/a', f'{root}/d')
        with pytest.raises(OSError, match='exists already'):
            fileio.copy(f'{root}/d', f'{root}/b/c')
        assert fileio.open(f'{root}/d', 'rb').read() == b'a'
        fileio.rmtree(root)
        assert not fileio.exists(root)
        with pytest.raises(fileio.NotFoundError, match=f'{root}/d does not exist'):
            fileio.open(f'{root}/d', 'rb')


def test_file_keeps_its_time_when_it_is_fetched(
    store: ObjectStore, bucket: str, tmp_path: pathlib.Path
) -> None:
    """TFX takes it for the fingerprint of ExampleGen's data."""
    object_store_files.register()
    uri = put(store, f's3://{bucket}/data/one', tmp_path, 'text')
    there = fileio.stat(uri)
    assert there.length == 4
    time.sleep(1.1)
    fetched = pathlib.Path(object_store_files.download(f's3://{bucket}/data', str(tmp_path / 'here'))) / 'one'
    assert fetched.stat().st_mtime_ns == there.mtime_nsec


def test_what_is_not_there_is_reported(store: ObjectStore, bucket: str, tmp_path: pathlib.Path) -> None:
    object_store_files.register()
    store.upload(pathlib.Path(__file__), f's3://{bucket}/there')
    with pytest.raises(EdgeError, match=rf's3://{bucket}/train\.py does not exist; correct the URI'):
        object_store_files.download(f's3://{bucket}/train.py', str(tmp_path))


@pytest.mark.parametrize('name', ['../evil', '../../evil', '/evil'])
def test_object_that_would_lie_outside_its_folder_is_refused(name: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(EdgeError, match='outside its folder; remove it'):
        object_store_files.place_inside(str(tmp_path / 'fetched'), '.', name)
    inside = object_store_files.place_inside(str(tmp_path / 'fetched'), 'a/..', 'b')
    assert inside == str(tmp_path / 'fetched' / 'b')


def test_store_that_does_not_answer_is_reported(
    store: ObjectStore, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store_files.register()
    monkeypatch.setenv('AWS_ENDPOINT_URL', 'http://127.0.0.1:1')
    monkeypatch.setenv('AWS_MAX_ATTEMPTS', '1')
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(EdgeError, match=r's3://bucket/train\.py cannot be reached .* check AWS_ENDPOINT_URL'):
        object_store_files.download('s3://bucket/train.py', str(tmp_path))


@pytest.mark.parametrize(
    ('uri', 'remedy'),
    [('minio://bucket/tune.py', 'write s3://'), ('az://code/tune.py', 'name a file on this machine')],
)
def test_module_file_that_tfx_cannot_pack_is_refused(uri: str, remedy: str, bucket: str) -> None:
    pruner = Pruner(
        tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        fine_tuning=proto.FineTuning(num_steps=0),
        module_file=uri,
    )
    pipeline = tfx.dsl.Pipeline('small', f'minio://{bucket}/root', components=[pruner])
    with pytest.raises(EdgeError, match=rf'Pruner.module_file is {uri}, .* {remedy}'):
        compile_pipeline(pipeline, 'image', 'kfp')
