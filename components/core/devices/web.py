"""A web page: LiteRT.js in Chromium without a window, measured on this host.

LiteRT.js runs XNNPACK, compiled to WebAssembly. It refuses inputs with an open dimension, so that these are measured
as 1.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import platform
import re
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.devices.absent_tool import AbsentTool
from tfx_edge.components.core.devices.browser_job import example_job, rows_job
from tfx_edge.components.core.devices.browser_run import Browser, FileRefused
from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.model_file import ModelFile

DEVICE = 'web'

_LOG = logging.getLogger(__name__)
_ROUNDS = 31
_TIMEOUT_SECONDS = 600.0


@dataclasses.dataclass(frozen=True)
class TimeRatio:
    """How the times of two files compare.

    Attributes:
      ratio: median over rounds of the file's time to the other's.
      low: lower quartile of the same.
      high: upper quartile.
      rounds: how many.
    """

    ratio: float
    low: float
    high: float
    rounds: int


@dataclasses.dataclass(frozen=True)
class WebPair:
    """Two files that took turns in one page; `times` is None where one of them was not measured."""

    costs: DeviceCosts
    baseline: DeviceCosts
    times: TimeRatio | None = None


def profile(
    model: bytes | ModelFile, device: str = DEVICE, *, timeout_seconds: float = _TIMEOUT_SECONDS
) -> DeviceCosts:
    """Runs a file in a page, on random inputs that are always the same.

    Args:
      model: a `.tflite` file.
      device: DEVICE.
      timeout_seconds: how long the browser may take.

    Returns:
      `milliseconds` of one example.

    Raises:
      EdgeError: the bytes are no valid `.tflite` file.
      EnvironmentFailure: the browser was killed, took too long, or does not start.

    Example:
      ```
      web.profile(file).milliseconds  # 0.07
      ```
    """
    job = example_job(ModelFile.of(model))
    try:
        browser = Browser()
    except AbsentTool as absent:
        return DeviceCosts(device, absent=str(absent))
    try:
        times = browser.times([job], _ROUNDS, timeout_seconds)
    except FileRefused as refused:
        return _refused(browser, refused)
    return _measured(browser, times[:, 0])


def profile_pair(
    model: bytes | ModelFile, baseline: bytes | ModelFile, *, timeout_seconds: float = _TIMEOUT_SECONDS
) -> WebPair:
    """Runs two files in one page, in turns, so that other load on the host slows both.

    Args:
      model: a `.tflite` file.
      baseline: the one to compare with, such as the float file of the same model.
      timeout_seconds: how long the browser may take for both.

    Returns:
      The costs of both, and the ratio of their times.

    Raises:
      EdgeError: the bytes of one are no valid `.tflite` file.
      EnvironmentFailure: the browser was killed, took too long, or does not start.

    Example:
      ```
      web.profile_pair(sparse_file, float_file).times.ratio  # 0.41
      ```
    """
    files = ModelFile.of(model), ModelFile.of(baseline)
    jobs = [example_job(file) for file in files]
    try:
        browser = Browser()
    except AbsentTool as absent:
        costs = DeviceCosts(DEVICE, absent=str(absent))
        return WebPair(costs, costs)
    try:
        ours, theirs = browser.times(jobs, _ROUNDS, timeout_seconds).T
    except FileRefused as refused:
        _LOG.warning('both files in one page: %s; each is run in a page of its own', refused)
        # An error may leave the page's memory damaged: each in a page of its own says which file it is.
        costs, other = (profile(file, timeout_seconds=timeout_seconds) for file in files)
        return WebPair(costs, other)
    low, middle, high = np.percentile(ours / theirs, [25, 50, 75])
    times = TimeRatio(float(middle), float(low), float(high), _ROUNDS)
    return WebPair(_measured(browser, ours), _measured(browser, theirs), times)


def answers(
    model: bytes | ModelFile, inputs: Mapping[str, np.ndarray], *, timeout_seconds: float = _TIMEOUT_SECONDS
) -> dict[str, np.ndarray]:
    """What a file answers in the page, one example after the other.

    Args:
      model: a `.tflite` file for one example at once, or any number.
      inputs: by input name, arrays of shape (examples, ...), of the types that the file stores.
      timeout_seconds: how long the browser may take.

    Returns:
      By output name, arrays of shape (examples, ...).

    Raises:
      EdgeError: the file is not valid, LiteRT.js refuses it, or no browser or LiteRT.js is installed.
      EnvironmentFailure: the browser was killed, took too long, or does not start.

    Example:
      ```
      web.answers(file, {'image': images})['output_0'].shape  # (8, 10)
      ```
    """
    job = rows_job(ModelFile.of(model), inputs)
    try:
        found = Browser().outputs(job, timeout_seconds)
    except (AbsentTool, FileRefused) as error:
        raise EdgeError(f'the file cannot be run in a browser: {error}') from None
    return {
        name: np.concatenate([np.atleast_1d(value) for value in values]) for name, values in found.items()
    }


def _measured(browser: Browser, milliseconds: np.ndarray) -> DeviceCosts:
    return DeviceCosts(
        DEVICE,
        browser.tool,
        settings=f'wasm, one thread, median of {len(milliseconds)} rounds on this host ({_processor()})',
        milliseconds=float(np.median(milliseconds)),
    )


def _refused(browser: Browser, reason: FileRefused) -> DeviceCosts:
    remedy = 'make the file with float inputs and outputs and without custom operators, or leave web out'
    return DeviceCosts(
        DEVICE, browser.tool, obstacle=f'{browser.library.tool} does not run the file ({reason}); {remedy}'
    )


def _processor() -> str:
    """The name of this host's processor."""
    about = pathlib.Path('/proc/cpuinfo')
    named = (
        re.search(r'^model name\s*:\s*(.+)$', about.read_text(), re.MULTILINE) if about.is_file() else None
    )
    return named[1] if named else platform.processor() or platform.machine()
