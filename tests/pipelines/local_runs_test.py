"""Runs on this machine: their steps, what one that was killed left open, and which failures one goes on after."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from typing import Any

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.pipelines.console import Progress
from tfx_edge.pipelines.failure import one_line
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

# Two branches between a source and a selector. A file with the name of a step has it fail, until the file is gone.
BRANCHES = """
import json
import pathlib

from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import channel, component_spec
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.tfx_interface.missing_steps import read_missing_steps

In = tfx.dsl.components.InputArtifact
Out = tfx.dsl.components.OutputArtifact
Parameter = tfx.dsl.components.Parameter
Model = tfx.types.standard_artifacts.Model
MODEL = component_spec.ChannelParameter(type=Model)
MAYBE = component_spec.ChannelParameter(type=Model, optional=True, allow_empty=True)


def work(uri, faults):
    root, step, _, _ = uri.rsplit('/', 3)
    fault = pathlib.Path(faults, step)
    if fault.exists():
        big = bytearray(2**20)
        exec(fault.read_text())
    pathlib.Path(uri, 'made').write_text(step)


@tfx.dsl.components.component
def Source(model: Out[Model], faults: Parameter[str]):
    work(model.uri, faults)


@tfx.dsl.components.component
def Taker(source: In[Model], model: Out[Model], faults: Parameter[str]):
    work(model.uri, faults)


class Executor(base_executor.BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        uri = output_dict['model'][0].uri
        work(uri, exec_properties['faults'])
        arrived = sorted(key for key, artifacts in input_dict.items() if artifacts)
        said = {'arrived': arrived, 'failed': read_missing_steps(uri)}
        pathlib.Path(uri, 'said').write_text(json.dumps(said))


class Chooser(base_component.BaseComponent):
    SPEC_CLASS = component_spec.ComponentSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, faults, **models):
        class Spec(component_spec.ComponentSpec):
            PARAMETERS = {'faults': component_spec.ExecutionParameter(type=str)}
            INPUTS = {key: MODEL if key == 'needed' else MAYBE for key in models}
            OUTPUTS = {'model': MODEL}

        type(self).SPEC_CLASS = Spec
        inputs = {key: step.outputs['model'] for key, step in models.items()}
        super().__init__(Spec(faults=faults, model=channel.Channel(type=Model), **inputs))


class EdgeSelector(Chooser):
    pass


class Evaluator(Chooser):
    pass


def create_pipeline(pipeline_root, faults, baseline='', pipeline_name='branches', enable_cache=True):
    source = Source(faults=faults).with_id('source')
    a, b = (Taker(source=source.outputs['model'], faults=faults).with_id(name) for name in 'ab')
    evaluate_a = Taker(source=a.outputs['model'], faults=faults).with_id('evaluate_a')
    evaluate_b = Evaluator(faults, needed=b, **({'baseline': a} if baseline else {})).with_id('evaluate_b')
    push_a = Taker(source=a.outputs['model'], faults=faults).with_id('push_a')
    choose = EdgeSelector(
        faults, candidate_0=a, evaluation_0=evaluate_a, candidate_1=b, evaluation_1=evaluate_b
    ).with_id('choose')
    push = Taker(source=choose.outputs['model'], faults=faults).with_id('push')
    steps = [source, a, b, evaluate_a, evaluate_b, push_a, choose, push]
    return tfx.dsl.Pipeline(pipeline_name, pipeline_root, components=steps, enable_cache=enable_cache)
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """With the files of pipelines."""
    folder = tmp_path_factory.mktemp('runs')
    (folder / 'my_runs.py').write_text(PIPELINE)
    (folder / 'my_branches.py').write_text(BRANCHES)
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


class Branches:
    """Runs of the pipeline with branches.

    Attributes:
      lines: of the last run's progress, without the times.
    """

    def __init__(self, folder: pathlib.Path, root: pathlib.Path) -> None:
        self._file = folder / 'my_branches.py'
        self._faults = root / 'faults'
        self._faults.mkdir()
        self.root = root / 'root'
        self.lines: list[str] = []

    def fail(self, **errors: str) -> None:
        """Has steps fail with these errors, and no others."""
        for fault in self._faults.iterdir():
            fault.unlink()
        for step, error in errors.items():
            (self._faults / step).write_text(f'raise {error}')

    def run(self, *parameters: str) -> None:
        options = PipelineOptions(
            pipeline_root=str(self.root), parameters=(f'faults={self._faults}', *parameters)
        )
        console = io.StringIO()
        try:
            run_locally(build_pipeline(str(self._file), options), Progress(console))
        finally:
            lines = [line.partition('  ')[2] for line in console.getvalue().splitlines()]
            self.lines = [re.sub(r'\b\d+ s\b', 'N s', line) for line in lines]

    def ended(self) -> dict[str, str]:
        """How each step of the last run ended, in ML Metadata."""
        from tfx_edge.pipelines.run_records import node_of

        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(self.root / 'metadata.sqlite')
        store = metadata_store.MetadataStore(config)
        run = max(store.get_contexts_by_type('pipeline_run'), key=lambda context: context.id)
        ran = sorted(store.get_executions_by_context(run.id), key=lambda execution: execution.id)
        return {
            node_of(store, execution): mlmd.Execution.State.Name(execution.last_known_state)
            for execution in ran
        }

    def said(self) -> dict[str, Any]:
        """What the selector found when it ran last."""
        newest = max((self.root / 'choose/model').glob('*/said'), key=lambda path: int(path.parent.name))
        return json.loads(newest.read_text())


@pytest.fixture
def branches(folder: pathlib.Path, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> Branches:
    caplog.set_level(logging.INFO, logger='absl')
    return Branches(folder, tmp_path)


def test_a_run_goes_on_after_a_failed_branch_and_the_next_makes_what_is_missing(
    branches: Branches, caplog: pytest.LogCaptureFixture
) -> None:
    branches.fail(a="EdgeError('a has no weights;\\n export it again.')")
    branches.run()
    assert branches.ended() == {
        'source': 'COMPLETE', 'a': 'FAILED', 'b': 'COMPLETE', 'evaluate_b': 'COMPLETE', 'choose': 'COMPLETE',
        'push': 'COMPLETE',
    }  # fmt: skip
    assert [line for line in branches.lines if 'started' not in line and 'finished' not in line] == [
        'a: failed after N s: a has no weights; export it again.',
        'evaluate_a: skipped, since a failed',
        'push_a: skipped, since a failed',
    ]
    assert branches.said() == {
        'arrived': ['candidate_1', 'evaluation_1'],
        'failed': {'a': 'a has no weights; export it again.'},
    }
    (record,) = (record for record in caplog.records if record.exc_info and record.name == 'absl')
    assert 'in work' in logging.Formatter().format(record)
    # What lay in the frames of the failed step would be in memory as long as the others run.
    assert record.exc_info is not None
    frames = [frame for frame, _ in traceback.walk_tb(record.exc_info[2])]
    assert {frame.f_code.co_name for frame in frames} >= {'work', 'Do'}
    assert not any('big' in frame.f_locals for frame in frames)
    assert not os.listdir(branches.root / '.tfx_edge/missing_steps')

    # The cache knows nothing of reasons.
    branches.fail(a="EdgeError('a has no bias; export it again.')")
    branches.run()
    assert branches.said()['failed'] == {'a': 'a has no bias; export it again.'}

    branches.fail()
    branches.run()
    assert branches.ended() == {
        'source': 'CACHED', 'a': 'COMPLETE', 'b': 'CACHED', 'evaluate_a': 'COMPLETE', 'evaluate_b': 'CACHED',
        'push_a': 'COMPLETE', 'choose': 'COMPLETE', 'push': 'COMPLETE',
    }  # fmt: skip
    assert len(branches.said()['arrived']) == 4
    assert branches.said()['failed'] == {}


def test_the_first_error_is_raised_when_no_branch_is_left(branches: Branches) -> None:
    branches.fail(a="RuntimeError('a is broken')", b="EdgeError('b is broken')")
    with pytest.raises(RuntimeError, match='a is broken') as raised:
        branches.run()
    # An EdgeError among the causes would be what is reported.
    assert one_line(raised.value) == 'RuntimeError: a is broken'
    assert branches.ended() == {'source': 'COMPLETE', 'a': 'FAILED', 'b': 'FAILED'}
    assert [line for line in branches.lines if 'failed' in line] == [
        'a: failed after N s: RuntimeError: a is broken',
        'b: failed after N s: b is broken',
    ]


@pytest.mark.parametrize('failed', ['source', 'choose', 'push'])
def test_what_no_selector_can_do_without_ends_the_run(failed: str, branches: Branches) -> None:
    branches.fail(**{failed: "RuntimeError('broken')"})
    with pytest.raises(RuntimeError, match='broken'):
        branches.run()
    assert branches.ended().popitem() == (failed, 'FAILED')
    assert branches.lines[-1] == f'{failed}: started'


def test_an_optional_input_of_another_component_is_needed(branches: Branches) -> None:
    branches.fail(a="RuntimeError('a is broken')")
    with pytest.raises(RuntimeError, match='a is broken'):
        branches.run('baseline=a')
    assert branches.ended() == {'source': 'COMPLETE', 'a': 'FAILED'}


@pytest.mark.parametrize(
    ('error', 'raised'),
    [
        ("EnvironmentFailure('a worker was killed')", EnvironmentFailure),
        ("ValueError() from EnvironmentFailure('a worker was killed')", ValueError),
        ("OSError(28, 'No space left on device')", OSError),
        ('KeyboardInterrupt', KeyboardInterrupt),
        ('SystemExit(3)', SystemExit),
    ],
)
def test_a_fault_of_the_machine_or_an_interrupt_ends_the_run(
    error: str, raised: type[BaseException], branches: Branches
) -> None:
    branches.fail(a=error)
    with pytest.raises(raised):
        branches.run()
    assert branches.ended() == {'source': 'COMPLETE', 'a': 'FAILED'}
    assert branches.lines[-1] == 'a: started'


def test_a_file_that_was_tried_until_it_broke_is_no_fault_of_the_machine(branches: Branches) -> None:
    branches.fail(a="EdgeError('the file is damaged') from EnvironmentFailure('killed')")
    branches.run()
    assert branches.ended()['choose'] == 'COMPLETE'


def test_a_note_of_a_killed_run_is_removed_by_the_next(branches: Branches) -> None:
    from tfx_edge.components.tfx_interface.missing_steps import read_missing_steps, write_missing_steps

    branches.fail()
    branches.run()
    write_missing_steps(str(branches.root), 'killed', {'a': 'killed'})
    (branches.root / '.runs/killed').touch()
    assert read_missing_steps(str(branches.root / 'choose/model/1')) == {'a': 'killed'}
    branches.run()
    assert read_missing_steps(str(branches.root / 'choose/model/1')) == {}


def test_the_log_does_not_grow_with_the_square_of_the_steps(
    branches: Branches, caplog: pytest.LogCaptureFixture
) -> None:
    branches.fail()
    branches.run()
    deployments = [record for record in caplog.messages if record.startswith('Using deployment config')]
    assert len(deployments) == 8
    assert all(deployment.count('executor_specs') == 1 for deployment in deployments)
    assert not any('Skipping component' in message for message in caplog.messages)


def test_the_log_file_has_the_trace_and_the_console_the_line(
    branches: Branches, folder: pathlib.Path
) -> None:
    branches.fail(a="RuntimeError('first\\nlast')")
    command = [str(pathlib.Path(sys.executable).with_name('tfx-edge')), 'run', str(folder / 'my_branches.py')]
    log, faults = branches.root.parent / 'log', branches.root.parent / 'faults'
    done = subprocess.run(
        [*command, '--pipeline-root', str(branches.root), '--set', f'faults={faults}', '--log', str(log)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r'^ *\d+:\d\d  a: failed after \d+ s: RuntimeError: last$', done.stdout, re.MULTILINE)
    assert 'Traceback' not in done.stdout + done.stderr
    assert re.search(
        r'Component a failed: RuntimeError: last\nTraceback (.|\n)*RuntimeError: first', log.read_text()
    )
