"""Runs compiled pipelines as open-source Kubeflow Pipelines 2 does: each step a fresh process, nothing shared but an
object store and the cache of finished steps."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from tests.pipelines.kubeflow.launcher import Launcher, tasks_in_order
from tests.pipelines.kubeflow.object_store import ObjectStore
from tests.pipelines.kubeflow.pod_user import PodUser
from tfx_edge.pipelines.kubeflow.mounts import ROOT_VARIABLE

REPOSITORY = pathlib.Path(__file__).parents[3]
LOGS = 'executor-logs'
# A pod's root is a path that another process, such as a worker of Beam in another pod, cannot follow.
_SEEN_AS = '/proc/self/cwd'


class StepFailed(Exception):
    """A step failed; the run has stopped.

    Args:
      task: the step.
      log: what it printed.
      run: the run as far as it went.
    """

    def __init__(self, task: str, log: str, run: Run) -> None:
        super().__init__(f'{task} failed: {log[-3000:]}')
        self.task = task
        self.log = log
        self.last_line = log.splitlines()[-1]
        self.run = run


@dataclasses.dataclass
class Run:
    """A run's artifacts, and how it came to them."""

    artifacts: dict[tuple[str, str], dict[str, Any]]
    executed: list[str] = dataclasses.field(default_factory=list)
    cached: list[str] = dataclasses.field(default_factory=list)


class Watch:
    """Is told what the steps of a run do; this one does nothing about it."""

    def began(self, task: str) -> None:
        """A step's pod starts."""

    def cached(self, task: str) -> None:
        """A step was taken from the cache."""

    def ended(self, task: str, log: str, *, well: bool) -> None:
        """A step's pod ended."""


@dataclasses.dataclass
class Cluster:
    """Argo, driver, launcher and cache of Kubeflow Pipelines.

    Args:
      store: holds the artifacts.
      folder: for pods.
      environment: variables of the containers, beside those of this process.
      claims: the folders of volume claims. A container has one mounted by having its path for the mount's, in the
        arguments.
      secrets: values by name and key.
      watch: is told what the steps do.
      users: of the pods, by step, '' for those that are not named; None for the user of this process.
    """

    store: ObjectStore
    folder: pathlib.Path
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    claims: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    watch: Watch = dataclasses.field(default_factory=Watch)
    users: Mapping[str, PodUser] = dataclasses.field(default_factory=dict)
    _cache: dict[str, dict[tuple[str, str], dict[str, Any]]] = dataclasses.field(default_factory=dict)
    _runs: int = 0

    def run(self, text: str, parameters: Mapping[str, Any] | None = None, run_id: str | None = None) -> Run:
        """Runs a pipeline.

        Args:
          text: what `tfx-edge compile` wrote.
          parameters: of the run.
          run_id: of the run; None for one that counts.

        Raises:
          StepFailed: a step ended with another status than 0; no later step was started.
        """
        self._runs += 1
        spec, *platform = yaml.safe_load_all(text)
        pods = platform[0]['platforms']['kubernetes']['deploymentSpec']['executors'] if platform else {}
        launcher = Launcher(
            spec,
            self.folder / 'pod',
            parameters or {},
            run_id or f'run-{self._runs}',
            seen_as=_SEEN_AS,
        )
        run = Run(launcher.artifacts)
        for task in tasks_in_order(spec):
            executor = launcher.executor(task)
            if 'importer' in executor:
                launcher.artifacts.update(self._import(launcher, task, executor['importer']))
                continue
            pod = pods.get(spec['components'][task]['executorLabel'], {})
            fingerprint = _fingerprint(launcher, task, pod)
            options = spec['root']['dag']['tasks'][task].get('cachingOptions', {})
            if options.get('enableCache') and fingerprint in self._cache:
                # The artifacts of the earlier run, under their names: a later step that gets them is cached too.
                launcher.artifacts.update(self._cache[fingerprint])
                run.cached.append(task)
                self.watch.cached(task)
                continue
            self._execute(launcher, task, run, pod)
            run.executed.append(task)
            self._cache[fingerprint] = {
                name: artifact for name, artifact in launcher.artifacts.items() if name[0] == task
            }
        return run

    def _import(
        self, launcher: Launcher, task: str, importer: Mapping[str, Any]
    ) -> dict[tuple[str, str], dict[str, Any]]:
        """As `ImportLauncher`: what was imported before is the same artifact."""
        if (known := json.dumps(importer, sort_keys=True)) not in self._cache:
            (key,) = launcher.outputs(task).keys() - {LOGS}
            launcher.record(task, key, importer['artifactUri']['constant'], importer.get('metadata', {}))
            self._cache[known] = {(task, key): launcher.artifacts[task, key]}
        return self._cache[known]

    def _execute(self, launcher: Launcher, task: str, run: Run, config: Mapping[str, Any]) -> None:
        """As `LauncherV2.Execute`: nothing is uploaded of a step that fails."""
        pod = launcher.folder
        shutil.rmtree(pod, ignore_errors=True)
        pod.mkdir(parents=True)
        executor_input = launcher.executor_input(task)
        for artifacts in executor_input['inputs']['artifacts'].values():
            for artifact in artifacts['artifacts']:
                self.store.download(artifact['uri'], self._local(launcher, artifact['uri']))
        for output in launcher.outputs(task).values():
            self._local(launcher, output['uri']).parent.mkdir(parents=True, exist_ok=True)
        arguments = launcher.arguments(task)
        for mount in config.get('pvcMount', []):
            claim = str(self.claims[mount['constant']])
            arguments = [re.sub(f'^{mount["mountPath"]}(?=/|$)', claim, argument) for argument in arguments]
        log = self._local(launcher, launcher.outputs(task)[LOGS]['uri'])
        command = [sys.executable, '-m', launcher.module(task), *arguments]
        environment = self._environment(launcher, task, config)
        user = self.users.get(task, self.users.get(''))
        if user:
            command, environment = self._as_user(user, pod, command, environment)
        self.watch.began(task)
        with log.open('wb') as file:
            status = subprocess.run(
                command, cwd=pod, env=environment, stdout=file, stderr=subprocess.STDOUT
            ).returncode
        self.watch.ended(task, log.read_text(errors='replace'), well=status == 0)
        if status != 0:
            raise StepFailed(task, log.read_text(errors='replace'), run)
        launcher.publish(task)
        for (producer, _), artifact in launcher.artifacts.items():
            if producer == task:
                self.store.upload(self._local(launcher, artifact['uri']), artifact['uri'])
        shutil.rmtree(pod)

    def _environment(self, launcher: Launcher, task: str, config: Mapping[str, Any]) -> dict[str, str]:
        # The tests' own components are found from the checkout, as in an image.
        path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get('PYTHONPATH')])])
        environment = {**os.environ, 'PYTHONPATH': path, ROOT_VARIABLE: _SEEN_AS, **self.environment}
        for variable in launcher.executor(task)['container'].get('env', []):
            environment[variable['name']] = variable['value']
        for secret in config.get('secretAsEnv', []):
            for pair in secret['keyToEnv']:
                environment[pair['envVar']] = self.secrets[secret['secretName']][pair['secretKey']]
        return environment

    def _as_user(
        self, user: PodUser, pod: pathlib.Path, command: list[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """As the launcher, which is of the container's user: what it has made and mounted is the user's, no more."""
        for name in ('minio', 's3', 'gcs', 'outputs'):
            (pod / name).mkdir(exist_ok=True)
            user.owns(pod / name)
        image = [pathlib.Path(place) for place in environment['PYTHONPATH'].split(os.pathsep)]
        return user.command(command), user.environment(environment, pod, [*image, *self.claims.values()])

    @staticmethod
    def _local(launcher: Launcher, uri: str) -> pathlib.Path:
        return pathlib.Path(launcher.mounts.path(uri))


def _fingerprint(launcher: Launcher, task: str, config: Mapping[str, Any]) -> str:
    """As `GenerateCacheKey`: names of the inputs, parameters, outputs without URIs, command, image and claims."""
    given = launcher.executor_input(task)
    key = {
        'inputs': {
            name: [artifact['name'] for artifact in artifacts['artifacts']]
            for name, artifacts in given['inputs']['artifacts'].items()
        },
        'parameters': given['inputs']['parameterValues'],
        'outputs': {name: output['type'] for name, output in launcher.outputs(task).items()},
        'output_parameters': sorted(given['outputs']['parameters']),
        'claims': sorted({mount['constant'] for mount in config.get('pvcMount', [])}),
        'container': launcher.executor(task)['container'],
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
