"""A run of several steps with an object store between them: what it leaves, and how it goes on after a failure."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest
from tfx import v1 as tfx

from tests.pipelines.kubeflow.cluster import Cluster, StepFailed
from tests.pipelines.kubeflow.object_store import ObjectStore, new_bucket, object_store
from tests.pipelines.kubeflow.recorder import Recorder
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def store() -> Iterator[ObjectStore]:
    with object_store() as made:
        yield made


def test_failed_run_stops_and_the_next_goes_on_at_that_step(
    store: ObjectStore, tmp_path: pathlib.Path
) -> None:
    root = f'minio://{new_bucket()}/root'
    (tmp_path / 'model').write_text('imported')
    store.upload(tmp_path / 'model', f'{root}/model/file')
    imported = tfx.dsl.Importer(f'{root}/model', tfx.types.standard_artifacts.Model).with_id('Imported')
    first = Recorder(model=imported.outputs['result']).with_id('First')
    second = Recorder(model=first.outputs['recorded'], needs=str(tmp_path / 'needed')).with_id('Second')
    components = [imported, first, second]
    pipeline = tfx.dsl.Pipeline('small', root, components=components, enable_cache=True)
    text = as_text(compile_pipeline(pipeline, 'image', 'kfp'), 'kfp')
    cluster = Cluster(store, tmp_path / 'cluster')

    with pytest.raises(StepFailed) as failure:
        cluster.run(text)
    assert failure.value.task == 'Second'
    assert failure.value.last_line.startswith('tfx-edge: ')
    assert 'FileNotFoundError' in failure.value.last_line
    assert str(tmp_path / 'needed') in failure.value.last_line
    assert failure.value.run.executed == ['First']
    assert not store.keys(f'{root}/small/run-1/Second')

    (tmp_path / 'needed').touch()
    run = cluster.run(text)
    assert run.cached == ['First']
    assert run.executed == ['Second']
    given = json.loads(store.read(f'{run.artifacts["Second", "recorded"]["uri"]}/given.json'))
    # What the cached step made lies where the first run put it.
    uri = run.artifacts['First', 'recorded']['uri']
    assert uri == f'{root}/small/run-1/First/salt/recorded'
    assert given['inputs']['model'][0].endswith(uri.removeprefix('minio:/'))
    assert given['files'] == {'model': ['given.json']}
    assert b'Recorder' in store.read(run.artifacts['Second', 'executor-logs']['uri'])

    again = cluster.run(text)
    assert (again.executed, again.cached) == ([], ['First', 'Second'])
