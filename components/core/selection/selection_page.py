"""`selection.html`: the selection as one page that needs no network and no other file."""

from __future__ import annotations

import base64
import functools
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2

from tfx_edge.components.core.page_template import page_environment
from tfx_edge.components.core.selection.pareto_plot import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH, pareto_plots
from tfx_edge.components.core.selection.shown_values import figure_text, finite
from tfx_edge.components.core.selection.weight_stations import kernel_rows, stations

_TEMPLATE = 'selection_page.html.jinja'
_SCRIPT = pathlib.Path(__file__).with_name('selection_page.js')
# How many kernels, and how many reasons of a route, are shown at once; the others are folded.
_FIRST_KERNELS = 12
_FIRST_REASONS = 3


def render_page(report: Mapping[str, Any]) -> str:
    """The page; it shows nothing that is not in the report.

    Whatever comes from models, routes or configuration is escaped. The page's Content-Security-Policy forbids network
    access and every script but its own, which sorts the table of candidates.

    Args:
      report: a `SelectionReport`.

    Returns:
      HTML 5; the same report gives the same text.

    Example:
      >>> about = {'verdict': 'BLESSED', 'chosen': 'int8', 'reason': 'the only one', 'examples': 200}
      >>> page = render_page({**about, 'metric': None, 'axes': [], 'candidates': [], 'notes': []})
      >>> page.startswith('<!DOCTYPE html>')
      True
    """
    chosen = next((row for row in report['candidates'] if row['route'] == report['chosen']), None)
    chain = stations(report['candidates'], chosen) if chosen and chosen['weights'] else []
    script = _script()
    return (
        _template().render(
            report=report,
            chosen=chosen,
            plots=pareto_plots(report),
            stations=chain,
            kernels=kernel_rows(chain) if chain else [],
            script=script,
            script_hash=_hash(script),
        )
        + '\n'
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = page_environment('tfx_edge.components.core', 'selection')
    environment.filters.update(figure=figure_text, sort_key=_sort_key)
    environment.globals.update(width=WIDTH, height_of_plot=HEIGHT, top=TOP, bottom=BOTTOM, right=RIGHT)
    environment.globals.update(first_kernels=_FIRST_KERNELS, first_reasons=_FIRST_REASONS)
    return environment.get_template(_TEMPLATE)


@functools.cache
def _script() -> str:
    """The text between the tags of the page's script."""
    return _SCRIPT.read_text('utf-8')


def _hash(script: str) -> str:
    """What the Content-Security-Policy names a script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _sort_key(value: Any) -> str:
    """All digits of a number, as the script reads them; '' for what was not measured."""
    measured = finite(value)
    return '' if measured is None else repr(measured)
