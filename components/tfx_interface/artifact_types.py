"""The artifact types of tfx-edge; `tfx_edge.Calibration`, `tfx_edge.EdgeEvaluation` and `tfx_edge.Selection` for users.

Kubeflow finds a type by TYPE_NAME as an import path, and knows no PROPERTIES of foreign types.
"""

from __future__ import annotations

from tfx.types import artifact


class Calibration(artifact.Artifact):
    """Ranges of a model's activations: `calibration.json` (see `core.calibration.ranges`)."""

    TYPE_NAME = 'tfx_edge.Calibration'


class EdgeEvaluation(artifact.Artifact):
    """What EdgeEvaluator measured beside TFMA's metrics: `report.json`, `report.html` and `flips.tfrecord`."""

    TYPE_NAME = 'tfx_edge.EdgeEvaluation'


class Selection(artifact.Artifact):
    """What EdgeSelector chose among: `selection.json` and `selection.html`."""

    TYPE_NAME = 'tfx_edge.Selection'
