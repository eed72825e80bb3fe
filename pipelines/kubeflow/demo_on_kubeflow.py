"""`tfx-edge demo --on-kubeflow`: the digits pipeline on a cluster, from data at its object store to the verdict."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import posixpath
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.edge_evaluator import keys
from tfx_edge.pipelines import demo_table
from tfx_edge.pipelines.console import Progress, quiet
from tfx_edge.pipelines.failure import CommandError
from tfx_edge.pipelines.kubeflow import submission
from tfx_edge.pipelines.kubeflow.compilation import NO_PODS, compile_user_pipeline
from tfx_edge.pipelines.kubeflow.kfp_connection import Access, Connection
from tfx_edge.pipelines.kubeflow.pods import PodOptions
from tfx_edge.pipelines.kubeflow.run_progress import RunProgress
from tfx_edge.pipelines.short_path import short_path
from tfx_edge.pipelines.user_pipeline import PipelineOptions
from tfx_edge.pipelines.verdict_lines import verdict_lines

if TYPE_CHECKING:
    from tfx_edge.pipelines.kubeflow.run_artifacts import RunArtifacts

_PIPELINE = 'tfx_edge.pipelines.digits.kubeflow_pipeline'
# Where the manifests of Kubeflow Pipelines since 2.16 put their store, and what they name its credentials.
_VARIABLES = ('AWS_ENDPOINT_URL=http://seaweedfs.kubeflow:9000', 'AWS_DEFAULT_REGION=us-east-1')
_SECRETS = (
    'AWS_ACCESS_KEY_ID=mlpipeline-minio-artifact:accesskey',
    'AWS_SECRET_ACCESS_KEY=mlpipeline-minio-artifact:secretkey',
)
_BUCKET = 'minio://mlpipeline'
_FOLDER = 'tfx-edge-demo'
_OUTPUT = 'demo-output'


@dataclasses.dataclass(frozen=True)
class DemoOptions:
    """What the command line says.

    Attributes:
      access: the server.
      image: the container image of all steps; None with `run_id`.
      output: folder here for the data, the compiled pipeline, what is fetched and the logs.
      store: URI of a folder at the object store, which this machine and the steps reach; None for one in the bucket of
        Kubeflow's manifests, in the part of it that belongs to the namespace where users have such.
      pods: what the steps' pods get; the store of Kubeflow's manifests, where it says nothing of AWS.
      beam_args: for Apache Beam.
      parameters: of the run, 'NAME=VALUE' each.
      patience_minutes: for how long a lost connection is tried again.
      run_id: of a run that was started before; None to start one.
    """

    access: Access
    image: str | None
    output: str
    store: str | None = None
    pods: PodOptions = NO_PODS
    beam_args: Sequence[str] = ()
    parameters: Sequence[str] = ()
    patience_minutes: float = 10
    run_id: str | None = None


def run_demo_on_kubeflow(options: DemoOptions) -> int:
    """Runs the digits pipeline on a cluster, and prints progress, a table and the verdict as the local demo does.

    No step is taken from the cache: what was seen is what this cluster does today.

    Args:
      options: of the demo.

    Returns:
      The exit status: 0 if the model was blessed and pushed, 1 if not, 130 when interrupted while the run goes on.

    Raises:
      CommandError: an option is missing; or a part that runs on this machine failed.
      EdgeError: the server or the store does not answer.

    Example:
      ```
      run_demo_on_kubeflow(DemoOptions(Access('http://localhost:8080'), 'registry/tfx-edge:0.1.0', 'demo-output'))
      ```
    """
    folder = pathlib.Path(options.output).resolve()
    # Before anything is built and written.
    connection = Connection(options.access)
    connection.check_namespace()
    store = (options.store or _default_store(connection)).rstrip('/')
    run_id = options.run_id
    if run_id is None:
        run_id, connection = _start(options, folder, store)
        print(f'  with the table at its end: {_again(options, connection.access, run_id)}', flush=True)
    status = submission.follow(run_id, connection, options.patience_minutes)
    if status:
        return status
    with quiet(folder / 'measuring.log', '--output DIR') as progress:
        progress.line('fetching what the steps made; measuring the models on this machine')
        from tfx_edge.pipelines.digits.pipeline import PIPELINE_NAME
        from tfx_edge.pipelines.kubeflow.run_artifacts import RunArtifacts

        artifacts = RunArtifacts(f'{store}/artifacts', PIPELINE_NAME, run_id)
        run = RunProgress(connection, run_id, progress, 60 * options.patience_minutes)
        seconds = run.seconds_of_steps()
        return 0 if _report(artifacts, seconds, folder / 'fetched' / run_id, store, progress) else 1


def _default_store(connection: Connection) -> str:
    """Where the manifests of Kubeflow let the user of the run write: in a profile, with its own secret, only there."""
    if connection.has_profiles:
        return f'{_BUCKET}/private-artifacts/{connection.access.namespace}/{_FOLDER}'
    return f'{_BUCKET}/{_FOLDER}'


def _again(options: DemoOptions, access: Access, run_id: str) -> str:
    """The command that follows the run."""
    words = ['tfx-edge', 'demo', '--on-kubeflow', access.host, '--run', run_id]
    words += ['--output', options.output] if options.output != _OUTPUT else []
    words += ['--store', options.store] if options.store else []
    return shlex.join([*words, *submission.access_options(access)])


def _start(options: DemoOptions, folder: pathlib.Path, store: str) -> tuple[str, Connection]:
    """Writes the data, compiles the pipeline, and starts a run."""
    if options.image is None:
        raise CommandError('--on-kubeflow runs the steps in a container image; name it by --image.')
    file = folder / 'digits.yaml'
    parameters = (f'data_root={store}/data', f'serving_dir={store}/serving')
    pipeline = PipelineOptions(
        pipeline_root=f'{store}/artifacts', beam_args=tuple(options.beam_args), parameters=parameters
    )
    folder.mkdir(parents=True, exist_ok=True)
    compile_user_pipeline(
        _PIPELINE,
        pipeline,
        options.image,
        'kfp',
        str(file),
        str(folder / 'log.txt'),
        _pods(options.pods, store),
    )
    with quiet(folder / 'data.log', '--output DIR') as progress:
        progress.line(f'writing the data to {store}/data')
        _write_data(folder / 'data', f'{store}/data')
    return submission.submit(
        str(file), options.access, submission.RunOptions(tuple(options.parameters), use_cache=False)
    )


def _pods(given: PodOptions, store: str) -> PodOptions:
    said = [*given.variables, *given.secret_variables]
    if not store.startswith(('minio://', 's3://')) or any(text.startswith('AWS_') for text in said):
        return given
    return dataclasses.replace(
        given,
        variables=(*given.variables, *_VARIABLES),
        secret_variables=(*given.secret_variables, *_SECRETS),
    )


def _write_data(local: pathlib.Path, uri: str) -> None:
    from tfx.dsl.io import fileio

    from tfx_edge.pipelines.digits import data
    from tfx_edge.pipelines.kubeflow import object_store_files

    object_store_files.register()
    data.write_examples(local)
    for file in sorted(path for path in local.rglob('*') if path.is_file()):
        target = posixpath.join(uri, file.relative_to(local).as_posix())
        # What is there already keeps its time, by which ExampleGens of other runs know it.
        if not fileio.exists(target) or _content(target) != file.read_bytes():
            fileio.makedirs(posixpath.dirname(target))
            fileio.copy(str(file), target, overwrite=True)


def _report(
    artifacts: RunArtifacts,
    seconds: Mapping[str, float],
    folder: pathlib.Path,
    store: str,
    progress: Progress,
) -> bool:
    """Prints the table and the verdict; returns whether the model was blessed and pushed."""
    models = {step: str(artifacts.fetch(step, 'model', folder)) for step in demo_table.MODELS}
    examples = artifacts.fetch('ImportExampleGen', 'examples', folder) / 'Split-eval'
    costs = demo_table.measured(
        models, list(map(str, examples.iterdir())), str(folder / 'float_files'), folder / 'measured.json'
    )
    demo_table.print_costs(costs, seconds, progress)
    evaluation = artifacts.fetch('EdgeEvaluator', keys.EDGE_EVALUATION, folder)
    report = json.loads((evaluation / keys.REPORT_FILE).read_text(encoding='utf-8'))
    for line in verdict_lines(report):
        progress.text(line)
    blessed = report['verdict'] == 'BLESSED'
    made = pathlib.Path(models['TFLiteQuantizer'], 'Format-Serving', 'tflite')
    progress.text(f'pushed: {_pushed(f"{store}/serving", made.read_bytes()) if blessed else "nothing"}')
    progress.text(f'report: {short_path(evaluation / "report.html")}')
    return blessed


def _pushed(serving: str, expected: bytes) -> str:
    """URI of the newest pushed file with these bytes; other runs may have pushed since."""
    from tfx.dsl.io import fileio

    versions = [name.strip('/') for name in fileio.listdir(serving)]
    for version in sorted(filter(str.isdigit, versions), key=int, reverse=True):
        file = posixpath.join(serving, version, 'tflite')
        if fileio.exists(file) and _content(file) == expected:
            return file
    raise EdgeError(f'the file that was evaluated is not at {serving}; see the log of Pusher.')


def _content(file: str) -> bytes:
    from tfx.dsl.io import fileio

    with fileio.open(file, 'rb') as reader:
        content: bytes = reader.read()
    return content
