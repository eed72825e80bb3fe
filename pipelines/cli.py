"""The `tfx-edge` command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from tfx_edge.pipelines.cluster_options import (
    access_of,
    add_access,
    add_patience,
    add_pod_options,
    pods_of,
    require_unset,
)
from tfx_edge.pipelines.failure import CommandError, one_line

if TYPE_CHECKING:
    from tfx_edge.pipelines.user_pipeline import PipelineOptions

# Each command imports what it needs when it runs: `--help` must not wait for TFX.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: the arguments; None for those of the process.

    Returns:
      The exit status: 0 only on success, 2 for wrong arguments, 130 when interrupted. On SIGTERM the process ends with
      143.

    Example:
      >>> main(['inspect', 'model.tflite', '--json'])
    """
    arguments = _parser().parse_args(argv)
    # Process 1 of a container receives SIGTERM only if it has a handler.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return arguments.run(arguments)
    except _Terminated:
        print('tfx-edge: terminated', file=sys.stderr, flush=True)
        # Not `sys.exit`, which waits for threads that load TensorFlow.
        os._exit(143)
    except KeyboardInterrupt:
        print('tfx-edge: interrupted', file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - whatever it is, a user reads one line
        if arguments.verbose:
            traceback.print_exc()
        print(f'tfx-edge: {one_line(error)}', file=sys.stderr)
        if isinstance(error, CommandError) and error.log:
            print(f'tfx-edge: details are in {error.log}', file=sys.stderr)
        return 1


class _Terminated(KeyboardInterrupt):
    """SIGTERM; a KeyboardInterrupt, so that code that cleans up after an interrupt runs too."""


def _terminate(number: int, frame: FrameType | None) -> None:
    # A second SIGTERM ends the process at once, in case cleaning up takes long.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise _Terminated


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tfx-edge', description='Prune, cluster, quantize and evaluate models in TFX pipelines.'
    )
    parser.set_defaults(verbose=False)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    _add_demo(commands)
    _add_run(commands)
    _add_search(commands)
    _add_compile(commands)
    _add_submit(commands)
    _add_inspect(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = 'run the digits pipeline, and print what each step cost and gained'
    demo = commands.add_parser('demo', help=text, description=text)
    demo.add_argument('--output', default='demo-output', metavar='DIR', help='working folder (%(default)s)')
    demo.add_argument(
        '--tree',
        action='store_true',
        help='a deployment tree: make and evaluate the files of all routes, and push the best',
    )
    demo.add_argument(
        '--max-zip-bytes', type=int, metavar='N', help='with --tree, the limit of every file (32768)'
    )
    beam = _add_beam_arg(demo)
    _add_verbose(demo)
    _add_demo_on_kubeflow(demo, beam)
    demo.set_defaults(run=_demo)


def _add_demo_on_kubeflow(demo: argparse.ArgumentParser, beam: argparse.Action) -> None:
    cluster = demo.add_argument_group('on a cluster')
    cluster.add_argument(
        '--on-kubeflow',
        metavar='URL',
        help="run it on open-source Kubeflow Pipelines 2: the pipelines' page or its API server, such as "
        'http://localhost:8080',
    )
    # A run that has begun cannot be given these any more.
    of_a_start = [
        cluster.add_argument('--image', help='container image of all steps'),
        cluster.add_argument(
            '--parameter',
            dest='parameters',
            action='append',
            default=[],
            metavar='NAME=VALUE',
            help='a parameter of the run; VALUE is JSON, or else a string (repeatable)',
        ),
        *add_pod_options(cluster),
    ]
    others = [
        cluster.add_argument(
            '--store',
            metavar='URI',
            help='folder at the object store for data, artifacts and the pushed model, which this machine reaches by '
            'its AWS_ variables (minio://mlpipeline/tfx-edge-demo, and in a Kubeflow of several users '
            'minio://mlpipeline/private-artifacts/NAMESPACE/tfx-edge-demo)',
        ),
        cluster.add_argument('--run', dest='run_id', metavar='ID', help='follow this run of an earlier demo'),
        add_patience(cluster),
        *add_access(cluster),
    ]
    demo.set_defaults(of_a_start=[*of_a_start, beam], of_a_cluster=[*of_a_start, *others])


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        'run',
        help='run a TFX pipeline on this machine',
        description='Run a TFX pipeline with LocalDagRunner. FUNCTION returns a tfx.v1.dsl.Pipeline; it is '
        'given those of the options below that it has parameters for.',
    )
    _add_target(run)
    _add_local_options(run)
    _add_pipeline_options(run)
    run.set_defaults(run=_run)


def _add_local_options(command: argparse.ArgumentParser) -> None:
    command.add_argument('--pipeline-name', metavar='NAME', help='parameter pipeline_name')
    command.add_argument(
        '--pipeline-root', metavar='DIR', help='parameter pipeline_root: folder for the artifacts'
    )
    command.add_argument(
        '--metadata-path',
        metavar='FILE',
        help='parameter metadata_path: sqlite file of ML Metadata (metadata.sqlite in the pipeline root, if the '
        'pipeline names none)',
    )


def _add_search(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    search = commands.add_parser(
        'search',
        help='try routes of a large deployment tree, and choose the best of them',
        description='Run a TFX pipeline with one route of its deployment tree after another, as Optuna proposes them, '
        'then with all that were evaluated: the best of these is chosen, and pushed if it holds every limit. FUNCTION '
        'is that of `tfx-edge run`, with a parameter `tree` whose default is the proto.DeploymentTree to search. A '
        'search that was ended goes on when it is started again. All routes are tried where there are no more than '
        'trials. Status 1: no route holds every limit.',
    )
    _add_target(search)
    search.add_argument('--trials', type=_positive, required=True, metavar='N', help='routes to try')
    search.add_argument(
        '--minutes', type=float, metavar='M', help='begin no other trial after so many minutes'
    )
    search.add_argument(
        '--seed', type=_not_negative, default=0, metavar='S', help='of what is drawn (%(default)s)'
    )
    _add_local_options(search)
    _add_pipeline_options(search)
    search.set_defaults(run=_search)


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'is {number}; expected 1 or more')
    return number


def _not_negative(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f'is {number}; expected 0 or more')
    return number


def _add_compile(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compiled = commands.add_parser(
        'compile',
        help='compile a TFX pipeline for Kubeflow',
        description='Write what Kubeflow Pipelines 2 or Vertex AI runs. FUNCTION is that of `tfx-edge run`; where it '
        'gives a component a RuntimeParameter, a run may give another value.',
    )
    _add_target(compiled)
    compiled.add_argument(
        '--image', required=True, help='container image of all steps, with tfx-edge and your code in it'
    )
    compiled.add_argument(
        '--pipeline-root',
        required=True,
        metavar='URI',
        help='parameter pipeline_root: folder for the artifacts, at minio://, s3:// or gs://',
    )
    compiled.add_argument('--pipeline-name', metavar='NAME', help='parameter pipeline_name')
    compiled.add_argument(
        '--format',
        dest='form',
        choices=('kfp', 'vertex'),
        default='kfp',
        help='kfp: YAML for open-source Kubeflow Pipelines 2; vertex: JSON for Vertex AI (%(default)s)',
    )
    compiled.add_argument('--output', metavar='FILE', help='(pipeline name with .yaml or .json)')
    add_pod_options(compiled)
    _add_pipeline_options(compiled)
    compiled.set_defaults(run=_compile)


def _add_submit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    submit = commands.add_parser(
        'submit',
        help='run a compiled pipeline on Kubeflow Pipelines, and follow it',
        description='Start what `tfx-edge compile` wrote on open-source Kubeflow Pipelines 2; with --wait, print what '
        'its steps do until it ends. --run follows a run that was started before. Status 1: the run failed. Tokens '
        "are read from a file; cookies and headers from kfp's own ~/.config/kfp/context.json.",
    )
    what = submit.add_mutually_exclusive_group(required=True)
    what.add_argument('file', nargs='?', metavar='FILE', help='the YAML of `tfx-edge compile`')
    what.add_argument('--run', dest='run_id', metavar='RUN_ID', help='follow this run instead')
    submit.add_argument(
        '--host',
        required=True,
        metavar='URL',
        help="the pipelines' page or its API server, such as http://localhost:8080",
    )
    submit.add_argument(
        '--parameter',
        dest='parameters',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='a parameter of the pipeline; VALUE is JSON, or else a string (repeatable)',
    )
    submit.add_argument(
        '--pipeline-root', metavar='URI', help="folder for the artifacts (the compiled pipeline's)"
    )
    submit.add_argument(
        '--experiment', metavar='NAME', help="of the run; it is made if there is none (kfp's default)"
    )
    submit.add_argument('--run-name', metavar='NAME', help="(the file's name with the time)")
    submit.add_argument('--no-cache', action='store_true', help='run every step, also where nothing changed')
    submit.add_argument('--wait', action='store_true', help='follow the run to its end')
    add_patience(submit)
    add_access(submit)
    _add_verbose(submit)
    submit.set_defaults(run=_submit)


def _add_target(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        'target',
        metavar='MODULE_OR_FILE[:FUNCTION]',
        help="such as my_package.pipeline or pipelines/digits.py:build; FUNCTION is 'create_pipeline' if not given",
    )


def _add_pipeline_options(command: argparse.ArgumentParser) -> None:
    command.add_argument('--no-cache', action='store_true', help='run every step, also where nothing changed')
    command.add_argument(
        '--set',
        dest='parameters',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='any other parameter of FUNCTION; VALUE is JSON, or else a string (repeatable)',
    )
    _add_beam_arg(command)
    command.add_argument(
        '--log', default='tfx-edge.log', metavar='FILE', help='what libraries print (%(default)s)'
    )
    _add_verbose(command)


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = commands.add_parser(
        'inspect',
        help='show what a .tflite file or a SavedModel holds',
        description='Show the tensors, operators, scales, zeros and metadata of a .tflite file; of a SavedModel, its '
        'signatures, the dense function that the components take, and its weights.',
    )
    inspect.add_argument(
        'file', metavar='FILE', help="a .tflite file, a SavedModel's folder or a Model artifact's"
    )
    inspect.add_argument(
        '--signature', default='', metavar='NAME', help='of a SavedModel, what to take (as signature_name)'
    )
    inspect.add_argument(
        '--transform-graph',
        metavar='DIR',
        help='of a SavedModel, the transform graph that its Trainer was given',
    )
    inspect.add_argument('--json', action='store_true', help='as JSON')
    _add_verbose(inspect)
    inspect.set_defaults(run=_inspect)


def _add_beam_arg(command: argparse.ArgumentParser) -> argparse.Action:
    return command.add_argument(
        '--beam-arg',
        dest='beam_args',
        action='append',
        default=[],
        metavar='ARG',
        help='for Apache Beam (repeatable), such as --beam-arg=--direct_num_workers=2',
    )


def _add_verbose(command: argparse.ArgumentParser) -> None:
    command.add_argument('--verbose', action='store_true', help='show the trace of an error')


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.on_kubeflow is not None:
        return _demo_on_kubeflow(arguments)
    require_unset(
        arguments,
        arguments.of_a_cluster,
        lambda option: f'{option} is for a cluster; add --on-kubeflow URL, or leave it out.',
    )
    if arguments.tree:
        from tfx_edge.pipelines.tree_demo import run_tree_demo

        return 0 if run_tree_demo(arguments.output, arguments.beam_args, arguments.max_zip_bytes) else 1
    from tfx_edge.pipelines.demo import run_demo

    if arguments.max_zip_bytes is not None:
        raise CommandError('--max-zip-bytes is for the deployment tree; add --tree, or leave it out.')
    return 0 if run_demo(arguments.output, arguments.beam_args) else 1


def _demo_on_kubeflow(arguments: argparse.Namespace) -> int:
    from tfx_edge.pipelines.kubeflow import demo_on_kubeflow

    if arguments.tree:
        raise CommandError('--tree is for this machine; leave it or --on-kubeflow out.')
    if arguments.run_id is not None:
        _require_id(arguments.run_id)
        require_unset(
            arguments,
            arguments.of_a_start,
            lambda option: f'the run has begun; with --run leave {option} out.',
        )
    options = demo_on_kubeflow.DemoOptions(
        access_of(arguments, arguments.on_kubeflow),
        arguments.image,
        arguments.output,
        arguments.store,
        pods_of(arguments),
        tuple(arguments.beam_args),
        tuple(arguments.parameters),
        arguments.patience,
        arguments.run_id,
    )
    return demo_on_kubeflow.run_demo_on_kubeflow(options)


def _run(arguments: argparse.Namespace) -> int:
    from tfx_edge.pipelines.user_pipeline import run_user_pipeline

    options = _pipeline_options(arguments, arguments.metadata_path)
    run_user_pipeline(arguments.target, options, arguments.log)
    return 0


def _search(arguments: argparse.Namespace) -> int:
    from tfx_edge.pipelines.search.search import SearchOptions, search_user_pipeline

    if arguments.no_cache:
        raise CommandError('a search shares steps between its trials by the cache; leave --no-cache out.')
    options = _pipeline_options(arguments, arguments.metadata_path)
    search = SearchOptions(arguments.trials, arguments.minutes, arguments.seed)
    return 0 if search_user_pipeline(arguments.target, options, arguments.log, search) else 1


def _compile(arguments: argparse.Namespace) -> int:
    from tfx_edge.pipelines.kubeflow.compilation import compile_user_pipeline

    compile_user_pipeline(
        arguments.target,
        _pipeline_options(arguments),
        arguments.image,
        arguments.form,
        arguments.output,
        arguments.log,
        pods_of(arguments),
    )
    return 0


def _submit(arguments: argparse.Namespace) -> int:
    from tfx_edge.pipelines.kubeflow import submission
    from tfx_edge.pipelines.kubeflow.kfp_connection import Connection

    access = access_of(arguments, arguments.host)
    options = submission.RunOptions(
        tuple(arguments.parameters),
        arguments.pipeline_root,
        arguments.experiment,
        arguments.run_name,
        use_cache=not arguments.no_cache,
    )
    if arguments.run_id is not None:
        _require_id(arguments.run_id)
    if arguments.run_id is None:
        run_id, connection = submission.submit(arguments.file, access, options)
        if not arguments.wait:
            return 0
    elif options != submission.RunOptions():
        raise CommandError('the run has begun; with --run leave out what a new run is given.')
    else:
        run_id, connection = arguments.run_id, Connection(access)
    return submission.follow(run_id, connection, arguments.patience)


def _require_id(run_id: str) -> None:
    if not run_id:
        raise CommandError('--run has no id; give the one that was printed when the run was started.')


def _pipeline_options(arguments: argparse.Namespace, metadata_path: str | None = None) -> PipelineOptions:
    from tfx_edge.pipelines.user_pipeline import PipelineOptions

    return PipelineOptions(
        pipeline_name=arguments.pipeline_name,
        pipeline_root=arguments.pipeline_root,
        metadata_path=metadata_path,
        enable_cache=False if arguments.no_cache else None,
        beam_args=tuple(arguments.beam_args),
        parameters=tuple(arguments.parameters),
    )


def _inspect(arguments: argparse.Namespace) -> int:
    if os.path.isdir(arguments.file) and not os.path.exists(_tflite_in(arguments.file)):
        # Without this, TensorFlow logs lines of its own before the first line of output.
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
        from tfx_edge.pipelines.saved_model_inspection import print_saved_model

        print_saved_model(
            arguments.file,
            signature_name=arguments.signature,
            transform_graph=arguments.transform_graph,
            as_json=arguments.json,
        )
        return 0
    from tfx_edge.pipelines.inspection import print_inspection

    file = _tflite_in(arguments.file) if os.path.isdir(arguments.file) else arguments.file
    print_inspection(file, as_json=arguments.json)
    return 0


def _tflite_in(artifact: str) -> str:
    """Where a Model artifact holds its `.tflite` file."""
    return os.path.join(artifact, 'Format-Serving', 'tflite')


if __name__ == '__main__':
    sys.exit(main())
