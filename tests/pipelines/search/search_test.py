"""`tfx-edge search` on the digits: a few trials, the choice, a restart, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from ml_metadata.metadata_store import metadata_store
from tfx.orchestration import metadata

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines import cli
from tfx_edge.pipelines.digits import data, tree_pipeline
from tfx_edge.pipelines.digits.pipeline import eval_config
from tfx_edge.pipelines.search.function import TreeFunction
from tfx_edge.pipelines.user_pipeline import PipelineOptions

pytestmark = pytest.mark.slow

# Six routes. Nothing of the net has the name that zeros60v2 asks for, so that its Pruner fails.
PIPELINE = """
from tfx_edge import proto
from tfx_edge.pipelines.digits import tree_pipeline

TREE = proto.DeploymentTree(
    levels=['pruning'],
    pruning=[{'target_sparsity': 0.6}, {'target_sparsity': 0.6, 'include': ['absent']}],
    quantization=[{'mode': 'FLOAT16'}, {'mode': 'INT8'}],
    max_routes=2,
)


def create_pipeline(pipeline_root, data_root, serving_dir, max_zip_bytes=30_000, tree=TREE, beam_pipeline_args=()):
    return tree_pipeline.create_pipeline(
        pipeline_root,
        data_root,
        serving_dir,
        tree=tree,
        limits=proto.EdgeEvaluation(max_zip_bytes=max_zip_bytes),
        steps=tree_pipeline.Steps(training=20, fine_tuning=5),
        beam_pipeline_args=beam_pipeline_args,
    )


def only_float16(
    pipeline_root, data_root, serving_dir, tree=proto.DeploymentTree(only=['float16']), beam_pipeline_args=()
):
    return create_pipeline(pipeline_root, data_root, serving_dir, 1_000, tree, beam_pipeline_args)


def without_tree(pipeline_root):
    raise AssertionError


def forgetful(pipeline_root, data_root, serving_dir, tree=TREE):
    return create_pipeline(pipeline_root, data_root, serving_dir, tree=proto.DeploymentTree(levels=['qat']))
"""
# Proposes, among others, a route that fails and one that misses its limit.
SEED = 24


@dataclasses.dataclass(frozen=True)
class Searched:
    """What a search printed and left behind."""

    status: int
    lines: list[str]
    folder: pathlib.Path

    def with_word(self, word: str) -> list[str]:
        """The lines that hold a word, without their times."""
        return [line[7:] for line in self.lines if word in line]

    def executions(self, step: str) -> int:
        """How often a step ran, from the cache or not."""
        connection = metadata.sqlite_metadata_connection_config(str(self.folder / 'root' / 'metadata.sqlite'))
        store = metadata_store.MetadataStore(connection)
        context = store.get_context_by_type_and_name('node', f'digits-tree.{step}')
        return len(store.get_executions_by_context(context.id)) if context else 0

    @property
    def selection(self) -> dict[str, Any]:
        """The newest `selection.json`."""
        (page,) = (line.removeprefix('report: ') for line in self.lines if line.startswith('report: '))
        return json.loads(pathlib.Path(page).with_name('selection.json').read_text())

    @property
    def pushed(self) -> list[bytes]:
        return [file.read_bytes() for file in (self.folder / 'serving').glob('*/tflite')]


def search(folder: pathlib.Path, capfd: Any, *options: str, function: str = '') -> Searched:
    file = folder / 'searched.py'
    file.write_text(PIPELINE)
    status = cli.main(
        [
            'search',
            f'{file}{function}',
            f'--pipeline-root={folder / "root"}',
            f'--set=data_root={folder / "data"}',
            f'--set=serving_dir={folder / "serving"}',
            f'--log={folder / "log.txt"}',
            # TFX packs itself for each step without.
            '--beam-arg=--sdk_container_image=none',
            *options,
        ]
    )
    printed = capfd.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith('tfx-edge: ')]
    return Searched(status, [*printed.out.splitlines(), *errors], folder)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """With data; what 20 steps have trained would miss the digits' own thresholds."""
    folder = tmp_path_factory.mktemp('search')
    data.write_examples(folder / 'data')
    config = eval_config()
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            for each in metric.per_slice_thresholds:
                each.threshold.value_threshold.lower_bound.value = 0
                each.threshold.ClearField('change_threshold')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_pipeline, 'eval_config', lambda: config)
        yield folder


def test_the_best_of_three_trials_is_pushed_and_a_second_call_tries_nothing(folder, capfd):
    options = ('--trials=3', f'--seed={SEED}')
    first = search(folder, capfd, *options)
    assert first.status == 0, first.lines
    tried = [line.split()[-1] for line in first.with_word(' of 3: ')]
    assert len(set(tried)) == 3
    evaluated = [row['route'] for row in first.selection['candidates']]
    assert evaluated == sorted(set(tried) - {'zeros60v2-float16', 'zeros60v2-int8'}, key=len)
    assert len(evaluated) == 2
    (failure,) = first.with_word('  failed: ')
    assert 'include and exclude leave no weight to prune' in failure
    assert [row['verdict'] for row in first.selection['candidates']] == ['NOT_BLESSED', 'BLESSED']
    assert len(first.with_word(', misses 1 limit')) == 1
    assert len(first.with_word(', holds all')) == 1
    assert first.selection['chosen'] == evaluated[1]
    chosen = folder.glob(f'root/TFLiteQuantizer-{evaluated[1]}/model/*/Format-Serving/tflite')
    assert first.pushed == [file.read_bytes() for file in chosen]
    assert (first.executions('Pusher'), first.executions('EdgeSelector')) == (1, 1)
    # Once made, then from the cache: by each trial behind it, and by the last run.
    assert first.executions(f'EdgeEvaluator-{evaluated[1]}') == 2

    second = search(folder, capfd, *options)
    assert second.status == 0, second.lines
    assert not second.with_word('trial ')
    assert not second.with_word('finished in')
    assert second.selection['chosen'] == first.selection['chosen']
    assert len(second.pushed) == 1


def test_where_no_limit_is_held_the_status_is_1_and_nothing_is_pushed(folder, capfd, monkeypatch):
    # All of a small tree are tried, without Optuna.
    monkeypatch.setitem(sys.modules, 'optuna', None)
    before = sorted((folder / 'serving').glob('*'))
    done = search(folder, capfd, '--trials=1', function=':only_float16')
    assert done.status == 1
    assert done.with_word(' of 1: ') == ['trial 1 of 1: float16']
    (line,) = (line for line in done.lines if line.startswith('chosen: '))
    assert line == (
        'chosen: float16: no candidate holds every limit; this one comes nearest, with 1 limit missed'
    )
    assert sorted((folder / 'serving').glob('*')) == before


def test_without_optuna_a_line_says_how_it_is_installed(folder, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    monkeypatch.delitem(sys.modules, 'tfx_edge.pipelines.search.study', raising=False)
    done = search(folder, capfd, '--trials=2')
    assert done.status == 1
    (line,) = (line for line in done.lines if line.startswith('tfx-edge: the tree has'))
    assert (
        'has 6 routes, and Optuna, which searches so many, is not installed; install tfx-edge[search]' in line
    )


@pytest.mark.parametrize(
    ('function', 'options', 'line'),
    [
        (':without_tree', (), "has no parameter 'tree' with a proto.DeploymentTree as its default"),
        (':forgetful', (), 'hand its parameter on: deployment_tree(..., tree=tree)'),
        ('', ('--set=tree=1',), '--set tree cannot be given'),
        ('', ('--set=more=1',), "searched.py has no parameter 'more'"),
        ('', ('--no-cache',), 'leave --no-cache out'),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(folder, capfd, function, options, line):
    done = search(folder, capfd, '--trials=2', *options, function=function)
    assert done.status == 1
    assert [printed for printed in done.lines if printed.startswith('tfx-edge: ') and line in printed]


def test_a_module_is_found_by_its_name():
    function = TreeFunction('tfx_edge.pipelines.digits.tree_pipeline', PipelineOptions())
    assert list(function.tree.pruning) == list(tree_pipeline.TREE.pruning)
    with pytest.raises(EdgeError, match='tree_pipeline needs a value for'):
        function.pipeline(function.tree)
