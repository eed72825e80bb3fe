"""`report.html`: the report as one page that needs no network, no scripts and no other file."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from tfx_edge.components.core.evaluation.report.metrics_matrix import metrics_matrix
from tfx_edge.components.core.page_template import page_environment

_TEMPLATE = 'report_page.html.jinja'
# Left end and width of a drawn interval; the drawing is 120 units wide.
_LEFT, _WIDTH = 4.0, 112.0
# How many flips are shown at once; the others are folded.
_FIRST_FLIPS = 12


def render_page(report: Mapping[str, Any], pictures: Mapping[int, Sequence[str]]) -> str:
    """The page; it shows nothing that is not in the report.

    Whatever comes from models, examples or configuration is escaped, and the page's Content-Security-Policy
    forbids scripts and network access.

    Args:
      report: of `make_report`.
      pictures: data URIs of listed flips, by their place in the list; as `flip_pictures` makes them.

    Returns:
      HTML 5; the same report gives the same text.

    Example:
      >>> render_page(report, {}).startswith('<!DOCTYPE html>')
      True
    """
    return _template().render(report=report, pictures=pictures, matrix=metrics_matrix(report)) + '\n'


@functools.cache
def _template() -> jinja2.Template:
    environment = page_environment('tfx_edge.components.core.evaluation', 'report')
    environment.globals.update(first_flips=_FIRST_FLIPS, place=_place, shade=_shade, percent=_percent)
    return environment.get_template(_TEMPLATE)


def _place(value: float, left: float, width: float) -> str:
    """Where a value lies in the drawing of an interval."""
    share = (value - left) / width
    return f'{_LEFT + _WIDTH * share:.2f}' if math.isfinite(share) else f'{_LEFT:.2f}'


def _shade(count: int, total: int) -> str:
    """How dark a cell is, 0 to 1: the share of its row."""
    return f'{count / total:.3f}' if total else '0'


def _percent(share: Any) -> str:
    """Width of the bar of an error, which ends at 1."""
    return f'{100 * min(share, 1.0):.2f}' if isinstance(share, (int, float)) and math.isfinite(share) else '0'
