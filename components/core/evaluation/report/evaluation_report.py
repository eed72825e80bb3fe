"""`report.json`: what an evaluation measured, and the verdict with its reasons."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from typing_extensions import NotRequired, TypedDict

from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.evaluation.gates.gate import Gate
from tfx_edge.components.core.evaluation.gates.verdict import Verdict
from tfx_edge.components.core.evaluation.measurements.baseline_file import LayersPart, WeightsPart
from tfx_edge.components.core.evaluation.measurements.comparison_parts import (
    ComparisonPart,
    FlipsPart,
    NonInferiorityPart,
)
from tfx_edge.components.core.evaluation.measurements.confusion_part import ConfusionPart
from tfx_edge.components.core.evaluation.measurements.file_content import FilePart
from tfx_edge.components.core.evaluation.measurements.measurement import Finding
from tfx_edge.components.core.evaluation.measurements.outputs_change import OutputRow
from tfx_edge.components.core.evaluation.measurements.ranges_fit import FitPart
from tfx_edge.components.core.evaluation.metrics.tfma_names import Number, number
from tfx_edge.components.core.evaluation.model_files.latency import Latency
from tfx_edge.components.core.evaluation.report.metrics_by_slice import SliceMetrics
from tfx_edge.components.core.evaluation.report.report_format import FORMAT_VERSION
from tfx_edge.components.core.litert.file.interpreter import Runtime


class GateRow(TypedDict):
    """One limit, what was measured against it, and whether it holds.

    Attributes:
      name: of the gate.
      measured: null where nothing was measured.
      limit: that was set.
      holds: whether the model may ship, for this gate.
      detail: says more, or ''.
    """

    name: str
    measured: Number | None
    limit: float
    holds: bool
    detail: str


class ModelRow(TypedDict):
    """A model: where it lies, and the signature that was called."""

    path: str
    signature_name: str


class Models(TypedDict):
    """What was run."""

    candidate: ModelRow
    baseline: NotRequired[ModelRow]


class FidelityPart(TypedDict):
    """The file against the float model, as its maker measured it.

    Attributes:
      told: in one line.
      db: signal to noise.
      agreement: share of samples with the same answer; null for outputs that are of no classes.
      samples: how many.
    """

    told: str
    db: float
    agreement: float | None
    samples: int


class Report(TypedDict):
    """EdgeEvaluator's report.json, format version 1."""

    format_version: Literal[1]
    verdict: Literal['BLESSED', 'NOT_BLESSED']
    reasons: list[str]
    notes: list[str]
    gates: list[GateRow]
    models: Models
    examples: int
    agreement: float | None
    metrics: list[SliceMetrics]
    comparison: ComparisonPart
    non_inferiority: NonInferiorityPart
    flips: FlipsPart
    confusion: ConfusionPart
    outputs: list[OutputRow]
    fidelity: FidelityPart | None
    file: FilePart
    runtime: Runtime
    latency: Latency | None
    layers: LayersPart
    weights: WeightsPart
    calibration_fit: FitPart
    devices: list[DeviceCosts]
    devices_of_baseline: list[DeviceCosts]
    figures: NotRequired[dict[str, dict[str, Number | None]]]


def make_report(
    *,
    verdict: Verdict,
    findings: Sequence[Finding],
    models: Models,
    metrics: Sequence[SliceMetrics],
    fidelity: Mapping[str, Any] | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The report as JSON values; every number that a verdict rests on is in it.

    Args:
      verdict: with its reasons.
      findings: of every measurement, in the order of their gates.
      models: the candidate, and the baseline where there is one.
      metrics: TFMA's.
      fidelity: what the file's maker said of it; None where it said nothing.
      notes: what a reader should know, such as a threshold that was not checked.

    Returns:
      The report, as `Report` declares it; `report.schema.json` beside this file is its JSON schema.
    """
    report = {
        'format_version': FORMAT_VERSION,
        'verdict': 'BLESSED' if verdict.blessed else 'NOT_BLESSED',
        'reasons': list(verdict.reasons),
        'notes': [*notes, *(note for finding in findings for note in finding.notes)],
        'gates': [_gate_row(gate) for finding in findings for gate in finding.gates],
        'models': models,
        'metrics': metrics,
        'fidelity': fidelity,
    }
    for finding in findings:
        report |= finding.parts
    if figures := {name: values for finding in findings for name, values in finding.figures.items()}:
        report['figures'] = figures
    return cast(dict[str, Any], _as_json(report))


def to_json(report: Mapping[str, Any]) -> str:
    """The text of `report.json`; strict JSON, which has no NaN."""
    return json.dumps(report, indent=2, sort_keys=True, allow_nan=False) + '\n'


def _gate_row(gate: Gate) -> GateRow:
    return GateRow(
        name=gate.name,
        measured=None if gate.measured is None else number(gate.measured),
        limit=gate.limit,
        holds=gate.holds,
        detail=gate.detail,
    )


def _as_json(value: Any) -> Any:
    """Dataclasses as objects of their fields, and every sequence as a list."""
    if dataclasses.is_dataclass(value):
        return {field.name: _as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _as_json(part) for key, part in value.items()}
    return [_as_json(part) for part in value] if isinstance(value, (list, tuple)) else value
