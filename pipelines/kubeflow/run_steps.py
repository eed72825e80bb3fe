"""The steps of a run on Kubeflow Pipelines, read from what its API says of an Argo workflow.

The API lists the nodes of the workflow as tasks: `NAME-driver`, a pod that looks into the cache; `NAME`, a group; in it
`executor`, the pod of the step (SKIPPED when the cache had the result), or a group of `executor(0)`, `executor(1)` and
so on where the step may be repeated. It says which nodes follow on a task, by the node's id, but not which node a
task is; nodes that were left out have no state. Seen on Kubeflow Pipelines 2.16.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

_DRIVER = '-driver'
# Argo's templates of the pods, in the order of trying: the API does not say which one made a pod.
_STEP_PODS = ('system-container-impl', 'retry-system-container-impl')
_DRIVER_PODS = ('system-container-driver',)
_ROOT_PODS = ('system-dag-driver',)
_IMPORTER_PODS = ('system-importer',)


@dataclasses.dataclass(frozen=True)
class Pod:
    """A pod whose log may be read.

    Attributes:
      node: the id of its node in the workflow.
      names: what it may be called, the likeliest first.
    """

    node: str
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to a step.

    Attributes:
      step: its name, or 'the run'.
      kind: 'started', 'repeated' or 'end'; each happens once, but for 'repeated'.
      text: what to say.
      time: when; None if the API does not tell.
      failed_pods: the attempts that failed until then, in their order.
      pod: that ended well; None where none did, or the workflow does not have it.
    """

    step: str
    kind: str
    text: str
    time: datetime.datetime | None
    failed_pods: tuple[Pod, ...] = ()
    pod: Pod | None = None


def events(run: Mapping[str, Any]) -> list[Event]:
    """What has happened in a run.

    Args:
      run: the JSON of a `v2beta1.Run`.

    Returns:
      The events of its steps in the order of their times. Drivers and the groups around steps are none.

    Example:
      >>> task = {'display_name': 'Trainer', 'state': 'RUNNING', 'start_time': '2026-01-01T00:00:10Z'}
      >>> [event.text for event in events({'run_details': {'task_details': [task]}, 'pipeline_spec': {
      ...     'root': {'dag': {'tasks': {'Trainer': {}}}}}})]
      ['started']
    """
    workflow = _Workflow(run)
    found = [event for name in workflow.steps for event in workflow.events(name)]
    if workflow.state('root' + _DRIVER) == 'FAILED':
        time = _time(workflow.task('root' + _DRIVER).get('end_time'))
        pods = workflow.pods('root' + _DRIVER, _ROOT_PODS, is_below_root=False)
        found.append(Event('the run', 'end', 'failed before its first step', time, pods))
    latest = datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)
    # Sorting keeps the order of what happened in the same second.
    return sorted(found, key=lambda event: event.time or latest)


def began(run: Mapping[str, Any]) -> datetime.datetime | None:
    """When a run was made, by the server's clock."""
    return _time(run.get('created_at'))


def seconds_of_steps(run: Mapping[str, Any]) -> dict[str, float]:
    """How long each step worked that has ended, without those that were taken from the cache.

    Args:
      run: the JSON of a `v2beta1.Run`.
    """
    started, seconds = {}, {}
    for event in events(run):
        if event.kind == 'started' and event.time:
            started[event.step] = event.time
        elif event.kind == 'end' and event.time and event.step in started:
            seconds[event.step] = (event.time - started[event.step]).total_seconds()
    return seconds


def pipeline_spec(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The PipelineSpec of a run; empty where the run only refers to a stored pipeline."""
    spec = run.get('pipeline_spec') or {}
    found: Mapping[str, Any] = spec.get('pipeline_spec') or spec
    return found


def node_id(workflow: str, name: str) -> str:
    """Argo's id of a node: the 32-bit FNV-1a hash of its name (`Workflow.NodeID` in argo-workflows).

    Args:
      workflow: its name.
      name: of the node, such as 'digits-x7k2p.root.Trainer'.

    Returns:
      The id.

    Example:
      >>> node_id('general-cpu-rnggt', 'general-cpu-rnggt.root.workspace-name.executor(0)')
      'general-cpu-rnggt-1467617326'
    """
    value = 2166136261
    for byte in name.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return f'{workflow}-{value}'


class _Workflow:
    def __init__(self, run: Mapping[str, Any]) -> None:
        details = (run.get('run_details') or {}).get('task_details') or []
        self._tasks = {task.get('display_name', ''): task for task in details}
        self._nodes = {child for task in details for child in _children(task)}
        self._name = next(iter(self._nodes), '').rpartition('-')[0]
        self.steps = _names(run, self._tasks)
        self._executor_of: dict[str, Mapping[str, Any]] = {}
        # Executors of which it is not known whose they are.
        self._others = [task for task in details if task.get('display_name') == 'executor']
        self._assign_executors()

    def task(self, name: str) -> Mapping[str, Any]:
        return self._tasks.get(name, {})

    def state(self, name: str) -> str:
        return self.task(name).get('state') or ''

    def events(self, name: str) -> list[Event]:
        task, driver = self.task(name), self.task(name + _DRIVER)
        state, start, end = self.state(name), _time(task.get('start_time')), _time(task.get('end_time'))
        if self.state(name + _DRIVER) == 'FAILED':
            pods = self.pods(name + _DRIVER, _DRIVER_PODS)
            return [Event(name, 'end', 'failed before it started', _time(driver.get('end_time')), pods)]
        if state in ('', 'SKIPPED') and end:
            return [Event(name, 'end', 'not run', end)]
        if state not in ('RUNNING', 'SUCCEEDED', 'FAILED'):
            return []
        if state == 'RUNNING' and not self._works(name):
            return []
        if state == 'SUCCEEDED' and self._executor_of.get(name, {}).get('state') == 'SKIPPED':
            return [Event(name, 'end', 'cached', end)]
        pods = self._step_pods(name)
        started = Event(name, 'started', 'started', start)
        if state == 'RUNNING':
            failed = pods[:-1]
            repeated = (
                [Event(name, 'repeated', 'an attempt failed; it is repeated', None, failed)] if failed else []
            )
            return [started, *repeated]
        seconds = round((end - start).total_seconds()) if start and end else 0
        if state == 'SUCCEEDED':
            well = pods[-1] if pods else None
            return [started, Event(name, 'end', f'finished in {seconds} s', end, pods[:-1], well)]
        return [started, Event(name, 'end', f'failed after {seconds} s', end, pods)]

    def pods(self, name: str, templates: Iterable[str], is_below_root: bool = True) -> tuple[Pod, ...]:
        """The pod of a node, or those of its attempts, as far as the workflow has them."""
        if not self._name:
            return ()
        place = f'{self._name}.root.{name}' if is_below_root else f'{self._name}.{name}'
        attempts: list[str] = []
        while (node := node_id(self._name, f'{place}({len(attempts)})')) in self._nodes:
            attempts.append(node)
        if not attempts and (node := node_id(self._name, place)) in self._nodes:
            attempts = [node]
        return tuple(Pod(node, self._pod_names(node, templates)) for node in attempts)

    def _step_pods(self, name: str) -> tuple[Pod, ...]:
        # An importer is a pod itself: it has neither a driver nor an executor.
        if name + _DRIVER not in self._tasks:
            return self.pods(name, _IMPORTER_PODS)
        return self.pods(f'{name}.executor', _STEP_PODS)

    def _pod_names(self, node: str, templates: Iterable[str]) -> tuple[str, ...]:
        # Since Argo 3.4 a pod's name has the template in it; the id alone is the name before that.
        number = node.rpartition('-')[2]
        return (*(f'{self._name}-{template}-{number}' for template in templates), node)

    def _works(self, name: str) -> bool:
        """Whether it is sure that a step that runs does more than to take its result from the cache."""
        if name + _DRIVER not in self._tasks or name in self._executor_of:
            return True
        nearest = _nearest(self.task(name), self._others)
        return bool(nearest) and all(executor.get('state') != 'SKIPPED' for executor in nearest)

    def _assign_executors(self) -> None:
        """Finds the executors of steps: by their attempts, or else by the times and how they ended.

        The group of a step begins and ends with its executor. Of steps that begin in the same second, one that is taken
        from the cache ends at once. The executors of steps that still run are among the others.
        """
        for name in self.steps:
            first = node_id(self._name, f'{self._name}.root.{name}.executor(0)')
            for executor in [other for other in self._others if first in _children(other)]:
                self._executor_of[name] = executor
                self._others.remove(executor)
        tasks = {name: self.task(name) for name in self.steps if self._lacks_executor(name)}
        pairs = [
            (_distance(task, executor), name, number)
            for name, task in tasks.items()
            for number, executor in enumerate(self._others)
            if _time(executor.get('end_time')) and _may_belong(executor, task)
        ]
        taken: set[int] = set()
        for _, name, number in sorted(pairs):
            if name not in self._executor_of and number not in taken:
                self._executor_of[name] = self._others[number]
                taken.add(number)
        self._others = [other for number, other in enumerate(self._others) if number not in taken]

    def _lacks_executor(self, name: str) -> bool:
        """Whether a step has ended whose executor is not known; an importer has none."""
        has_ended = bool(self.state(name)) and _time(self.task(name).get('end_time')) is not None
        return has_ended and name not in self._executor_of and name + _DRIVER in self._tasks


def _may_belong(executor: Mapping[str, Any], task: Mapping[str, Any]) -> bool:
    """Whether a step can have ended as it did with this executor: a group fails with its executor, and only then."""
    return (executor.get('state') == 'FAILED') == (task.get('state') == 'FAILED')


def _names(run: Mapping[str, Any], tasks: Mapping[str, Any]) -> list[str]:
    """The steps that the pipeline names; those that have a driver, where the run only refers to a stored pipeline."""
    named = ((pipeline_spec(run).get('root') or {}).get('dag') or {}).get('tasks')
    if named:
        return sorted(named)
    return sorted(name for name in tasks if name + _DRIVER in tasks and name != 'root')


def _children(task: Mapping[str, Any]) -> set[str]:
    return {child['pod_name'] for child in task.get('child_tasks') or [] if child.get('pod_name')}


def _nearest(task: Mapping[str, Any], executors: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those whose times are nearest to a task's."""
    distances = [(_distance(task, executor), executor) for executor in executors]
    least = min((distance for distance, _ in distances), default=0)
    return [executor for distance, executor in distances if distance == least]


def _distance(task: Mapping[str, Any], executor: Mapping[str, Any]) -> float:
    """Seconds between their starts and, where both have ended, their ends."""
    pairs = [(_time(task.get(key)), _time(executor.get(key))) for key in ('start_time', 'end_time')]
    return sum(abs((one - other).total_seconds()) for one, other in pairs if one and other)


def _time(text: str | None) -> datetime.datetime | None:
    """A time of the API in whole seconds; the zero times of Go and Unix mean that there is none."""
    if not text:
        return None
    time = datetime.datetime.strptime(text[:19], '%Y-%m-%dT%H:%M:%S').replace(tzinfo=datetime.timezone.utc)
    return time if time.year > 1970 else None
