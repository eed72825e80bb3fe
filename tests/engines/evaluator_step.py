"""EdgeEvaluator of the compiled digits pipeline, alone: its inputs are the golden files and need no training."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

import yaml

from tests.golden import files
from tests.pipelines.kubeflow.launcher import Launcher
from tfx_edge.pipelines.kubeflow.mounts import ROOT_VARIABLE

_TASK = 'EdgeEvaluator'
_ROOT = 'minio://bucket/root'


def compiled(beam_args: Sequence[str]) -> str:
    """The digits pipeline as Kubeflow gets it, with a shared volume."""
    from tfx_edge.pipelines.digits.kubeflow_pipeline import create_pipeline
    from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
    from tfx_edge.pipelines.kubeflow.pods import PodOptions

    pipeline = create_pipeline(_ROOT, '/data', '/serving', beam_pipeline_args=list(beam_args))
    return as_text(compile_pipeline(pipeline, 'image', 'kfp', PodOptions(shared_volume='shared')), 'kfp')


class EvaluatorStep:
    """The step, as often as it is wanted.

    Args:
      folder: for its pod.
      shared: the folder that is the shared volume.
      text: the compiled pipeline.
    """

    def __init__(self, folder: pathlib.Path, shared: pathlib.Path, text: str) -> None:
        from tfx_edge.pipelines.digits import data

        self._folder, self._shared = folder, shared
        self._launcher = Launcher(next(yaml.safe_load_all(text)), folder / 'pod')
        data.write_examples(folder / 'digits')
        examples = self._artifact('ImportExampleGen', 'examples', {'split_names': '["train", "eval"]'})
        for split in ('train', 'eval'):
            shutil.copytree(folder / 'digits' / split, examples / f'Split-{split}')
        model = self._artifact('TFLiteQuantizer', 'model', {})
        (model / 'Format-Serving').mkdir(parents=True)
        (model / 'Format-Serving' / 'tflite').write_bytes(files.digits_int8())
        shutil.copytree(
            files.saved_model('digits'), self._artifact('Trainer', 'model', {}) / 'Format-Serving'
        )

    def start(self, log: pathlib.Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Starts it, in a process group of its own."""
        for output in self._launcher.outputs(_TASK).values():
            shutil.rmtree(self._path(output['uri']), ignore_errors=True)
            self._path(output['uri']).parent.mkdir(parents=True, exist_ok=True)
        arguments = [
            str(self._shared) if argument == '/tfx-edge-shared' else argument
            for argument in self._launcher.arguments(_TASK)
        ]
        with log.open('wb') as file:
            return subprocess.Popen(
                [sys.executable, '-m', 'tfx_edge.pipelines.kubeflow.step', *arguments],
                env={**os.environ, ROOT_VARIABLE: str(self._launcher.folder), **(environment or {})},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def report(self) -> bytes:
        """The report that it wrote."""
        output = self._launcher.outputs(_TASK)['edge_evaluation']
        return (self._path(output['uri']) / 'report.json').read_bytes()

    def _artifact(self, task: str, key: str, metadata: Mapping[str, str]) -> pathlib.Path:
        uri = f'{_ROOT}/run/{task}/salt/{key}'
        self._launcher.record(task, key, uri, metadata)
        return self._path(uri)

    def _path(self, uri: str) -> pathlib.Path:
        return pathlib.Path(self._launcher.mounts.path(uri))
