"""What is in the `.tflite` file: its sizes, its operators and what they compute in."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from typing_extensions import TypedDict

from tfx_edge.components.core.evaluation.gates.gate import at_most
from tfx_edge.components.core.evaluation.gates.limits import FULL_INTEGER, MAX_FILE_BYTES, MAX_ZIP_BYTES
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement
from tfx_edge.components.core.evaluation.model_files import sizes
from tfx_edge.components.core.litert.file.activation_memory import peak_activation_bytes
from tfx_edge.components.core.litert.file.float_islands import FloatIsland, float_islands
from tfx_edge.components.core.litert.file.inspect import ModelSummary
from tfx_edge.components.core.litert.file.interpreter import RUNTIME
from tfx_edge.components.core.litert.file.model_file import ModelFile

_LOG = logging.getLogger(__name__)


class FilePart(TypedDict):
    """Sizes and operators of the `.tflite` file.

    Attributes:
      file_bytes: of the file.
      zip_bytes: of a DEFLATE zip of it.
      activation_bytes: lower bound of the memory for activations at its peak.
      operators: how many.
      float_operators: those that compute in floating point, each as its name and that of its output tensor.
      float_islands: float operators between integer ones.
      integer_share: of the operators with arithmetic.
      inputs: type of each, by name.
      outputs: type of each, by name.
      kernel_zeros: their share in kernels.
      kernel_max_distinct: the most distinct values in a kernel.
    """

    file_bytes: int
    zip_bytes: int
    activation_bytes: int
    operators: int
    float_operators: list[str]
    float_islands: list[list[str]]
    integer_share: float
    inputs: dict[str, str]
    outputs: dict[str, str]
    kernel_zeros: float
    kernel_max_distinct: int


class FileContent(Measurement):
    """Sizes and operators of the file."""

    def read(self) -> Finding:
        """Looks into the file."""
        part = file_part(self.setting.file, self.setting.summary)
        return Finding(
            (
                *at_most(MAX_FILE_BYTES.field, part['file_bytes'], self.setting.limit(MAX_FILE_BYTES)),
                *at_most(MAX_ZIP_BYTES.field, part['zip_bytes'], self.setting.limit(MAX_ZIP_BYTES)),
            ),
            {'file': part, 'runtime': RUNTIME},
        )


class FullInteger(Measurement):
    """Whether every operator of the file computes in integers."""

    def read(self) -> Finding:
        """Counts the operators that do not."""
        if self.setting.limit(FULL_INTEGER) is None:
            return Finding()
        ops = _float_operators(self.setting.summary)
        detail = f'float ops: {", ".join(ops)}' if ops else ''
        return Finding(at_most(FULL_INTEGER.field, len(ops), 0, detail))


def file_part(model: ModelFile, summary: ModelSummary) -> FilePart:
    """The part of `report.json` on the file.

    Args:
      model: the file.
      summary: of it.

    Returns:
      The part.
    """
    return FilePart(
        file_bytes=sizes.file_bytes(model.data),
        zip_bytes=sizes.zip_bytes(model.data),
        activation_bytes=peak_activation_bytes(model),
        operators=len(summary.operators),
        float_operators=_float_operators(summary),
        float_islands=[list(island.operators) for island in _islands(model)],
        integer_share=summary.integer_coverage,
        inputs=dict(summary.inputs),
        outputs=dict(summary.outputs),
        kernel_zeros=summary.kernel_zeros,
        kernel_max_distinct=summary.kernel_max_distinct,
    )


def _float_operators(summary: ModelSummary) -> list[str]:
    return [f'{op.name} {op.output}' for op in summary.float_ops]


def _islands(model: ModelFile) -> Sequence[FloatIsland]:
    islands = float_islands(model)
    for island in islands:
        _LOG.warning('float operators between integer ones: %s', ', '.join(island.operators))
    return islands
