"""One run of `.tflite` files in LiteRT.js in Chromium: what the page is given, and what it gives back."""

from __future__ import annotations

import base64
import dataclasses
import json
import pathlib
import queue
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfx_edge.components.core.devices import chromium, litert_js
from tfx_edge.components.core.devices.browser_job import Job
from tfx_edge.components.core.devices.page_server import PAGE, PageServer
from tfx_edge.components.core.errors import EnvironmentFailure
from tfx_edge.components.core.exhausted_machine import find_exhausted, remedy_of_machine

_PAGE = pathlib.Path(__file__).with_name('web_page.html')
_WARM_UP = 3
# How long each file runs in a round: many times the clock's resolution.
_ROUND_MILLISECONDS = 20
# How often it is looked whether the browser still runs.
_LOOK_SECONDS = 0.1


class FileRefused(Exception):
    """LiteRT.js does not load or run a file: its reason, in one line."""


@dataclasses.dataclass(frozen=True)
class Browser:
    """What runs files: the browser and the library, as they are installed.

    Raises:
      AbsentTool: one is not installed.
    """

    installed: chromium.Chromium = dataclasses.field(default_factory=chromium.find)
    library: litert_js.LiteRTJS = dataclasses.field(default_factory=litert_js.find)

    @property
    def tool(self) -> str:
        """Names and versions."""
        return f'{self.library.tool}, {self.installed.version}'

    def times(self, jobs: Sequence[Job], rounds: int, timeout_seconds: float) -> np.ndarray:
        """Runs files in turns, one in each round after the other, in one page.

        Args:
          jobs: the files, each with one example.
          rounds: turns of all.
          timeout_seconds: how long it may take.

        Returns:
          Milliseconds of one run, of shape (rounds, files).

        Raises:
          FileRefused: LiteRT.js does not run one of them.
          EnvironmentFailure: the browser was killed, took too long, or does not start.
        """
        return np.array(self._result(jobs, rounds, timeout_seconds)['rounds'], np.float64)

    def outputs(self, job: Job, timeout_seconds: float) -> dict[str, np.ndarray]:
        """Runs a file on each of its examples.

        Args:
          job: the file.
          timeout_seconds: how long it may take.

        Returns:
          By output name, arrays of shape (examples, *shape of the tensor).

        Raises:
          FileRefused: LiteRT.js does not run it.
          EnvironmentFailure: the browser was killed, took too long, or does not start.
        """
        answers = self._result([job], 0, timeout_seconds)['outputs']
        return {name: np.stack([_array(answer[name]) for answer in answers]) for name in answers[0]}

    def _result(self, jobs: Sequence[Job], rounds: int, timeout_seconds: float) -> Mapping[str, Any]:
        server = PageServer(_table(self.library, jobs, rounds))
        with server.running(), chromium.opened(self.installed, server.address) as running:
            result = self._wait(server, running, timeout_seconds)
        if 'refusal' in result:
            raise FileRefused(' '.join(result['refusal'].split())[-300:])
        if 'failure' in result:
            reason = ' '.join(result['failure'].split())[-300:]
            raise EnvironmentFailure(
                f'{self.tool}: the library does not start ({reason}); install both again, or leave web out.'
            )
        return result

    def _wait(self, server: PageServer, running: chromium.Running, timeout_seconds: float) -> Any:
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            # In this order: what was posted before the browser ended is there.
            status = running.ended()
            try:
                result = server.result(_LOOK_SECONDS)
            except queue.Empty:
                if status is not None:
                    raise EnvironmentFailure(f'{self.tool} {_end(status, running.said())}') from None
                continue
            if result is None:
                raise EnvironmentFailure(
                    f'{self.tool} lost the page before it answered; give the step more memory, or leave web out.'
                )
            return result
        raise EnvironmentFailure(
            f'{self.tool} did not run the file within {timeout_seconds:g} s; run the step again on a faster machine, '
            'or leave web out.'
        )


def _end(status: int, said: str) -> str:
    """How a browser ended before the page answered, and what helps."""
    lines = said.strip().splitlines()
    fatal = next((line for line in lines if 'FATAL' in line or find_exhausted(line)), '')
    if status < 0:
        how = signal.Signals(-status).name
    else:
        how, fatal = f'exit status {status}', fatal or next(reversed(lines), '')
    how += f': {" ".join(fatal.split())[-300:]}' if fatal else ''
    if 'Socket path too long' in fatal:
        return f'ended before the page answered ({how}); set TMPDIR to a folder with a shorter path.'
    remedy = remedy_of_machine(status, said) or f'set {chromium.VARIABLE} to another one, or leave web out.'
    return f'ended before the page answered ({how}); {remedy}'


def _table(library: litert_js.LiteRTJS, jobs: Sequence[Job], rounds: int) -> dict[str, bytes | pathlib.Path]:
    """All that the page can ask for, by its address."""
    table: dict[str, bytes | pathlib.Path] = {PAGE: _PAGE, **library.files}
    files = []
    for number, job in enumerate(jobs):
        path = f'model/{number}'
        table[path] = job.data
        inputs = {}
        for position, (name, values) in enumerate(job.inputs.items()):
            place = f'input/{number}/{position}'
            table[place] = np.ascontiguousarray(values).tobytes()
            inputs[name] = {'path': place, 'dtype': values.dtype.name, 'shape': list(values.shape[1:])}
        examples = len(next(iter(job.inputs.values()))) if job.inputs else 1
        files.append({'path': path, 'inputs': inputs, 'examples': examples})
    content = {
        'library': library.library,
        'wasm': library.wasm,
        'imports': library.imports,
        'files': files,
        'rounds': rounds,
        'warmUp': _WARM_UP,
        'roundMilliseconds': _ROUND_MILLISECONDS,
    }
    table['job.json'] = json.dumps(content).encode()
    return table


def _array(output: Mapping[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(output['values']), output['dtype'])
    return values.reshape(output['shape'])
