"""Kubeflow Pipelines as kfp's client sees it, whose runs are those of the emulated cluster."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping
from typing import Any

import yaml

from tests.pipelines.kubeflow import kfp_server
from tests.pipelines.kubeflow.cluster import Cluster, Run, StepFailed, Watch


class _Progress(Watch):
    """The steps of one run, as the API tells of them."""

    def __init__(self, logs: dict[str, str]) -> None:
        self._logs = logs
        self._began = time.monotonic()
        self.steps: dict[str, kfp_server.Step] = {}

    def now(self) -> int:
        return round(time.monotonic() - self._began)

    def began(self, task: str) -> None:
        self.steps[task] = kfp_server.Step(task, self.now())

    def cached(self, task: str) -> None:
        self.steps[task] = kfp_server.Step(task, self.now(), self.now() + 1, 'SUCCEEDED', 'SKIPPED')

    def ended(self, task: str, log: str, *, well: bool) -> None:
        self._logs[kfp_server.pod(f'{task}.executor')] = log
        state = 'SUCCEEDED' if well else 'FAILED'
        self.steps[task] = dataclasses.replace(self.steps[task], end=self.now(), state=state)


@dataclasses.dataclass
class _Live:
    """A run and where it is.

    Attributes:
      body: what the client sent.
      progress: of its steps.
      state: of the run.
      end: when it ended.
      run: what it made.
    """

    body: Mapping[str, Any]
    progress: _Progress
    state: str = 'RUNNING'
    end: int | None = None
    run: Run | None = None


class LiveServer(kfp_server.Server):
    """Starts what it is sent on a cluster, one run at a time.

    Args:
      cluster: that runs it.
      loses: how many connections are closed without an answer while a run is followed.
    """

    def __init__(self, cluster: Cluster, loses: int = 0) -> None:
        super().__init__()
        self._cluster = cluster
        self._loses = loses
        self._live: dict[str, _Live] = {}

    def start(self, body: dict[str, Any]) -> str:
        super().start(body)
        run_id = f'{kfp_server.RUN[:-1]}{len(self._live) + 1}'
        live = _Live(body, _Progress(self.logs))
        self._live[run_id] = live
        threading.Thread(target=self._play, args=(run_id, live), daemon=True).start()
        return run_id

    def run_of(self, run_id: str) -> Run:
        """What a run that succeeded has made."""
        found = self._live[run_id].run
        assert found is not None
        return found

    def knows(self, run_id: str) -> bool:
        return run_id in self._live

    def next_run(self, run_id: str) -> Mapping[str, Any] | int | None:
        live = self._live[run_id]
        if live.progress.steps and self._loses:
            self._loses -= 1
            return None
        steps = list(live.progress.steps.values())
        answer = kfp_server.run(live.state, steps, live.end, run_id=run_id)
        return {**answer, 'pipeline_spec': live.body['pipeline_spec']}

    def _play(self, run_id: str, live: _Live) -> None:
        spec, documents = live.body['pipeline_spec'], []
        config = live.body['runtime_config']
        if 'pipeline_spec' in spec:
            documents, spec = [spec['platform_spec']], spec['pipeline_spec']
        # The root is the run's, and not the file's.
        documents.insert(0, {**spec, 'defaultPipelineRoot': config['pipeline_root']})
        self._cluster.watch = live.progress
        try:
            live.run = self._cluster.run(yaml.safe_dump_all(documents), config.get('parameters'), run_id)
            live.state = 'SUCCEEDED'
        except StepFailed:
            live.state = 'FAILED'
        finally:
            live.end = live.progress.now()
            if live.state == 'RUNNING':
                live.state = 'FAILED'
