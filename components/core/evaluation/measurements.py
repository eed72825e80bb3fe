"""All that an evaluation measures, in the order of the report's gates."""

from __future__ import annotations

from tfx_edge.components.core.evaluation.against_baseline import AgainstBaseline
from tfx_edge.components.core.evaluation.agreement import Agreement
from tfx_edge.components.core.evaluation.confusion import Confusion
from tfx_edge.components.core.evaluation.device_gates import DeviceFigures
from tfx_edge.components.core.evaluation.file_comparison import BesideBaselineFile
from tfx_edge.components.core.evaluation.file_report import FileContent, FullInteger
from tfx_edge.components.core.evaluation.finite_answers import FiniteAnswers
from tfx_edge.components.core.evaluation.fitting_metrics import MetricsFit
from tfx_edge.components.core.evaluation.gates import Limit
from tfx_edge.components.core.evaluation.measurement import Measurement
from tfx_edge.components.core.evaluation.outputs_change import OutputsChange
from tfx_edge.components.core.evaluation.ranges_fit import RangesFit

# FiniteAnswers comes first: it refuses an evaluation without examples, of which the others can say nothing.
MEASUREMENTS: tuple[type[Measurement], ...] = (
    FiniteAnswers,
    MetricsFit,
    OutputsChange,
    Agreement,
    FileContent,
    BesideBaselineFile,
    FullInteger,
    RangesFit,
    DeviceFigures,
    AgainstBaseline,
    Confusion,
)

LIMITS: tuple[Limit, ...] = tuple(limit for measurement in MEASUREMENTS for limit in measurement.limits)
