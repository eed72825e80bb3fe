"""All that an evaluation measures, in the order of the report's gates."""

from __future__ import annotations

from tfx_edge.components.core.evaluation.measurements.against_baseline import AgainstBaseline
from tfx_edge.components.core.evaluation.measurements.agreement import Agreement
from tfx_edge.components.core.evaluation.measurements.baseline_file import BesideBaselineFile
from tfx_edge.components.core.evaluation.measurements.confusion import Confusion
from tfx_edge.components.core.evaluation.measurements.device_figures import DeviceFigures
from tfx_edge.components.core.evaluation.measurements.file_content import FileContent, FullInteger
from tfx_edge.components.core.evaluation.measurements.finite_answers import FiniteAnswers
from tfx_edge.components.core.evaluation.measurements.fitting_metrics import MetricsFit
from tfx_edge.components.core.evaluation.measurements.measurement import Measurement
from tfx_edge.components.core.evaluation.measurements.outputs_change import OutputsChange
from tfx_edge.components.core.evaluation.measurements.ranges_fit import RangesFit

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
