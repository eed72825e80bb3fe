"""Follows a run on Kubeflow Pipelines to its end, and prints what its steps do."""

from __future__ import annotations

import datetime
import time
from typing import Any

from tfx_edge.pipelines.console import Progress
from tfx_edge.pipelines.failure import CommandError
from tfx_edge.pipelines.kubeflow import run_steps
from tfx_edge.pipelines.kubeflow.kfp_connection import Connection, LostConnectionError
from tfx_edge.pipelines.kubeflow.step_log import failure_line, log_of
from tfx_edge.pipelines.kubeflow.step_results import has_results, results_in

POLL_SECONDS = 3.0
_LINE_SECONDS = 30.0
_ENDS = {
    'SUCCEEDED': 'the run succeeded',
    'FAILED': 'the run failed',
    'CANCELED': 'the run was terminated',
    'SKIPPED': 'the run was skipped',
}


class RunProgress:
    """A run that is followed.

    What was printed is not printed again, so that `follow` may be called anew after an interruption.

    Args:
      connection: the server.
      run_id: of the run.
      progress: prints the lines, with the time since the run was made in front.
      patience: for how many seconds a lost connection is tried again.
      poll_seconds: from one question to the next.

    Example:
      ```
      RunProgress(connection, '0f5c...', Progress(sys.stdout), 600).follow()
      #  0:09  Trainer: started
      #  1:10  Trainer: finished in 61 s
      #  1:12  the run succeeded
      ```
    """

    def __init__(
        self,
        connection: Connection,
        run_id: str,
        progress: Progress,
        patience: float,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._connection = connection
        self._run_id = run_id
        self._progress = progress
        self._patience = patience
        self._poll_seconds = poll_seconds
        self._began: datetime.datetime | None = None
        self._said: set[tuple[str, str]] = set()
        # Nodes of the attempts whose lines were printed.
        self._shown: set[str] = set()

    def follow(self) -> bool:
        """Waits for the end of the run.

        Returns:
          Whether the run succeeded.

        Raises:
          EdgeError: there is no such run, or the server refuses.
          CommandError: there was no answer for longer than the patience lasts.
        """
        while True:
            run = self._run()
            for event in run_steps.events(run):
                self._say(event, run)
            state = run.get('state') or ''
            if state in _ENDS:
                self._end(run, state)
                return state == 'SUCCEEDED'
            time.sleep(self._poll_seconds)

    def seconds_of_steps(self) -> dict[str, float]:
        """How long each step of the run worked that has ended."""
        return run_steps.seconds_of_steps(self._run())

    def line(self, text: str) -> None:
        """Prints a line with the time now."""
        self._line(text, datetime.datetime.now(datetime.timezone.utc))

    def _run(self) -> dict[str, Any]:
        lost_since = last_line = None
        while True:
            try:
                run = self._connection.run(self._run_id)
                self._began = run_steps.began(run) or self._began
                return run
            except LostConnectionError as error:
                now = time.monotonic()
                lost_since = now if lost_since is None else lost_since
                if now - lost_since >= self._patience:
                    raise CommandError(
                        f'no answer from {self._connection.host} for {self._patience / 60:g} minutes ({error}); '
                        'the run is left as it is.'
                    ) from error
                if last_line is None or now - last_line >= _LINE_SECONDS:
                    last_line = now
                    self.line(f'no answer from {self._connection.host} ({error}); trying again')
            time.sleep(self._poll_seconds)

    def _say(self, event: run_steps.Event, run: dict[str, Any]) -> None:
        failed = [pod for pod in event.failed_pods if pod.node not in self._shown]
        is_new = bool(failed) if event.kind == 'repeated' else (event.step, event.kind) not in self._said
        if not is_new:
            return
        self._said.add((event.step, event.kind))
        if event.time is None:
            self.line(f'{event.step}: {event.text}')
        else:
            self._line(f'{event.step}: {event.text}', event.time)
        self._show(event, failed)
        if event.kind == 'end' and event.pod:
            self._show_results(event.pod, has_results(event.step, run_steps.pipeline_spec(run)))

    def _show_results(self, pod: run_steps.Pod, expected: bool | None) -> None:
        """Prints what a step found; of a stored pipeline, whose spec is not told, the log of each step is read."""
        if expected is False:
            return
        log = log_of(self._connection, self._run_id, self._day, pod)
        lines = results_in(log or '')
        if log is None and expected:
            lines = ['its log cannot be had']
        for line in lines:
            self._progress.text(f'       {line}')

    @property
    def _day(self) -> str:
        return f'{self._began:%Y-%m-%d}' if self._began else ''

    def _show(self, event: run_steps.Event, pods: list[run_steps.Pod]) -> None:
        for pod in pods:
            self._shown.add(pod.node)
            attempts = len(event.failed_pods)
            number = f'attempt {event.failed_pods.index(pod) + 1}: ' if attempts > 1 else ''
            self._progress.text(
                f'       {number}{failure_line(self._connection, self._run_id, self._day, pod)}'
            )

    def _end(self, run: dict[str, Any], state: str) -> None:
        reason = (run.get('error') or {}).get('message') if state != 'SUCCEEDED' else None
        text = _ENDS[state] + (f': {reason.splitlines()[0]}' if reason else '')
        ended = run.get('finished_at')
        time_of_end = run_steps.began({'created_at': ended})
        if time_of_end is None:
            self.line(text)
        else:
            self._line(text, time_of_end)

    def _line(self, text: str, at: datetime.datetime) -> None:
        # Clocks of this machine and the cluster may differ by a little.
        seconds = max(0, int((at - self._began).total_seconds())) if self._began else 0
        self._progress.text(f'{seconds // 60:2d}:{seconds % 60:02d}  {text}')
