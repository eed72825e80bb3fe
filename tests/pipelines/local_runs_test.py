"""Runs on this machine: each has its own steps, and what a run that was killed left open is closed."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from typing import Any

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.console import Progress
from tfx_edge.pipelines.local import run_locally
from tfx_edge.pipelines.run_records import last_run, steps_of_run
from tfx_edge.pipelines.user_pipeline import PipelineOptions, build_pipeline

pytestmark = pytest.mark.slow

# Components of a user's own: one that writes a draft beside its output, ends as it is told, or leaves a temporary file.
PIPELINE = """
import os
import pathlib
import tempfile

from tfx import v1 as tfx


@tfx.dsl.components.component
def Writer(
    model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Model],
    end: tfx.dsl.components.Parameter[str],
):
    for draft in (f'{model.uri}.unfinished', f'{model.uri}/Format-Serving.unfinished'):
        os.makedirs(draft)
        pathlib.Path(draft, 'half').write_text('half')
    pathlib.Path(model.uri, 'whole').write_text('whole')
    state = pathlib.Path(model.uri).parent / '.unfinished' / 'state'
    state.mkdir(parents=True, exist_ok=True)
    pathlib.Path(tempfile.mkdtemp(), 'left').write_text('left')
    if end == 'killed':
        os.kill(os.getpid(), 9)
    if end == 'interrupted':
        raise KeyboardInterrupt


def create_pipeline(pipeline_root, end='', pipeline_name='runs'):
    return tfx.dsl.Pipeline(pipeline_name, pipeline_root, components=[Writer(end=end)])
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """With the file of a pipeline."""
    folder = tmp_path_factory.mktemp('runs')
    (folder / 'my_runs.py').write_text(PIPELINE)
    return folder


def pipeline(folder: pathlib.Path, root: pathlib.Path, end: str = '') -> Any:
    options = PipelineOptions(pipeline_root=str(root), parameters=(f'end={end}',))
    return build_pipeline(str(folder / 'my_runs.py'), options)


def executions(root: pathlib.Path) -> list[tuple[int, int]]:
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(root / 'metadata.sqlite')
    store = metadata_store.MetadataStore(config)
    return sorted((execution.id, execution.last_known_state) for execution in store.get_executions())


def drafts(root: pathlib.Path) -> list[str]:
    return sorted(
        str(path.relative_to(root))
        for path in (root / 'Writer').rglob('?*.unfinished')
        if 'link' not in path.parts
    )


def run(made: Any) -> str:
    return run_locally(made, Progress(io.StringIO()))


def test_the_steps_of_a_run_are_its_own_whichever_runs_follow(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    made = [pipeline(folder, tmp_path) for _ in range(2)]
    runs = [run(each) for each in made]
    connection = made[0].metadata_connection_config
    uris = [steps_of_run(connection, each)['Writer'].output('model').uri for each in runs]
    assert uris == [str(tmp_path / 'Writer' / 'model' / number) for number in ('1', '2')]
    assert last_run(connection, 'runs')['Writer'].output('model').uri == uris[1]
    with pytest.raises(EdgeError, match="there is no run 'absent' in this ML Metadata"):
        steps_of_run(connection, 'absent')


def test_a_killed_run_is_closed_by_the_next_and_its_drafts_removed(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    command = [str(pathlib.Path(sys.executable).with_name('tfx-edge')), 'run', 'my_runs.py']
    killed = subprocess.run(
        [*command, '--pipeline-root', str(tmp_path), '--set', 'end=killed', '--log', str(tmp_path / 'log')],
        cwd=folder,
    )
    assert killed.returncode == -signal.SIGKILL
    assert executions(tmp_path) == [(1, mlmd.Execution.RUNNING)]
    assert len(drafts(tmp_path)) == 2
    elsewhere = tmp_path.parent / f'{tmp_path.name}-elsewhere' / 'mine.unfinished'
    elsewhere.mkdir(parents=True)
    (tmp_path / 'Writer/model/1/link').symlink_to(elsewhere.parent)
    run(pipeline(folder, tmp_path))
    assert executions(tmp_path) == [(1, mlmd.Execution.FAILED), (2, mlmd.Execution.COMPLETE)]
    # Those of the killed step are gone; what it had finished stays, and the state from which a step goes on.
    assert drafts(tmp_path) == ['Writer/model/2.unfinished', 'Writer/model/2/Format-Serving.unfinished']
    assert (tmp_path / 'Writer/model/1/whole').exists()
    assert (tmp_path / 'Writer/model/.unfinished/state').is_dir()
    assert elsewhere.is_dir()
    assert not os.listdir(tmp_path / '.runs')


def test_a_run_that_goes_on_is_not_closed_by_another(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    from tfx_edge.pipelines.local_runs import LocalRun, open_run

    made = pipeline(folder, tmp_path)
    connection = made.metadata_connection_config
    store = metadata_store.MetadataStore(connection)
    first = LocalRun(made)
    first.start()
    (execution,) = store.get_executions()
    with open_run(str(tmp_path), first.id, connection):
        execution.last_known_state = mlmd.Execution.RUNNING
        store.put_executions([execution])
        run(pipeline(folder, tmp_path))
        assert executions(tmp_path) == [(1, mlmd.Execution.RUNNING), (2, mlmd.Execution.COMPLETE)]
    assert executions(tmp_path)[0] == (1, mlmd.Execution.FAILED)


def test_an_interrupted_run_is_closed_and_no_temporary_file_is_left(
    folder: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(temporary))
    with contextlib.suppress(KeyboardInterrupt):
        run(pipeline(folder, tmp_path, 'interrupted'))
    assert executions(tmp_path) == [(1, mlmd.Execution.FAILED)]
    assert not drafts(tmp_path)
    assert not os.listdir(temporary)
    assert tempfile.gettempdir() == str(temporary)
