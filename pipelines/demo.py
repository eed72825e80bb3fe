"""`tfx-edge demo`: runs the digits pipeline, and reports what each step cost and gained."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.isolation.isolated_process import load_ahead
from tfx_edge.components.core.litert.conversion import saved_model_converter
from tfx_edge.pipelines.console import Progress, quiet
from tfx_edge.pipelines.local import BEAM_ARGS, remove_float_files, run_locally
from tfx_edge.pipelines.short_path import short_path

if TYPE_CHECKING:
    from tfx_edge.pipelines.model_measurements import Costs
    from tfx_edge.pipelines.run_records import Step

# The steps that give a model, and what the table calls it.
_MODELS = {
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


def run_demo(output: str | os.PathLike[str], beam_args: Sequence[str] = ()) -> bool:
    """Runs the digits pipeline in a folder, and prints progress, a table and the verdict.

    Args:
      output: working folder; a second run there takes what has not changed from the cache.
      beam_args: for Apache Beam, after the default ones.

    Returns:
      Whether the model was blessed and pushed.

    Raises:
      CommandError: a step failed.

    Example:
      >>> run_demo('demo-output')
      True
    """
    folder = pathlib.Path(output).resolve()
    log = folder / 'log.txt'
    with quiet(log, '--output DIR') as progress:
        progress.line(f'loading TFX; what libraries print goes to {short_path(log)}')
        # In another process, while TFX loads here.
        load_ahead(saved_model_converter.convert_signature)
        from tfx_edge.pipelines import run_records
        from tfx_edge.pipelines.digits import data
        from tfx_edge.pipelines.digits import pipeline as digits

        data.write_examples(folder / 'data')
        pipeline = digits.create_pipeline(
            pipeline_root=str(folder / 'pipeline'),
            data_root=str(folder / 'data'),
            serving_dir=str(folder / 'serving'),
            metadata_path=str(folder / 'metadata.sqlite'),
            beam_pipeline_args=all_beam_args(beam_args),
        )
        run = run_locally(pipeline, progress)
        steps = run_records.steps_of_run(pipeline.metadata_connection_config, run)
        progress.line('measuring the models')
        _print_costs(steps, _measure(steps, folder), progress)
        remove_float_files(str(folder / 'pipeline'))
        return _print_verdict(steps, progress)


def all_beam_args(given: Sequence[str] = ()) -> list[str]:
    """The default arguments for Apache Beam, and those that are given.

    Unless these name a runner, its workers are processes of this machine and have what is installed here. The
    arguments name an image for them: without one TFX packs itself for them in each step.

    Args:
      given: for Apache Beam.

    Returns:
      What the pipeline's steps get.

    Example:
      >>> all_beam_args(['--direct_num_workers=2'])[-2:]
      ['--sdk_container_image=none', '--direct_num_workers=2']
    """
    is_here = not any(argument.startswith('--runner') for argument in given)
    return [*BEAM_ARGS, *(['--sdk_container_image=none'] if is_here else []), *given]


def _measure(steps: Mapping[str, Step], folder: pathlib.Path) -> dict[str, Costs]:
    """The costs of each step's model, by step."""
    from tfx_edge.components.core.litert.conversion.float_files import FloatFiles
    from tfx_edge.components.tfx_interface.artifacts import float_files_folder
    from tfx_edge.pipelines.digits.data import LABEL
    from tfx_edge.pipelines.model_measurements import measure_all

    models = {step: os.path.join(steps[step].output('model').uri, 'Format-Serving') for step in _MODELS}
    examples = pathlib.Path(steps['ImportExampleGen'].output('examples').uri) / 'Split-eval'
    convert = FloatFiles(float_files_folder(str(folder / 'pipeline'))).convert
    costs = measure_all(
        list(models.values()), sorted(map(str, examples.iterdir())), LABEL, folder / 'measured.json', convert
    )
    return {step: costs[model] for step, model in models.items()}


def _print_costs(steps: Mapping[str, Step], costs: Mapping[str, Costs], progress: Progress) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column('model', no_wrap=True)
    for column in ('accuracy', 'file bytes', 'zip bytes', 'zeros', 'distinct', 'seconds'):
        table.add_column(column, justify='right')
    for step, row in costs.items():
        table.add_row(
            _MODELS[step],
            f'{row.accuracy:.2%}',
            f'{row.file_bytes:,}',
            f'{row.zip_bytes:,}',
            f'{row.zeros:.1%}',
            str(row.distinct),
            f'{steps[step].seconds:.0f}',
        )
    console = Console(file=progress.stream, highlight=False)
    with console.capture() as captured:
        console.print(table)
    progress.text(f'\n{captured.get()}{_EXPLANATION}')


def _print_verdict(steps: Mapping[str, Step], progress: Progress) -> bool:
    evaluation = steps['EdgeEvaluator'].output('edge_evaluation').uri
    report_file = pathlib.Path(evaluation) / 'report.json'
    report = json.loads(report_file.read_text())
    progress.text(f'verdict: {report["verdict"]}')
    for line in report['reasons'] or _held(report):
        progress.text(f'  {line}')
    pushed = steps['Pusher'].output('pushed_model').properties
    if pushed.get('pushed'):
        file = pathlib.Path(str(pushed['pushed_destination'])) / 'tflite'
        if not file.is_file():
            raise EdgeError(
                f'{file} was pushed before and is gone now; remove {short_path(file.parents[2])} and run again.'
            )
        progress.text(f'pushed: {short_path(file)}')
    else:
        progress.text('pushed: nothing')
    progress.text(f'report: {short_path(report_file.with_name("report.html"))}')
    return bool(pushed.get('pushed'))


def _held(report: Mapping[str, Any]) -> list[str]:
    """What speaks for a blessed model: its metrics over all examples, and the gates."""
    (overall,) = (entry['metrics'] for entry in report['metrics'] if not entry['slice'])
    lines = []
    for metric in overall:
        if metric['name'] != 'example_count' and metric['model'] == 'candidate':
            what = (
                'change from the float model' if metric['difference'] else f'over {report["examples"]} images'
            )
            lines.append(f'{metric["name"]}: {metric["value"]:.4g} {what}')
    return lines + [
        f'{gate["name"]}: {gate["measured"]:.6g}, limit {gate["limit"]:.6g}' for gate in report['gates']
    ]
