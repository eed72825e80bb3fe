"""`tfx-edge demo`: the whole path on real data, with the settings that ship, twice in one folder."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from ai_edge_litert.interpreter import Interpreter
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import v1 as tfx

from tfx_edge import proto
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.pipelines.console import Progress
from tfx_edge.pipelines.demo import all_beam_args
from tfx_edge.pipelines.digits.pipeline import PIPELINE_NAME, create_pipeline
from tfx_edge.pipelines.local import run_locally
from tfx_edge.pipelines.run_records import Step, last_run

pytestmark = pytest.mark.e2e

COMPONENTS = [
    'ImportExampleGen',
    'Trainer',
    'Pruner',
    'Clusterer',
    'QATTrainer',
    'TFLiteQuantizer',
    'EdgeEvaluator',
    'Pusher',
]
COMPRESSED = ['Pruner', 'Clusterer', 'QATTrainer']
# What a run writes: Trainer a model and its run, QATTrainer and TFLiteQuantizer a calibration too,
# EdgeEvaluator an evaluation, a blessing and a report.
ARTIFACTS = 13


@dataclasses.dataclass(frozen=True)
class Demo:
    """What two runs of the command printed, and the folder; of the first, what `counting` saw: (event, process)."""

    folder: pathlib.Path
    printed: list[str]
    seconds: list[float]
    counted: list[tuple[str, str]]

    @property
    def connection(self) -> mlmd.ConnectionConfig:
        path = str(self.folder / 'metadata.sqlite')
        return tfx.orchestration.metadata.sqlite_metadata_connection_config(path)

    def steps(self) -> dict[str, Step]:
        return last_run(self.connection, PIPELINE_NAME)

    def model(self, component: str) -> pathlib.Path:
        return pathlib.Path(self.steps()[component].output('model').uri) / 'Format-Serving'


@pytest.fixture(scope='module')
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp('demo')
    command = [str(pathlib.Path(sys.executable).with_name('tfx-edge')), 'demo', '--output', str(folder)]
    events = tmp_path_factory.mktemp('counted') / 'events'
    counting = {'PYTHONPATH': str(pathlib.Path(__file__).with_name('counting')), 'COUNTED_IN': str(events)}
    printed, seconds = [], []
    for variables in (counting, {}):
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
        seconds.append(time.monotonic() - start)
        assert (done.returncode, done.stderr) == (0, ''), done.stdout + done.stderr
        printed.append(done.stdout)
    counted = [(event, process) for event, process in map(str.split, events.read_text().splitlines())]
    return Demo(folder, printed, seconds, counted)


@pytest.fixture(scope='module')
def shipped(demo: Demo) -> bytes:
    (file,) = (demo.folder / 'serving').glob('*/tflite')
    return file.read_bytes()


def lite_accuracy(model: bytes, images: np.ndarray, labels: np.ndarray) -> float:
    interpreter = Interpreter(model_content=model)
    runner = interpreter.get_signature_runner()
    answers = [next(iter(runner(image=image[np.newaxis]).values()))[0].argmax() for image in images]
    return float(np.mean(np.array(answers) == labels))


def saved_model_accuracy(folder: pathlib.Path, images: np.ndarray, labels: np.ndarray) -> float:
    loaded = tf.saved_model.load(str(folder))
    (scores,) = loaded.signatures['serving_default'](image=tf.constant(images)).values()
    return float(np.mean(scores.numpy().argmax(axis=1) == labels))


def test_first_run_prints_progress_table_and_verdict_and_nothing_else(demo: Demo) -> None:
    lines = demo.printed[0].splitlines()
    progress = [line for line in lines if re.match(r' *\d+:\d\d  ', line)]
    for component in COMPONENTS:
        assert any(line.endswith(f'  {component}: started') for line in progress)
        assert any(re.search(rf'  {component}: finished in \d+ s$', line) for line in progress)
    assert any('step 1000 of 1000' in line for line in progress)
    for model in ('float', 'pruned', 'clustered', 'QAT', 'int8, shipped'):
        (row,) = (line for line in lines if line.startswith(f' {model}  '))
        assert re.search(r'\d\d\.\d\d%  +[\d,]+  +[\d,]+  +\d+\.\d%  +\d+  +\d+ *$', row)
    assert 'verdict: BLESSED' in lines
    assert not re.search('warning|traceback', demo.printed[0], re.IGNORECASE)


def test_each_model_is_converted_once_and_tensorflow_loaded_once_for_all_children(demo: Demo) -> None:
    """Those of the table are the steps' own: each step converts the model that comes in before it trains."""
    run, table = (
        part.count('converting signature') for part in demo.printed[0].split('measuring the models')
    )
    assert (run, table) == (4, 0)
    converters = [process for event, process in demo.counted if event == 'conversion']
    assert len(converters) == run + table
    # Beside those of conversions, which load once (TensorFlow 2.21: twice): the graph that Pruner, Clusterer and
    # QATTrainer share, and EdgeEvaluator's baseline.
    assert len([p for event, p in demo.counted if event == 'load' and p not in converters]) == 2
    # The command itself, and the server that forks its children.
    assert len([p for event, p in demo.counted if event == 'tensorflow']) == 2


def test_later_run_takes_every_step_from_the_cache_within_a_minute(demo: Demo) -> None:
    first, later = demo.printed
    assert re.findall(r'(\w+): cached', later) == COMPONENTS
    assert 'finished' not in later
    assert demo.seconds[1] < 60
    # From the head of the table on.
    assert first[first.index('\n model ') :] == later[later.index('\n model ') :]


def test_two_runs_are_recorded_with_the_artifacts_of_one(demo: Demo) -> None:
    store = metadata_store.MetadataStore(demo.connection)
    runs = store.get_contexts_by_type('pipeline_run')
    assert len(runs) == 2
    states = [
        Counter(execution.last_known_state for execution in store.get_executions_by_context(run.id))
        for run in sorted(runs, key=lambda run: run.id)
    ]
    assert states == [
        {mlmd.Execution.COMPLETE: len(COMPONENTS)},
        {mlmd.Execution.CACHED: len(COMPONENTS)},
    ]
    assert len(store.get_artifacts()) == ARTIFACTS


def test_shipped_file_loses_at_most_one_and_a_half_points(
    demo: Demo, shipped: bytes, digits: dict[str, np.ndarray]
) -> None:
    images, labels = digits['x_eval'], digits['y_eval']
    before = saved_model_accuracy(demo.model('Trainer'), images, labels)
    assert before > 0.97
    assert lite_accuracy(shipped, images, labels) >= before - 0.015


def test_shipped_file_is_pruned_clustered_and_integer(shipped: bytes) -> None:
    summary = inspect_model(shipped)
    assert len(summary.kernels) == 5
    assert summary.kernel_zeros >= 0.5
    for kernel in summary.kernels:
        assert kernel.dtype == 'int8'
        assert kernel.zeros / kernel.elements >= 0.5
        assert kernel.distinct <= 16
    assert summary.float_ops == ()


@pytest.mark.parametrize('component', COMPRESSED)
def test_compressed_model_is_the_trainers_with_other_weights(
    component: str, demo: Demo, digits: dict[str, np.ndarray]
) -> None:
    before, after = demo.model('Trainer'), demo.model(component)
    assert (after / 'saved_model.pb').read_bytes() == (before / 'saved_model.pb').read_bytes()
    files = [{path.relative_to(folder) for path in folder.rglob('*')} for folder in (before, after)]
    assert files[0] == files[1]
    assert saved_model_accuracy(after, digits['x_eval'], digits['y_eval']) > 0.95


def test_stock_tfma_loads_the_evaluation(demo: Demo) -> None:
    result = tfma.load_eval_result(demo.steps()['EdgeEvaluator'].output('evaluation').uri)
    slices = dict(result.slicing_metrics)
    assert () in slices
    assert {(('label', digit),) for digit in range(10)} <= slices.keys()


def test_model_over_a_limit_is_not_blessed_and_not_pushed(demo: Demo, tmp_path: pathlib.Path) -> None:
    # In a copy of the records, so that the runs that other tests look at stay the last ones.
    metadata = shutil.copy(demo.folder / 'metadata.sqlite', tmp_path)
    pipeline = create_pipeline(
        pipeline_root=str(demo.folder / 'pipeline'),
        data_root=str(demo.folder / 'data'),
        serving_dir=str(tmp_path / 'serving'),
        metadata_path=str(metadata),
        limits=proto.EdgeEvaluation(max_file_bytes=10_000),
        beam_pipeline_args=all_beam_args(),
    )
    run_locally(pipeline, Progress(sys.stdout))
    steps = last_run(pipeline.metadata_connection_config, PIPELINE_NAME)
    assert [name for name, step in steps.items() if not step.cached] == ['EdgeEvaluator', 'Pusher']
    blessing = steps['EdgeEvaluator'].output('blessing')
    assert blessing.properties['blessed'] == 0
    assert os.listdir(blessing.uri) == ['NOT_BLESSED']
    assert steps['Pusher'].output('pushed_model').properties['pushed'] == 0
    assert not (tmp_path / 'serving').exists()
