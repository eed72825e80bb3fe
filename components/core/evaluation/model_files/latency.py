"""The latency of a file relative to another one's, on this host.

Each runs in one thread, whose processor time is measured: a wall clock would also count the time of other programs.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from tfx_edge.components.core.litert.file.interpreter import load

_ROUNDS = 51
_WARM_UP = 3
# How long each file runs in a round: many times the clock's resolution.
_ROUND_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Latency:
    """Times of one invocation on one example.

    Attributes:
      milliseconds: median of the file's.
      baseline_milliseconds: median of the other's.
      ratio: median over rounds of the file's time to the other's.
      ratio_low: lower quartile of the same.
      ratio_high: upper quartile.
      rounds: how many.
      kernels: the runtime's.
    """

    milliseconds: float
    baseline_milliseconds: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int
    kernels: str = 'LiteRT with XNNPACK, one thread'


def measure_latency(model: bytes, baseline: bytes, *, rounds: int = _ROUNDS) -> Latency:
    """Runs both files in each round, so that other load on the host slows both.

    Args:
      model: bytes of a `.tflite` file.
      baseline: bytes of the file to compare with, such as the float one of the same model.
      rounds: turns of both.

    Returns:
      Medians, and the ratio with its quartiles.

    Raises:
      EdgeError: a file cannot be loaded.

    Example:
      >>> run_isolated(measure_latency, int8_file, float_file).ratio
      0.41
    """
    runs = [_Runs(model), _Runs(baseline)]
    times = []
    for number in range(rounds):
        # Whoever comes second may find warmer caches, or a hotter processor.
        order = (0, 1) if number % 2 else (1, 0)
        found = [0.0, 0.0]
        for which in order:
            found[which] = runs[which].seconds()
        times.append(found)
    ours, theirs = np.array(times).T * 1000
    low, middle, high = np.percentile(ours / theirs, [25, 50, 75])
    return Latency(
        milliseconds=float(np.median(ours)),
        baseline_milliseconds=float(np.median(theirs)),
        ratio=float(middle),
        ratio_low=float(low),
        ratio_high=float(high),
        rounds=rounds,
    )


class _Runs:
    """A loaded file with random inputs that do not change."""

    def __init__(self, model: bytes) -> None:
        self._interpreter = load(model, num_threads=1)
        random = np.random.default_rng(0)
        for detail in self._interpreter.get_input_details():
            values = random.uniform(0, 1, detail['shape'])
            if np.issubdtype(detail['dtype'], np.integer):
                values = values * np.iinfo(detail['dtype']).max if detail['quantization'][0] else values
            self._interpreter.set_tensor(detail['index'], values.astype(detail['dtype']))
        for _ in range(_WARM_UP):
            self._interpreter.invoke()
        start = time.thread_time()
        self._interpreter.invoke()
        self._count = max(1, round(_ROUND_SECONDS / max(time.thread_time() - start, 1e-6)))

    def seconds(self) -> float:
        """The mean processor time of one invocation in a round."""
        start = time.thread_time()
        for _ in range(self._count):
            self._interpreter.invoke()
        return (time.thread_time() - start) / self._count
