"""`tfx-edge demo --tree`: runs the digits pipeline over a deployment tree, and prints what was found."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfx_edge.components.core.isolation.isolated_process import load_ahead
from tfx_edge.components.core.litert.conversion import saved_model_converter
from tfx_edge.pipelines.console import Progress, quiet
from tfx_edge.pipelines.demo import all_beam_args
from tfx_edge.pipelines.local import remove_float_files, run_locally
from tfx_edge.pipelines.short_path import short_path
from tfx_edge.pipelines.verdict_lines import choice_lines

if TYPE_CHECKING:
    from tfx_edge.pipelines.run_records import Step

_EXPLANATION = """\
Each file answered the 359 images that no step was trained on, on the runtime
of devices. Of those that hold every limit, the one with the fewest zip bytes
is chosen.
"""


def run_tree_demo(
    output: str | os.PathLike[str], beam_args: Sequence[str] = (), max_zip_bytes: int | None = None
) -> bool:
    """Runs the digits pipeline with a deployment tree in a folder, and prints progress, a table and the choice.

    Args:
      output: working folder; a second run there takes what has not changed from the cache.
      beam_args: for Apache Beam, after the default ones.
      max_zip_bytes: instead of the demo's own limit.

    Returns:
      Whether a candidate held every limit and was pushed.

    Raises:
      CommandError: a step failed, and no other branch was left.

    Example:
      ```
      was_pushed = run_tree_demo('demo-tree-output')
      ```
    """
    folder = pathlib.Path(output).resolve()
    log = folder / 'log.txt'
    with quiet(log, '--output DIR') as progress:
        progress.line(f'loading TFX; what libraries print goes to {short_path(log)}')
        # In another process, while TFX loads here.
        load_ahead(saved_model_converter.convert_signature)
        from tfx_edge import proto
        from tfx_edge.pipelines import run_records
        from tfx_edge.pipelines.digits import data, tree_pipeline

        data.write_examples(folder / 'data')
        limits = proto.EdgeEvaluation()
        limits.CopyFrom(tree_pipeline.LIMITS)
        if max_zip_bytes is not None:
            limits.max_zip_bytes = max_zip_bytes
        pipeline = tree_pipeline.create_pipeline(
            pipeline_root=str(folder / 'pipeline'),
            data_root=str(folder / 'data'),
            serving_dir=str(folder / 'serving'),
            metadata_path=str(folder / 'metadata.sqlite'),
            limits=limits,
            beam_pipeline_args=all_beam_args(beam_args),
        )
        run = run_locally(pipeline, progress)
        steps = run_records.steps_of_run(pipeline.metadata_connection_config, run)
        remove_float_files(str(folder / 'pipeline'))
        return _print_choice(steps, progress)


def _print_choice(steps: Mapping[str, Step], progress: Progress) -> bool:
    page = pathlib.Path(steps['EdgeSelector'].output('selection').uri) / 'selection.html'
    report = json.loads(page.with_name('selection.json').read_text())
    _print_candidates(report, progress)
    for line in choice_lines(report):
        progress.text(line)
    pushed = steps['Pusher'].output('pushed_model').properties
    if pushed.get('pushed'):
        progress.text(f'pushed: {short_path(pathlib.Path(str(pushed["pushed_destination"])) / "tflite")}')
    else:
        progress.text('pushed: nothing')
    progress.text(f'report: {short_path(page)}')
    return bool(pushed.get('pushed'))


def _print_candidates(report: Mapping[str, Any], progress: Progress) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column('route', no_wrap=True)
    for column in ('accuracy', 'file bytes', 'zip bytes', 'limits'):
        table.add_column(column, justify='right')
    for row in report['candidates']:
        figures = (row['figures'].get(key) for key in ('file_bytes', 'zip_bytes'))
        missed = len(row['reasons'])
        table.add_row(
            row['route'],
            '' if row['metric'] is None else f'{row["metric"]["value"]:.2%}',
            *('' if figure is None else f'{figure:,}' for figure in figures),
            'did not arrive'
            if row['verdict'] == 'NO_EVALUATION'
            else f'misses {missed}'
            if missed
            else 'holds all',
        )
    console = Console(file=progress.stream, highlight=False, width=120)
    with console.capture() as captured:
        console.print(table)
    progress.text(f'\n{captured.get()}{_EXPLANATION}')
