"""A candidate for selection: its route, and what EdgeEvaluator reported of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.components.core.selection.route import Route


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One that was evaluated, or was meant to be.

    Attributes:
      route: how it was made.
      report: EdgeEvaluator's `report.json`; None where the candidate or its evaluation did not arrive.
      report_file: where that lies.
      missing: why nothing arrived, one line for each cause.
    """

    route: Route
    report: Mapping[str, Any] | None = None
    report_file: str = ''
    missing: Sequence[str] = ()

    @property
    def holds_all(self) -> bool:
        """Whether it holds every limit of its evaluation."""
        return self.report is not None and self.report['verdict'] == 'BLESSED'

    @property
    def missed(self) -> list[str]:
        """The limits that it does not hold, a line each; or why it did not arrive."""
        return list(self.missing) if self.report is None else list(self.report['reasons'])
