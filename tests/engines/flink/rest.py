"""Flink's REST API: what a cluster has and does."""

from __future__ import annotations

import dataclasses
import json
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from tests.engines.pods import Container

# What Beam's Flink runner calls the tasks whose work is Python's.
_OF_WORKERS = 'MapPartition at ['
_ENDED = {'CANCELED', 'FAILED', 'FINISHED'}


@dataclasses.dataclass(frozen=True)
class Rest:
    """The REST API of a job manager.

    Attributes:
      url: of the job manager.
    """

    url: str

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f'{self.url}{path}', timeout=20) as answer:
            return json.load(answer)

    def overview(self) -> dict[str, Any]:
        """Numbers of task managers and slots."""
        return self.get('/overview')

    def jobs(self) -> dict[str, str]:
        """The state of every job, by id."""
        return {job['jid']: job['state'] for job in self.get('/jobs/overview')['jobs']}

    def unfinished(self) -> dict[str, str]:
        """The jobs that hold slots, or wait for them."""
        return {job: state for job, state in self.jobs().items() if state not in _ENDED}

    def served(self, job: str) -> int:
        """How many stages of a job the workers of every slot have done."""
        vertices = self.get(f'/jobs/{job}')['vertices']
        return sum(_OF_WORKERS in vertex['name'] and vertex['status'] == 'FINISHED' for vertex in vertices)

    def wait_for_slots(self, slots: int, containers: Sequence[Container], seconds: float = 120) -> None:
        """Waits until that many slots are there and free.

        Raises:
          RuntimeError: one of the containers has ended.
          TimeoutError: they are not.
        """
        deadline = time.monotonic() + seconds
        while (seen := self.overview())['slots-available'] < slots or seen['slots-total'] != slots:
            for container in containers:
                container.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f'{slots} free slots were expected after {seconds:.0f} s: {seen}')
            time.sleep(0.3)
