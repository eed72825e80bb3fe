"""The digits pipeline with a deployment tree, run here: a branch that fails, the choice, a limit that none holds."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from absl import logging as absl_logging

from tests.components.executed import artifact, execute
from tfx_edge import proto
from tfx_edge.components import EdgeEvaluator
from tfx_edge.pipelines.console import Progress
from tfx_edge.pipelines.demo import all_beam_args
from tfx_edge.pipelines.digits import data, tree_pipeline
from tfx_edge.pipelines.local import run_locally
from tfx_edge.pipelines.run_records import Step, steps_of_run

pytestmark = pytest.mark.e2e

# Nothing of the net has such a name, so that Pruner refuses it.
FAILING = {'target_sparsity': 0.6, 'include': ['absent']}
TREE = proto.DeploymentTree(
    levels=['pruning'],
    pruning=[{'target_sparsity': 0.5}, FAILING],
    quantization=[{'mode': 'INT8'}],
)
LIMITS = proto.EdgeEvaluation(min_agreement=0.9)


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run printed and left behind."""

    printed: list[str]
    steps: Mapping[str, Step]

    def folder(self, step: str, output: str) -> pathlib.Path:
        return pathlib.Path(self.steps[step].output(output).uri)

    @property
    def selection(self) -> dict[str, Any]:
        return json.loads((self.folder('EdgeSelector', 'selection') / 'selection.json').read_text())


@contextlib.contextmanager
def log_lines() -> Iterator[None]:
    """Lets TFX's log through, of which progress is read."""
    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.INFO)
    try:
        yield
    finally:
        absl_logging.set_verbosity(before)


def run_tree(folder: pathlib.Path, limits: proto.EdgeEvaluation = LIMITS, **changes: Any) -> Run:
    tree = proto.DeploymentTree(**changes)
    tree.MergeFrom(TREE)
    pipeline = tree_pipeline.create_pipeline(
        str(folder / 'root'),
        str(folder / 'data'),
        str(folder / 'serving'),
        str(folder / 'metadata.sqlite'),
        tree=tree,
        limits=limits,
        steps=tree_pipeline.Steps(600, 100),
        beam_pipeline_args=all_beam_args(),
    )
    printed = io.StringIO()
    with log_lines():
        run = run_locally(pipeline, Progress(printed))
    return Run(printed.getvalue().splitlines(), steps_of_run(pipeline.metadata_connection_config, run))


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    made = tmp_path_factory.mktemp('tree')
    data.write_examples(made / 'data')
    return made


@pytest.fixture(scope='module')
def run(folder: pathlib.Path) -> Run:
    return run_tree(folder)


def test_a_branch_that_fails_leaves_the_others_and_the_choice_as_they_are(run: Run):
    verdicts = {row['route']: row['verdict'] for row in run.selection['candidates']}
    assert verdicts == {
        'int8': 'BLESSED',
        'zeros50-int8': 'BLESSED',
        'zeros60-int8': 'NO_EVALUATION',
    }
    (failed,) = (row for row in run.selection['candidates'] if row['route'] == 'zeros60-int8')
    (line,) = failed['reasons']
    assert line.startswith('Pruner-zeros60: ')
    assert 'leave no weight to prune' in line
    (printed,) = (text for text in run.printed if 'Pruner-zeros60: failed' in text)
    assert 'leave no weight to prune' in printed
    for step in ('TFLiteQuantizer-zeros60-int8', 'EdgeEvaluator-zeros60-int8'):
        assert any(text.endswith(f'{step}: skipped, since Pruner-zeros60 failed') for text in run.printed)


def test_the_smallest_that_holds_every_limit_is_pushed(run: Run, folder: pathlib.Path):
    found = run.selection
    assert (found['verdict'], found['chosen']) == ('BLESSED', 'zeros50-int8')
    there = [row for row in found['candidates'] if row['verdict'] == 'BLESSED']
    (chosen,) = (row for row in there if row['route'] == found['chosen'])
    assert chosen['figures']['zip_bytes'] == min(row['figures']['zip_bytes'] for row in there)
    assert chosen['on_front']
    made = run.folder('TFLiteQuantizer-zeros50-int8', 'model') / 'Format-Serving' / 'tflite'
    (pushed,) = (folder / 'serving').glob('*/tflite')
    assert pushed.read_bytes() == made.read_bytes()


def test_a_leafs_figures_are_those_of_an_evaluation_of_it_alone(run: Run, folder: pathlib.Path, tmp_path):
    from tfx.types import artifact_utils, standard_artifacts

    examples = artifact(standard_artifacts.Examples, run.folder('ImportExampleGen', 'examples'))
    examples.split_names = artifact_utils.encode_split_names(['train', 'eval'])
    alone = execute(
        EdgeEvaluator,
        tmp_path,
        {
            'model': artifact(standard_artifacts.Model, run.folder('TFLiteQuantizer-zeros50-int8', 'model')),
            'examples': examples,
            'baseline_model': artifact(standard_artifacts.Model, run.folder('Trainer', 'model')),
        },
        eval_config=tree_pipeline.eval_config(),
        edge=LIMITS,
    )
    report = json.loads((pathlib.Path(alone['edge_evaluation'].uri) / 'report.json').read_text())
    in_tree = json.loads(
        (run.folder('EdgeEvaluator-zeros50-int8', 'edge_evaluation') / 'report.json').read_text()
    )
    # What the file's maker wrote to its artifact is not there alone.
    assert {**report, 'fidelity': in_tree['fidelity']} == in_tree


def test_what_was_made_is_made_once_and_a_limit_that_none_holds_pushes_nothing(
    run: Run, folder: pathlib.Path
):
    again = run_tree(folder, proto.EdgeEvaluation(max_zip_bytes=10), only=('int8',))
    made_anew = {
        name.partition('-')[0]
        for name, step in again.steps.items()
        if not step.cached and name != 'ImportExampleGen'
    }
    assert made_anew == {'EdgeEvaluator', 'EdgeSelector', 'Pusher'}
    assert (again.selection['verdict'], again.selection['chosen']) == ('NOT_BLESSED', 'int8')
    assert again.selection['reason'].startswith('no candidate holds every limit; this one comes nearest')
    assert not again.steps['Pusher'].output('pushed_model').properties.get('pushed')


def test_a_walk_may_end_with_the_first_that_holds_every_limit(run: Run, folder: pathlib.Path):
    short = run_tree(folder, selection={'stop_at_first': True})
    assert 'Pruner-zeros50' not in short.steps
    assert (short.selection['verdict'], short.selection['chosen']) == ('BLESSED', 'int8')
    (left, _) = (row for row in short.selection['candidates'] if row['route'] != 'int8')
    assert left['verdict'] == 'NO_EVALUATION'
    assert left['reasons'][0] == (
        'Pruner-zeros50: left out, since int8 holds every limit (Selection.stop_at_first)'
    )
