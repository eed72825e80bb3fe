"""One step of a compiled pipeline, alone: its inputs are the golden files and need no training."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from tests.golden import files
from tests.pipelines.kubeflow.launcher import Launcher
from tfx_edge.pipelines.kubeflow.mounts import ROOT_VARIABLE
from tfx_edge.pipelines.kubeflow.pods import SHARED_FOLDER

REPOSITORY = pathlib.Path(__file__).parents[2]
_ROOT = 'minio://bucket/root'
_CLAIM = 'tfx-edge-shared'


class Step:
    """A step, as often as it is wanted.

    Args:
      folder: for its pod and its log.
      task: its name in the pipeline.
      pipeline: a `tfx.v1.dsl.Pipeline` with this task, Trainer, ImportExampleGen and TFLiteQuantizer.
      shared: the folder that is the shared volume; None for a step that runs Beam in its own process.
    """

    def __init__(
        self, folder: pathlib.Path, task: str, pipeline: Any, shared: pathlib.Path | None = None
    ) -> None:
        from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
        from tfx_edge.pipelines.kubeflow.pods import PodOptions

        pods = PodOptions(shared_volume=_CLAIM if shared else None)
        text = as_text(compile_pipeline(pipeline, 'image', 'kfp', pods), 'kfp')
        self.log = folder / 'log'
        self._task, self._shared = task, shared
        self._launcher = Launcher(next(yaml.safe_load_all(text)), folder / 'pod')
        examples = self._artifact('ImportExampleGen', 'examples', split_names='["train", "eval"]')
        write_examples(examples)
        shutil.copytree(files.saved_model('digits'), self._artifact('Trainer', 'model') / 'Format-Serving')
        model = self._artifact('TFLiteQuantizer', 'model') / 'Format-Serving'
        model.mkdir(parents=True)
        (model / 'tflite').write_bytes(files.digits_int8())

    def start(self) -> subprocess.Popen[bytes]:
        """Starts it; what it wrote before is removed."""
        for output in self._launcher.outputs(self._task).values():
            shutil.rmtree(self._path(output['uri']), ignore_errors=True)
            self._path(output['uri']).parent.mkdir(parents=True, exist_ok=True)
        arguments = self._launcher.arguments(self._task)
        if self._shared:
            arguments = [argument.replace(SHARED_FOLDER, str(self._shared)) for argument in arguments]
        with self.log.open('wb') as file:
            return subprocess.Popen(
                [sys.executable, '-m', self._launcher.module(self._task), *arguments],
                env={
                    **os.environ,
                    ROOT_VARIABLE: str(self._launcher.folder),
                    'PYTHONPATH': str(REPOSITORY),
                },
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def run(self) -> None:
        """Runs it to its end, which must be a good one."""
        status = self.start().wait()
        assert status == 0, self.log.read_text(errors='replace')[-4000:]

    def read(self, key: str, name: str) -> bytes:
        """A file of an output."""
        return (self._path(self._launcher.outputs(self._task)[key]['uri']) / name).read_bytes()

    def last_line(self) -> str:
        return self.log.read_text(errors='replace').splitlines()[-1]

    def _artifact(self, task: str, key: str, **metadata: str) -> pathlib.Path:
        uri = f'{_ROOT}/run/{task}/salt/{key}'
        self._launcher.record(task, key, uri, metadata)
        return self._path(uri)

    def _path(self, uri: str) -> pathlib.Path:
        return pathlib.Path(self._launcher.mounts.path(uri))


def evaluator(folder: pathlib.Path, beam_args: Sequence[str], shared: pathlib.Path | None = None) -> Step:
    """EdgeEvaluator of the digits pipeline: the int8 file against the net that it was made of."""
    from tfx_edge.pipelines.digits.kubeflow_pipeline import create_pipeline

    pipeline = create_pipeline(_ROOT, '/data', '/serving', beam_pipeline_args=list(beam_args))
    return Step(folder, 'EdgeEvaluator', pipeline, shared)


def calibration(folder: pathlib.Path, beam_args: Sequence[str], shared: pathlib.Path | None = None) -> Step:
    """TFLiteQuantizer that calibrates the digits net on the training examples."""
    from tfx import v1 as tfx

    from tfx_edge import proto
    from tfx_edge.components import TFLiteQuantizer

    example_gen = tfx.components.ImportExampleGen('/data')
    # Nothing of it runs: the model is a golden file.
    trainer = tfx.components.Trainer(
        run_fn='tfx_edge.pipelines.digits.trainer_module.run_fn',
        examples=example_gen.outputs['examples'],
        train_args=tfx.proto.TrainArgs(num_steps=1),
        eval_args=tfx.proto.EvalArgs(),
    )
    quantizer = TFLiteQuantizer(
        trainer.outputs['model'],
        example_gen.outputs['examples'],
        quantization=proto.Quantization(mode=proto.Quantization.INT8),
    )
    pipeline = tfx.dsl.Pipeline(
        'calibration', _ROOT, components=[example_gen, trainer, quantizer], beam_pipeline_args=list(beam_args)
    )
    return Step(folder, 'TFLiteQuantizer', pipeline, shared)


def report(step: Step) -> dict[str, Any]:
    """EdgeEvaluator's report, without the times that were measured and the folder in which the step worked."""
    made: dict[str, Any] = json.loads(step.read('edge_evaluation', 'report.json'))
    del made['latency']
    for cost in (*made['devices'], *made['devices_of_baseline']):
        if cost['device'] == 'web':
            del cost['milliseconds']
    for model in made['models'].values():
        del model['path']
    return made


def tflite(step: Step) -> bytes:
    """The file that TFLiteQuantizer made."""
    return step.read('model', 'Format-Serving/tflite')


def write_examples(folder: pathlib.Path, shards: int = 4) -> None:
    """The digits as ExampleGen leaves them, in files that several workers can share."""
    import tensorflow as tf

    from tfx_edge.pipelines.digits import data

    data.write_examples(folder / 'whole')
    for split in ('train', 'eval'):
        made = folder / f'Split-{split}'
        made.mkdir()
        whole = str(folder / 'whole' / split / 'digits.tfrecord.gz')
        records = list(tf.data.TFRecordDataset(whole, compression_type='GZIP').as_numpy_iterator())
        for shard in range(shards):
            path = made / f'data_tfrecord-{shard:05d}-of-{shards:05d}.gz'
            with tf.io.TFRecordWriter(str(path), options='GZIP') as writer:
                for record in records[shard::shards]:
                    writer.write(record)
    shutil.rmtree(folder / 'whole')
