"""`tfx-edge run`: finds a user's function, gives it what it takes, runs what it returns."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.user_pipeline import PipelineOptions, build_pipeline

pytestmark = pytest.mark.slow

# A user's file: one real component, a neighbour that is imported, and no word about metadata.
PIPELINE = """
from tfx import v1 as tfx

import splits


def create_pipeline(pipeline_root, data_root, pipeline_name='small'):
    example_gen = tfx.components.ImportExampleGen(
        input_base=data_root, input_config=tfx.proto.Input(splits=splits.SPLITS)
    )
    return tfx.dsl.Pipeline(pipeline_name, pipeline_root, components=[example_gen], enable_cache=True)


def with_beam(pipeline_root, data_root, beam_pipeline_args):
    pipeline = create_pipeline(pipeline_root, data_root, '+'.join(beam_pipeline_args))
    return pipeline


def open_to_anything(**arguments):
    return create_pipeline(arguments['pipeline_root'], arguments['data_root'], arguments['note'])


def pruned(pipeline_root):
    from tfx_edge import proto
    from tfx_edge.components import Pruner

    return Pruner(
        model=None, pruning=proto.Pruning(target_sparsity=1.5), fine_tuning=proto.FineTuning(num_steps=0)
    )


def number():
    return 7


NOT_A_FUNCTION = 1
"""
SPLITS = """
from tfx import v1 as tfx

SPLITS = [tfx.proto.Input.Split(name='eval', pattern='Split-eval/*')]
"""


@pytest.fixture
def user_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(sys, 'path', list(sys.path))
    (tmp_path / 'splits.py').write_text(SPLITS)
    (tmp_path / 'my_pipeline.py').write_text(PIPELINE)
    return tmp_path / 'my_pipeline.py'


def run(user_file: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(pathlib.Path(sys.executable).with_name('tfx-edge')), 'run', *arguments]
    return subprocess.run(command, cwd=user_file.parent, capture_output=True, text=True)


def test_run_prints_progress_and_outputs(user_file: pathlib.Path, digits_examples: pathlib.Path) -> None:
    arguments = ['my_pipeline', '--pipeline-root', 'root', '--set', f'data_root={digits_examples}']
    first = run(user_file, *arguments)
    assert (first.returncode, first.stderr) == (0, '')
    steps = [re.sub(r'^ *\d+:\d\d  ', '', line) for line in first.stdout.splitlines()]
    assert steps[0] == 'loading my_pipeline; what libraries print goes to tfx-edge.log'
    assert steps[1] == 'ImportExampleGen: started'
    assert re.fullmatch(r'ImportExampleGen: finished in \d+ s', steps[2])
    assert steps[3:] == ['', 'ImportExampleGen.examples: root/ImportExampleGen/examples/1']
    assert (user_file.parent / 'root/ImportExampleGen/examples/1/Split-eval').is_dir()
    assert (user_file.parent / 'root/metadata.sqlite').exists()
    assert 'Component ImportExampleGen is running' in (user_file.parent / 'tfx-edge.log').read_text()


def test_run_that_fails_is_one_line_and_the_log_and_status_1(user_file: pathlib.Path) -> None:
    done = run(
        user_file, 'my_pipeline.py', '--pipeline-root', 'root', '--set', 'data_root=absent', '--log', 'l.txt'
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert 'absent' in lines[0]
    assert lines[1] == 'tfx-edge: details are in l.txt'
    assert 'Traceback' in (user_file.parent / 'l.txt').read_text()


def test_value_out_of_range_is_reported_before_anything_runs(user_file: pathlib.Path) -> None:
    done = run(user_file, 'my_pipeline.py:pruned', '--pipeline-root', 'root')
    assert done.returncode == 1
    assert done.stderr.startswith('tfx-edge: Pruning.target_sparsity is 1.5; expected ')


@pytest.mark.parametrize(
    ('target', 'options', 'message'),
    [
        ('absent.py', {}, r'absent\.py does not exist'),
        ('absent.module', {}, r"there is no module 'absent\.module'"),
        ('{file}:absent', {}, r"has no function 'absent'; name the one that returns the pipeline"),
        ('{file}:NOT_A_FUNCTION', {}, r"has no function 'NOT_A_FUNCTION'"),
        ('{file}', {}, r"needs a value for 'pipeline_root'; give --pipeline-root VALUE\."),
        ('{file}', {'pipeline_root': 'r'}, r"needs a value for 'data_root'; give --set data_root=VALUE\."),
        ('{file}:number', {'pipeline_root': 'r'}, r"has no parameter 'pipeline_root'"),
        ('{file}', {'parameters': ('wrong=1',)}, r"has no parameter 'wrong'"),
        ('{file}', {'parameters': ('wrong',)}, r'--set wrong has no value; write --set wrong=VALUE'),
        ('{file}:number', {}, r'returned int; expected a tfx\.v1\.dsl\.Pipeline'),
    ],
)
def test_wrong_call_is_reported(
    target: str, options: dict[str, Any], message: str, user_file: pathlib.Path
) -> None:
    with pytest.raises(EdgeError, match=message):
        build_pipeline(target.format(file=user_file), PipelineOptions(**options))


def test_options_go_to_the_parameters_of_their_name(user_file: pathlib.Path) -> None:
    options = PipelineOptions('named', 'root', parameters=('data_root=data',))
    pipeline = build_pipeline(str(user_file), options)
    assert (pipeline.pipeline_name, pipeline.pipeline_info.pipeline_root) == ('named', 'root')


def test_set_takes_json_or_a_string(user_file: pathlib.Path) -> None:
    target = f'{user_file}:open_to_anything'
    for text, name in (('note="quoted"', 'quoted'), ('note=plain text', 'plain text')):
        options = PipelineOptions(pipeline_root='root', parameters=('data_root=data', text))
        assert build_pipeline(target, options).pipeline_name == name


def test_beam_arguments_reach_a_function_without_a_parameter_for_them(user_file: pathlib.Path) -> None:
    options = PipelineOptions(
        pipeline_root='r', parameters=('data_root=d',), beam_args=('--direct_num_workers=2',)
    )
    (example_gen,) = build_pipeline(str(user_file), options).components
    assert example_gen.executor_spec.beam_pipeline_args == ['--direct_num_workers=2']


def test_beam_arguments_follow_the_default_runner_in_a_parameter(user_file: pathlib.Path) -> None:
    options = PipelineOptions(pipeline_root='r', parameters=('data_root=d',), beam_args=('--x=1',))
    pipeline = build_pipeline(f'{user_file}:with_beam', options)
    assert pipeline.pipeline_name == '--runner=FnApiRunner+--direct_running_mode=in_memory+--x=1'


def test_cache_is_what_the_pipeline_says_unless_it_is_turned_off(user_file: pathlib.Path) -> None:
    given: dict[str, Any] = {'pipeline_root': 'r', 'parameters': ('data_root=d',)}
    assert build_pipeline(str(user_file), PipelineOptions(**given)).enable_cache
    assert not build_pipeline(str(user_file), PipelineOptions(**given, enable_cache=False)).enable_cache
