"""`report.json`: what an evaluation measured, and the verdict with its reasons."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.components.core.evaluation.gates import Gate, Measurements
from tfx_edge.components.core.evaluation.tfma_names import number
from tfx_edge.components.core.evaluation.verdict import Verdict

FORMAT_VERSION = 1
BLESSED, NOT_BLESSED = 'BLESSED', 'NOT_BLESSED'


def make_report(
    *,
    verdict: Verdict,
    gates: Sequence[Gate],
    measured: Measurements,
    models: Mapping[str, Mapping[str, str]],
    notes: Sequence[str],
    parts: Mapping[str, Any],
) -> dict[str, Any]:
    """The report as JSON values; every number that a verdict rests on is in it.

    Args:
      verdict: with its reasons.
      gates: judged.
      measured: what the gates rest on.
      models: 'candidate', and 'baseline' where there is one: `path` and `signature_name`.
      notes: what a reader should know, such as a threshold that was not checked.
      parts: the others, by name, as `metrics_report`, `comparison_report`, `file_report` and `confusion` make them.

    Returns:
      The report; `report.schema.json` beside this file is its JSON schema.
    """
    return {
        'format_version': FORMAT_VERSION,
        'verdict': BLESSED if verdict.blessed else NOT_BLESSED,
        'reasons': list(verdict.reasons),
        'notes': list(notes),
        'gates': [{**dataclasses.asdict(gate), 'measured': number(gate.measured)} for gate in gates],
        'models': {name: dict(model) for name, model in models.items()},
        'examples': measured.examples,
        'agreement': measured.agreement,
        'latency': None if measured.latency is None else dataclasses.asdict(measured.latency),
        'calibration_fit': {
            'not_judged': measured.fit.obstacle,
            'examples': measured.fit.examples,
            'tensors': len(measured.fit.tensors),
            'worst_tensors': [dataclasses.asdict(tensor) for tensor in measured.fit.worst],
        },
        **parts,
    }


def to_json(report: Mapping[str, Any]) -> str:
    """The text of `report.json`; strict JSON, which has no NaN."""
    return json.dumps(report, indent=2, sort_keys=True, allow_nan=False) + '\n'
