"""The table of the demo: what each step's model costs and gains."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfx_edge.pipelines.console import Progress

if TYPE_CHECKING:
    from tfx_edge.pipelines.model_measurements import Costs

# The steps that give a model, and what the table calls it.
MODELS = {
    'Trainer': 'float',
    'Pruner': 'pruned',
    'Clusterer': 'clustered',
    'QATTrainer': 'QAT',
    'TFLiteQuantizer': 'int8, shipped',
}
_EXPLANATION = """\
Each model is measured as a .tflite file on the runtime of devices, with the
359 images that no step was trained on. Zeros: share of the kernels' weights.
Distinct: different integers in the kernel that has the most; a float row is
quantized to int8 for this count alone. Seconds: of the step, when it ran.
"""


def measured(
    models: Mapping[str, str], examples: Sequence[str], float_files: str, kept: pathlib.Path
) -> dict[str, Costs]:
    """Measures the model of each step on this machine.

    Args:
      models: folders of the models' files by step.
      examples: files of examples that no step was trained on.
      float_files: folder of the files that models were converted to before.
      kept: file that keeps what was measured.

    Returns:
      The costs by step.
    """
    from tfx_edge.components.core.litert.conversion.float_files import FloatFiles
    from tfx_edge.pipelines.digits.data import LABEL
    from tfx_edge.pipelines.model_measurements import measure_all

    convert = FloatFiles(float_files).convert
    folders = {step: os.path.join(folder, 'Format-Serving') for step, folder in models.items()}
    costs = measure_all(list(folders.values()), sorted(examples), LABEL, kept, convert)
    return {step: costs[folder] for step, folder in folders.items()}


def print_costs(costs: Mapping[str, Costs], seconds: Mapping[str, float], progress: Progress) -> None:
    """Prints the table.

    Args:
      costs: of `measured`.
      seconds: what each step took; not of one whose times are not known.
      progress: where to.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column('model', no_wrap=True)
    for column in ('accuracy', 'file bytes', 'zip bytes', 'zeros', 'distinct', 'seconds'):
        table.add_column(column, justify='right')
    for step, row in costs.items():
        table.add_row(
            MODELS[step],
            f'{row.accuracy:.2%}',
            f'{row.file_bytes:,}',
            f'{row.zip_bytes:,}',
            f'{row.zeros:.1%}',
            str(row.distinct),
            f'{seconds[step]:.0f}' if step in seconds else '-',
        )
    console = Console(file=progress.stream, highlight=False)
    with console.capture() as captured:
        console.print(table)
    progress.text(f'\n{captured.get()}{_EXPLANATION}')
