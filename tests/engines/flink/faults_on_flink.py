"""What a step reports and leaves when a part of Flink, or the step itself, is lost in the middle of EdgeEvaluator."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

import pytest

from tests import processes
from tests.engines import single_step
from tests.engines.flink.cluster import FlinkCluster
from tests.engines.flink.volume import left_on
from tests.engines.single_step import Step


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault, and how a step ends then.

    Attributes:
      strike: does it, to a cluster or to the step.
      status: the step's exit status.
      line: what its last line holds.
    """

    strike: Callable[[FlinkCluster, subprocess.Popen[bytes]], None]
    status: int
    line: Sequence[str]


def kill_workers(cluster: FlinkCluster, step: subprocess.Popen[bytes]) -> None:
    """As the kernel does when workers take more memory than their container has."""
    for worker in processes.below(cluster.pools[0].process.pid):
        os.kill(worker, signal.SIGKILL)


FAULTS = {
    'task_manager_is_killed': Fault(
        lambda cluster, step: cluster.task_managers[0].end(signal.SIGKILL),
        1,
        ('a task manager of Flink', ' was lost', 'kubectl describe pod'),
    ),
    'task_manager_is_deleted': Fault(
        lambda cluster, step: cluster.task_managers[0].end(signal.SIGTERM),
        1,
        ('a task manager of Flink', ' was lost', 'kubectl describe pod'),
    ),
    'worker_is_killed': Fault(
        kill_workers, 1, ('a worker of Beam died', 'memory limit', 'crash', '-c beam-workers')
    ),
    'job_server_is_killed': Fault(
        lambda cluster, step: cluster.job_server.end(signal.SIGKILL),
        1,
        ("Beam's job server at beam-job-server:8099 was lost", 'kubectl logs --previous'),
    ),
    'step_is_terminated': Fault(
        lambda cluster, step: step.send_signal(signal.SIGTERM), 143, ('was terminated',)
    ),
}
IN_SHORT = {'job_server_is_killed'}
# Ending takes the time in which Beam and Flink notice, and in which the step cancels its job.
SECONDS = 60


@pytest.fixture(scope='module')
def evaluator(
    started_flink: FlinkCluster, shared: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Step:
    arguments = started_flink.beam_args(started_flink.slots)
    return single_step.evaluator(tmp_path_factory.mktemp('evaluator'), arguments, shared)


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[pytest.mark.short] * (name in IN_SHORT)) for name in FAULTS]
)
def test_step_shows_what_was_lost_and_leaves_nothing_when(
    name: str, flink: FlinkCluster, evaluator: Step, shared: pathlib.Path
) -> None:
    fault = FAULTS[name]
    step = evaluator.start()
    try:
        until_in_the_middle(flink, evaluator, step)
        fault.strike(flink, step)
        status = step.wait(SECONDS)
    finally:
        step.kill()
        step.wait()
    last = evaluator.last_line()
    assert status == fault.status, last
    assert last.startswith('tfx-edge: ')
    for part in fault.line:
        assert part in last
    assert left_on(shared) == []
    assert flink.rest.unfinished() == {}


def test_step_that_was_not_given_flinks_address_asks_the_job_server(
    flink: FlinkCluster, shared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    arguments = [part for part in flink.beam_args(flink.slots) if not part.startswith('--flink_master')]
    evaluator = single_step.evaluator(tmp_path, arguments, shared)
    step = evaluator.start()
    try:
        until_in_the_middle(flink, evaluator, step)
        step.terminate()
        assert step.wait(SECONDS) == 143
    finally:
        step.kill()
        step.wait()
    assert 'cancelling Flink job' in evaluator.log.read_text(errors='replace')
    assert left_on(shared) == []
    assert flink.rest.unfinished() == {}


def until_in_the_middle(flink: FlinkCluster, evaluator: Step, step: subprocess.Popen[bytes]) -> None:
    """Waits until the worker beside each task manager has done a part of the step's job, and has more to do."""
    while True:
        assert step.poll() is None, evaluator.log.read_text(errors='replace')[-4000:]
        jobs = flink.rest.unfinished()
        if any(flink.rest.served(job) >= 3 for job in jobs):
            return
        time.sleep(0.3)
