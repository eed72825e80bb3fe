"""What a user demands of a metric beside a baseline's, without what finds it in TFMA's configuration."""

from __future__ import annotations

import dataclasses
import math

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.metrics.example_values import KINDS

# Metrics that can be tested, for errors.
SUPPORTED = ', '.join(sorted(KINDS))


@dataclasses.dataclass(frozen=True)
class MetricDrop:
    """What a user demands: the metric (its class name, or the name in its config) and the margin."""

    metric: str
    margin: float


def check_drop(drop: MetricDrop) -> None:
    """Refuses a margin that is not above 0; `find_tested_metrics` checks the metric against eval_config."""
    if not drop.metric:
        raise EdgeError(
            f'EdgeEvaluation.max_metric_drop has no metric; name one of eval_config: {SUPPORTED}.'
        )
    if not (math.isfinite(drop.margin) and drop.margin > 0):
        raise EdgeError(
            f'EdgeEvaluation.max_metric_drop has the margin {drop.margin!r} for {drop.metric!r}; expected how much '
            'worse than the baseline is too much, a number above 0.'
        )
