"""A user's metric that fails after it has seen the examples."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma


class Broken(tfma.metrics.Metric):
    """Fails where it is told to: when Beam asks for its output, or TFMA for what is derived of it."""

    def __init__(self, where: str, name: str = 'broken') -> None:
        self._where = where
        super().__init__(_computations, name=name, where=where)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same metric again."""
        return {'where': self._where, 'name': self.name}


class _Count(beam.CombineFn):
    def __init__(self, key: Any, where: str) -> None:
        self._key, self._where = key, where

    def create_accumulator(self) -> int:
        return 0

    def add_input(self, accumulator: int, element: Any) -> int:
        return accumulator + 1

    def merge_accumulators(self, accumulators: Any) -> int:
        return sum(accumulators)

    def extract_output(self, accumulator: int) -> dict[Any, int]:
        if self._where == 'extract_output':
            raise KeyError('absent')
        return {self._key: accumulator}


def _computations(name: str, where: str, **settings: Any) -> list[Any]:
    key = tfma.metrics.MetricKey(name)
    private = tfma.metrics.MetricKey(f'_{name}')

    def result(metrics: Any) -> dict[Any, Any]:
        raise KeyError('absent')

    count = tfma.metrics.MetricComputation(
        keys=[private], preprocessors=None, combiner=_Count(private, where)
    )
    return [count, tfma.metrics.DerivedMetricComputation(keys=[key], result=result)]
