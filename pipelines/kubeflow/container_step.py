"""What a container of a compiled pipeline runs: `python -m tfx_edge.pipelines.kubeflow.container_step`.

It wraps TFX's own entry point for Kubeflow, which alone does not work on open-source Kubeflow Pipelines 2.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.lost_workers import lost_workers_raised
from tfx_edge.pipelines.kubeflow import (
    engine_faults,
    exit_status,
    kfp_messages,
    own_steps,
    parameter_check,
    shared_folder,
)
from tfx_edge.pipelines.kubeflow.branch_failures import BRANCH_FLAG, run_or_hand_on
from tfx_edge.pipelines.kubeflow.engine_jobs import EngineJobs
from tfx_edge.pipelines.kubeflow.fingerprint_tasks import PARAMETER
from tfx_edge.pipelines.kubeflow.image_version import VERSION_FLAG, version_line
from tfx_edge.pipelines.kubeflow.log_line import log
from tfx_edge.pipelines.kubeflow.mounts import ROOT_VARIABLE, Mounts
from tfx_edge.pipelines.kubeflow.pods import SHARED_FLAG
from tfx_edge.pipelines.kubeflow.specification import DRIVER_FLAG
from tfx_edge.pipelines.kubeflow.step_results import SELECTOR, result_lines
from tfx_edge.pipelines.kubeflow.training_state import STATE_FLAG, kept_state

if TYPE_CHECKING:
    from google.protobuf import struct_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one step.

    Args:
      argv: the arguments; None for those of the process.

    Returns:
      The exit status: 0 only on success. The last line on stderr then reports what failed, after the trace.

    Example:
      >>> main(['--artifacts', 'mounts', '--executor_class_path', 'tfx.components.pusher.executor.Executor', ...])
    """
    arguments, beam_args = _parser().parse_known_args(argv)
    from absl import logging as absl_logging

    absl_logging.use_absl_handler()
    log(version_line(arguments.image_version))
    return exit_status.exit_status(arguments.executor_class_path, lambda: run_step(arguments, beam_args))


def run_step(arguments: argparse.Namespace, beam_args: Sequence[str]) -> None:
    """Runs a component's executor on the launcher's input, and writes the output file that the launcher reads.

    Args:
      arguments: the command line, parsed.
      beam_args: for Apache Beam.

    Raises:
      EdgeError: the step was not called as a compiled pipeline calls it, or an artifact's type cannot be imported.
      Exception: whatever the executor raised. Then nothing is uploaded.
    """
    if own_steps.is_own(arguments.executor_class_path):
        kfp_messages.import_alone()
    from kfp.pipeline_spec import pipeline_spec_pb2

    from tfx_edge.pipelines.kubeflow import launcher_messages

    executor_input = pipeline_spec_pb2.ExecutorInput()
    inputs_spec = pipeline_spec_pb2.ComponentInputsSpec()
    launcher_messages.parse(
        arguments.json_serialized_invocation_args, executor_input, '--json_serialized_invocation_args'
    )
    launcher_messages.parse(
        arguments.json_serialized_inputs_spec_args, inputs_spec, '--json_serialized_inputs_spec_args'
    )
    mounts = Mounts(os.environ.get(ROOT_VARIABLE, '/'))

    def body() -> None:
        _run(arguments, beam_args, executor_input, inputs_spec, mounts)

    if arguments.executor_class_path == SELECTOR:
        body()  # what is missing is what it chooses without
    else:
        run_or_hand_on(arguments.branch_of_selector, executor_input, mounts.path, body)


def _run(
    arguments: argparse.Namespace,
    beam_args: Sequence[str],
    executor_input: pipeline_spec_pb2.ExecutorInput,
    inputs_spec: pipeline_spec_pb2.ComponentInputsSpec,
    mounts: Mounts,
) -> None:
    """Checks the parameters, and runs the executor."""
    if own_steps.is_own(arguments.executor_class_path):
        parameter_check.check_parameters(arguments.executor_class_path, executor_input, inputs_spec)
        own_steps.load(arguments.executor_class_path)
    _check_data(executor_input.inputs.parameter_values)
    jobs = EngineJobs(arguments.executor_class_path, beam_args)
    is_branch = bool(arguments.branch_of_selector)
    execution = _execution(executor_input)
    with kept_state(arguments.training_state, execution, remembers_refusal=not is_branch):
        _run_with_files(arguments, jobs, executor_input, inputs_spec, mounts)


def _run_with_files(
    arguments: argparse.Namespace,
    jobs: EngineJobs,
    executor_input: pipeline_spec_pb2.ExecutorInput,
    inputs_spec: pipeline_spec_pb2.ComponentInputsSpec,
    mounts: Mounts,
) -> None:
    """Runs the executor with its artifacts where the step has them, or in the shared folder meanwhile."""
    from tfx_edge.pipelines.kubeflow import launcher_messages, user_files

    if not arguments.shared_folder:
        with user_files.fetched(executor_input.inputs.parameter_values, None), jobs.cancelled_early():
            _execute(arguments, jobs, executor_input, inputs_spec, mounts)
        return
    with shared_folder.own_folder(arguments.shared_folder, _execution(executor_input), jobs) as folder:
        answer_file = executor_input.outputs.output_file
        shared = Mounts(folder)
        inputs, outputs = (
            [artifact.uri for artifact in launcher_messages.each_artifact(side.artifacts)]
            for side in (executor_input.inputs, executor_input.outputs)
        )
        shared_folder.copy(inputs, mounts, shared)
        # TFX's folder for temporary files lies beside it.
        executor_input.outputs.output_file = os.path.join(folder, os.path.basename(answer_file))
        with user_files.fetched(executor_input.inputs.parameter_values, folder):
            _execute(arguments, jobs, executor_input, inputs_spec, shared)
        shared_folder.require_files(executor_input.outputs.artifacts, folder)
        shared_folder.copy(outputs, shared, mounts)
        os.makedirs(os.path.dirname(answer_file), exist_ok=True)
        shutil.copyfile(executor_input.outputs.output_file, answer_file)


def _execution(executor_input: pipeline_spec_pb2.ExecutorInput) -> str:
    """A name of the execution: an output's URI, which Kubeflow makes for each execution and keeps for a new pod."""
    outputs = executor_input.outputs.artifacts
    return min((artifact.uri for key in outputs for artifact in outputs[key].artifacts), default='')


def _check_data(parameters: MutableMapping[str, struct_pb2.Value]) -> None:
    """Removes the fingerprint from the parameters, and refuses data that have another one now."""
    if PARAMETER not in parameters:
        return
    from tfx_edge.pipelines.kubeflow.data_fingerprint import data_fingerprint

    expected = parameters[PARAMETER].string_value
    del parameters[PARAMETER]
    found = data_fingerprint(parameters)
    if found != expected:
        raise EdgeError(
            f'the data at {parameters["input_base"].string_value} changed while the run began, from {expected!r} to '
            f'{found!r}; run again when they are complete, or compile with --no-cache, which does not ask.'
        )


def _execute(
    arguments: argparse.Namespace,
    jobs: EngineJobs,
    executor_input: pipeline_spec_pb2.ExecutorInput,
    inputs_spec: pipeline_spec_pb2.ComponentInputsSpec,
    mounts: Mounts,
) -> None:
    """Runs the executor with artifacts on mounts, or at their URIs."""
    from tfx_edge.pipelines.kubeflow import launcher_messages, pages

    on_mounts = arguments.artifacts == 'mounts'
    page_uris = pages.page_uris(executor_input)
    launcher_messages.fit_for_tfx(executor_input, inputs_spec, mounts.path if on_mounts else _unchanged)
    if on_mounts:
        _make_output_folders(executor_input)
    if arguments.run_driver:
        _run_driver(executor_input, arguments.json_serialized_inputs_spec_args)
    with engine_faults.raised_as_edge_error(jobs.endpoint), lost_workers_raised():
        if own_steps.is_own(arguments.executor_class_path):
            own_steps.run(arguments.executor_class_path, jobs.beam_args, executor_input, inputs_spec)
        else:
            _run_stock(arguments, jobs, executor_input)
    pages.write_pages(page_uris, executor_input, mounts.path)
    _fit_output_for_launcher(arguments.executor_class_path, executor_input, mounts.uri)


def _run_stock(
    arguments: argparse.Namespace, jobs: EngineJobs, executor_input: pipeline_spec_pb2.ExecutorInput
) -> None:
    """Calls TFX's entry point, which imports all of TFX."""
    from google.protobuf import json_format
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    stock = argparse.Namespace(
        executor_class_path=arguments.executor_class_path,
        json_serialized_invocation_args=json_format.MessageToJson(executor_input),
        json_serialized_inputs_spec_args=arguments.json_serialized_inputs_spec_args,
    )
    kubeflow_v2_run_executor.main((stock, list(jobs.beam_args)))


def _make_output_folders(executor_input: pipeline_spec_pb2.ExecutorInput) -> None:
    """Makes the folders of the outputs, as LocalDagRunner does: Kubeflow makes only their parents."""
    from tfx.orchestration.portable import outputs_utils

    from tfx_edge.pipelines.kubeflow import step_artifacts

    try:
        outputs = step_artifacts.from_messages(executor_input.outputs.artifacts)
    except (ImportError, AttributeError) as error:
        raise EdgeError(
            f"an output's artifact type cannot be imported ({error}); put its package into the image."
        ) from error
    outputs_utils.make_output_dirs(outputs)


def _run_driver(executor_input: pipeline_spec_pb2.ExecutorInput, spec_text: str) -> None:
    """Runs ExampleGen's driver; TFX's entry point reads the parameters that it leaves in the output file."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.dsl.io import fileio
    from tfx.orchestration.kubeflow.v2.file_based_example_gen import driver

    from tfx_edge.pipelines.kubeflow import launcher_messages

    driver.main(
        argparse.Namespace(
            json_serialized_invocation_args=json_format.MessageToJson(executor_input),
            json_serialized_inputs_spec_args=spec_text,
        )
    )
    found = pipeline_spec_pb2.ExecutorOutput()
    with fileio.open(executor_input.outputs.output_file, 'r') as file:
        launcher_messages.parse(file.read(), found, "ExampleGen's driver's answer")
    launcher_messages.add_metadata(executor_input, found)


def _fit_output_for_launcher(
    executor: str, executor_input: pipeline_spec_pb2.ExecutorInput, uri: Callable[[str], str]
) -> None:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.dsl.io import fileio

    from tfx_edge.pipelines.kubeflow import launcher_messages, step_artifacts

    output_file = executor_input.outputs.output_file
    answer = pipeline_spec_pb2.ExecutorOutput()
    with fileio.open(output_file, 'r') as file:
        launcher_messages.parse(file.read(), answer, "the step's answer")
    _log_results(executor, answer)
    names = step_artifacts.names_by_id(executor_input.inputs.artifacts)
    launcher_messages.fit_for_launcher(answer, uri, names)
    with fileio.open(output_file, 'w') as file:
        file.write(json_format.MessageToJson(answer, sort_keys=True))


def _log_results(executor: str, answer: pipeline_spec_pb2.ExecutorOutput) -> None:
    """Logs what the step found. These lines are no part of it: a report that they cannot be made of is as good."""
    try:
        for line in result_lines(executor, answer):
            log(line)
    except (KeyError, TypeError, ValueError, OSError) as error:
        log(f'tfx-edge: what the step found is not shown here ({type(error).__name__}: {error})')


def _unchanged(uri: str) -> str:
    return uri


def _parser() -> argparse.ArgumentParser:
    # Unknown arguments are for Beam, and abbreviations too.
    parser = argparse.ArgumentParser(prog='tfx_edge.pipelines.kubeflow.container_step', allow_abbrev=False)
    parser.add_argument(
        '--artifacts',
        choices=('mounts', 'uris'),
        required=True,
        help="where artifacts are: in the launcher's folders (open-source Kubeflow), or at their URIs (Vertex AI)",
    )
    parser.add_argument('--executor_class_path', required=True, help='the executor, as module.Class')
    parser.add_argument(
        '--json_serialized_invocation_args', required=True, help="the launcher's ExecutorInput"
    )
    parser.add_argument('--json_serialized_inputs_spec_args', required=True, help='types of the inputs')
    parser.add_argument(
        SHARED_FLAG,
        metavar='DIR',
        help="folder that Beam's workers see too; the artifacts are there while the step runs",
    )
    parser.add_argument(
        STATE_FLAG,
        metavar='PLACE',
        default='',
        help='folder of a volume, or URI, at which the state of a training outlives this pod',
    )
    parser.add_argument(VERSION_FLAG, default='', help='tag or digest of the image')
    parser.add_argument(
        BRANCH_FLAG,
        metavar='STEP',
        default='',
        help='its name, where an EdgeSelector can do without what it makes',
    )
    parser.add_argument(DRIVER_FLAG, action='store_true', help="run the driver of TFX's ExampleGen first")
    return parser


if __name__ == '__main__':
    exit_status.end_process(main())
