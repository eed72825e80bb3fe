"""The parts of `report.json` that tell what is in the `.tflite` file, and what it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfx_edge.components.core.evaluation.file_comparison import FileComparison
from tfx_edge.components.core.evaluation.gates import Measurements
from tfx_edge.components.core.evaluation.output_use import OutputsUse
from tfx_edge.components.core.evaluation.tfma_names import number
from tfx_edge.components.core.litert.float_islands import FloatIsland
from tfx_edge.components.core.litert.inspect import ModelSummary
from tfx_edge.components.core.litert.interpreter import Runtime


def file_part(
    measured: Measurements, summary: ModelSummary, islands: Sequence[FloatIsland]
) -> dict[str, Any]:
    """Sizes and operators.

    Args:
      measured: what the gates rest on.
      summary: of the file.
      islands: float operators between integer ones.
    """
    return {
        'file_bytes': measured.file_bytes,
        'zip_bytes': measured.zip_bytes,
        'activation_bytes': measured.activation_bytes,
        'operators': len(summary.operators),
        'float_operators': list(measured.float_ops),
        'float_islands': [list(island.operators) for island in islands],
        'integer_share': summary.integer_coverage,
        'inputs': dict(summary.inputs),
        'outputs': dict(summary.outputs),
        'kernel_zeros': summary.kernel_zeros,
        'kernel_max_distinct': summary.kernel_max_distinct,
    }


def runtime_part(runtime: Runtime) -> dict[str, Any]:
    """What the file was run with, for every figure but latency."""
    return dataclasses.asdict(runtime)


def outputs_part(use: OutputsUse) -> list[dict[str, Any]]:
    """What each output does over all examples.

    Args:
      use: what was seen.

    Returns:
      For each its name (`output`, '' for the only one), `values` (how many), `at_lowest` and `at_highest` (how many of
      them stand at the ends of an integer output's range), and `changes`: whether it is not the same for all examples.
    """
    return [
        {
            'output': name,
            'values': output.values,
            'at_lowest': output.at_lowest,
            'at_highest': output.at_highest,
            'changes': output.rows.differs,
        }
        for name, output in use.outputs.items()
    ]


def layers_part(compared: FileComparison) -> dict[str, Any]:
    """Error of each tensor against the baseline's file: `not_compared` (why), `examples` and `tensors`."""
    return {
        'not_compared': compared.obstacle,
        'examples': compared.examples,
        'tensors': [
            {key: number(value) for key, value in dataclasses.asdict(layer).items()}
            for layer in compared.layers
        ],
    }


def weights_part(compared: FileComparison) -> dict[str, Any]:
    """Histograms of the kernels' weights in both files: `not_compared` (why) and `kernels`."""
    return {
        'not_compared': compared.obstacle,
        'kernels': [
            {**dataclasses.asdict(kernel), 'before': list(kernel.before), 'after': list(kernel.after)}
            for kernel in compared.weights
        ],
    }
