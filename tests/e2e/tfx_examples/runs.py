"""Runs the pipelines in a process of their own, and finds what they left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma

from tests.e2e.tfx_examples import pipelines
from tests.e2e.tfx_examples.catalog import EXAMPLES, TFXExample
from tfx_edge.components.core.examples.example_parser import read_records
from tfx_edge.pipelines.run_records import Step, last_run

REPOSITORY = pathlib.Path(__file__).parents[3]
# Held-out examples that are looked at.
_RECORDS = 50


@dataclasses.dataclass(frozen=True)
class Done:
    """What the last run of an example's pipeline left behind."""

    example: TFXExample
    steps: Mapping[str, Step]

    def folder(self, step: str, key: str = 'model') -> pathlib.Path:
        """Of an output; of the model in it."""
        uri = pathlib.Path(self.steps[step].output(key).uri)
        return uri / 'Format-Serving' if key == 'model' else uri

    def notes(self, evaluator: str) -> list[str]:
        """What the report says beside its numbers."""
        report = self.folder(evaluator, 'edge_evaluation') / 'report.json'
        return json.loads(report.read_text())['notes']

    def properties(self, step: str, key: str) -> Mapping[str, Any]:
        """Custom properties of an output."""
        return self.steps[step].output(key).properties

    def pushed(self) -> bytes:
        """The file that Pusher pushed."""
        destination = self.properties('Pusher', 'pushed_model')['pushed_destination']
        return pathlib.Path(destination, 'tflite').read_bytes()

    def raw_records(self) -> list[bytes]:
        """Held-out examples as ExampleGen wrote them."""
        files = self.folder('ExampleGen', 'examples').glob('Split-eval/*')
        return list(read_records([str(path) for path in files]))[:_RECORDS]

    def metrics(self, evaluator: str) -> dict[str, float]:
        """TFMA's of the candidate, on all examples, by name."""
        has_baseline = 'baseline_model' in self.properties(evaluator, 'blessing')
        folder = str(self.folder(evaluator, 'evaluation'))
        result = tfma.load_eval_result(folder, model_name=tfma.CANDIDATE_KEY if has_baseline else None)
        ((_, found),) = result.slicing_metrics
        named = {name: value['doubleValue'] for name, value in found[''][''].items()}
        return {name: value for name, value in named.items() if not name.endswith('_diff')}


def run_pipelines(root: pathlib.Path, names: Sequence[str]) -> None:
    """Runs the pipelines of some examples, each in a folder of its name; those with the same Keras in one process."""
    for legacy in (True, False):
        chosen = [name for name in names if EXAMPLES[name].legacy_keras == legacy]
        if chosen:
            _run(root, chosen, legacy)


def _run(root: pathlib.Path, names: Sequence[str], legacy_keras: bool) -> None:
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', pipelines.__name__, str(root), *names],
        env={**os.environ, 'TF_USE_LEGACY_KERAS': str(int(legacy_keras)), 'PYTHONPATH': str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]


def find(root: pathlib.Path, name: str) -> Done:
    """What `run_pipelines` left behind of an example."""
    return Done(EXAMPLES[name], last_run(pipelines.connection(root / name), name))
