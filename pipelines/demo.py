"""`tfx-edge demo`: runs the digits pipeline, and reports what each step cost and gained."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.isolation.isolated_process import load_ahead
from tfx_edge.components.core.litert.conversion import saved_model_converter
from tfx_edge.pipelines import demo_table
from tfx_edge.pipelines.console import Progress, quiet
from tfx_edge.pipelines.local import BEAM_ARGS, remove_float_files, run_locally
from tfx_edge.pipelines.short_path import short_path
from tfx_edge.pipelines.verdict_lines import verdict_lines

if TYPE_CHECKING:
    from tfx_edge.pipelines.model_measurements import Costs
    from tfx_edge.pipelines.run_records import Step


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
        seconds = {name: step.seconds for name, step in steps.items()}
        demo_table.print_costs(_measure(steps, folder), seconds, progress)
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
    from tfx_edge.components.tfx_interface.artifacts import float_files_folder

    models = {step: steps[step].output('model').uri for step in demo_table.MODELS}
    examples = pathlib.Path(steps['ImportExampleGen'].output('examples').uri) / 'Split-eval'
    return demo_table.measured(
        models,
        list(map(str, examples.iterdir())),
        float_files_folder(str(folder / 'pipeline')),
        folder / 'measured.json',
    )


def _print_verdict(steps: Mapping[str, Step], progress: Progress) -> bool:
    evaluation = steps['EdgeEvaluator'].output('edge_evaluation').uri
    report_file = pathlib.Path(evaluation) / 'report.json'
    report = json.loads(report_file.read_text())
    for line in verdict_lines(report):
        progress.text(line)
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
