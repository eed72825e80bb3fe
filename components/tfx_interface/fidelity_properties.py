"""Writes the fidelity of a file to its artifact, and reads it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from tfx import types

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.post_training import fidelity_report
from tfx_edge.components.core.post_training.compared_file import Bound, ComparedFile

DB_PROPERTY = 'tfx_edge_fidelity_db'
AGREEMENT_PROPERTY = 'tfx_edge_fidelity_agreement'
SAMPLES_PROPERTY = 'tfx_edge_fidelity_samples'
LINE_PROPERTY = 'tfx_edge_fidelity'
# What comes of an example that lies far from all others.
STRETCHED = 'the ranges of all that is computed of it are as wide: integers tell nothing else apart'

_LOG = logging.getLogger(__name__)


def report(
    model: types.Artifact, held: ComparedFile | None, bound: Bound, cause: Callable[[], str] = str
) -> None:
    """Writes one line to the log, and sums it up in the custom properties of an artifact.

    Args:
      model: the output Model.
      held: the file with its measured fidelity; None where there were no examples.
      bound: the fidelity that is expected.
      cause: finds what the file is not to blame for, as a sentence or ''; called where the fidelity is too low.

    Raises:
      EdgeError: fidelity is required, and the file is below the bound.
    """
    if held is None:
        _LOG.info('the file is not held against the float model: there are no examples to compare on')
        return
    line = fidelity_report.line(held)
    if held.is_low or held.repaired:
        line = '. '.join(filter(None, [line, cause().rstrip('.')]))
    if held.is_low and bound.required:
        raise EdgeError(f'require_fidelity: {line}.')
    _LOG.log(logging.WARNING if held.is_low or held.repaired else logging.INFO, '%s', line)
    model.set_string_custom_property(LINE_PROPERTY, line)
    model.set_int_custom_property(SAMPLES_PROPERTY, held.fidelity.samples)
    model.set_float_custom_property(DB_PROPERTY, fidelity_report.number(held.fidelity.db))
    if held.fidelity.agreement is not None:
        model.set_float_custom_property(AGREEMENT_PROPERTY, held.fidelity.agreement)


def reported(model: types.Artifact) -> dict[str, Any] | None:
    """What `report` wrote to an artifact, as `report.json` holds it.

    Args:
      model: an input Model.

    Returns:
      `told` (the line), `db`, `agreement` (None where the outputs are not classes) and `samples`; None where the
      model's maker wrote nothing.
    """
    if not model.has_custom_property(LINE_PROPERTY):
        return None
    has_classes = model.has_custom_property(AGREEMENT_PROPERTY)
    return {
        'told': model.get_string_custom_property(LINE_PROPERTY),
        'db': model.get_float_custom_property(DB_PROPERTY),
        'agreement': model.get_float_custom_property(AGREEMENT_PROPERTY) if has_classes else None,
        'samples': model.get_int_custom_property(SAMPLES_PROPERTY),
    }
