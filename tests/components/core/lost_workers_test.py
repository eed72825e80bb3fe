"""A worker process of Beam's that a signal ends: the run ends too, with a line that says so."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PIPELINE = """
import sys
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from tfx_edge.components.core.lost_workers import lost_workers_raised

def die(number, by=int(sys.argv[1])):
    import os
    if number == 7 and by:
        os.kill(os.getpid(), by)
    return number

ARGUMENTS = ['--runner=FnApiRunner', '--direct_running_mode=multi_processing', '--direct_num_workers=2']
with lost_workers_raised(), lost_workers_raised(), beam.Pipeline(options=PipelineOptions(ARGUMENTS)) as pipeline:
    _ = pipeline | beam.Create(range(20)) | beam.Reshuffle() | beam.Map(die)
"""


def run(by: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', PIPELINE, str(int(by))],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_worker_that_is_killed_ends_the_run_with_a_line() -> None:
    done = run(signal.SIGKILL)
    assert done.returncode == 1
    words = 'was ended by SIGKILL, most likely because the memory was full;'
    assert words in done.stderr.splitlines()[-1]


def test_workers_that_end_by_themselves_are_no_fault() -> None:
    done = run(0)
    assert done.returncode == 0, done.stderr
