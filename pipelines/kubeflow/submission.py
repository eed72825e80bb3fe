"""`tfx-edge submit`: starts what `tfx-edge compile` wrote on Kubeflow Pipelines 2, and follows it."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.console import Progress
from tfx_edge.pipelines.kubeflow.kfp_connection import Access, Connection, LostConnectionError
from tfx_edge.pipelines.kubeflow.pipeline_file import read_pipeline_file, run_parameters
from tfx_edge.pipelines.kubeflow.run_progress import POLL_SECONDS, RunProgress

INTERRUPTED = 130


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What the command line says about a run.

    Attributes:
      parameters: 'NAME=VALUE' each.
      pipeline_root: URI of the folder for the artifacts; None for the file's.
      experiment: name of the experiment; None for kfp's default.
      run_name: None for the pipeline's name with the time.
      use_cache: False to run every step.
    """

    parameters: Sequence[str] = ()
    pipeline_root: str | None = None
    experiment: str | None = None
    run_name: str | None = None
    use_cache: bool = True


def submit(path: str, access: Access, options: RunOptions) -> tuple[str, Connection]:
    """Starts a run, and prints its id and its page.

    Args:
      path: the file.
      access: the server.
      options: of the run.

    Returns:
      The id of the run, and the connection by which it was started.

    Raises:
      EdgeError: the file or a parameter is wrong, or the server does not answer or refuses. Nothing is sent before
        file and parameters are known to be right.

    Example:
      ```
      run_id, connection = submit('digits.yaml', Access('http://localhost:8080'), RunOptions())
      ```
    """
    file = read_pipeline_file(path)
    parameters = run_parameters(file, options.parameters)
    connection = Connection(access)
    connection.check_namespace()
    # The server does not read the root from the file.
    root = options.pipeline_root or file.root
    run_id = connection.submit(
        file, parameters, root, options.experiment, options.run_name, options.use_cache
    )
    progress = Progress(sys.stdout)
    progress.text(f'run {run_id} of pipeline {file.name!r}: {connection.page(run_id)}')
    progress.text(f'  follow it: {follow_command(run_id, connection.access)}')
    return run_id, connection


def follow(
    run_id: str, connection: Connection, patience_minutes: float, poll_seconds: float = POLL_SECONDS
) -> int:
    """Follows a run to its end.

    Ctrl-C on a terminal asks whether to terminate the run; elsewhere the run is left as it is.

    Args:
      run_id: of the run.
      connection: the server.
      patience_minutes: for how long a lost connection is tried again.
      poll_seconds: from one question to the next.

    Returns:
      The exit status: 0 if the run succeeded, 1 if not, 130 when interrupted without ending the run.

    Raises:
      EdgeError: there is no such run, or the server refuses.
      CommandError: the patience has ended.

    Example:
      ```
      status = follow('0f5c...', Connection(Access('http://localhost:8080')), patience_minutes=10)
      ```
    """
    # The log of a step is asked of it.
    connection.check_namespace()
    progress = Progress(sys.stdout)
    run = RunProgress(connection, run_id, progress, 60 * patience_minutes, poll_seconds)
    while True:
        try:
            succeeded = run.follow()
            break
        except KeyboardInterrupt as interrupt:
            # SIGTERM is a kind of it (cli.py); nobody is there to answer then.
            by_key = type(interrupt) is KeyboardInterrupt
            if by_key and _wants_to_terminate():
                _terminate(connection, run_id)
                run.line('terminating the run')
                continue
            progress.text(f'the run goes on; follow it again: {follow_command(run_id, connection.access)}')
            if not by_key:
                raise
            return INTERRUPTED
    if succeeded:
        progress.text(f'what it made, with the page of an EdgeEvaluator: {connection.page(run_id)}')
    return 0 if succeeded else 1


def follow_command(run_id: str, access: Access) -> str:
    """The command that follows a run with the same access.

    Args:
      run_id: of the run.
      access: the server.

    Returns:
      The command, for a shell.

    Example:
      >>> follow_command('0f5c', Access('http://localhost:8080', namespace='me'))
      'tfx-edge submit --run 0f5c --host http://localhost:8080 --namespace me'
    """
    return shlex.join(['tfx-edge', 'submit', '--run', run_id, '--host', access.host, *access_options(access)])


def access_options(access: Access) -> list[str]:
    """The options of a command by which a server is reached as before, without its address."""
    words = []
    for option, value in (
        ('--namespace', access.namespace),
        ('--token-file', access.token_file),
        ('--client-id', access.client_id),
        ('--other-client-id', access.other_client_id),
    ):
        if value:
            words += [option, value]
    return words


def _wants_to_terminate() -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input('\nterminate the run? [y/N] ').strip().lower() in ('y', 'yes')
    except (EOFError, KeyboardInterrupt):
        return False


def _terminate(connection: Connection, run_id: str) -> None:
    try:
        connection.terminate(run_id)
    except LostConnectionError as error:
        raise EdgeError(
            f'{connection.host} did not answer ({error}); the run may go on: terminate it on its page, '
            f'{connection.page(run_id)}.'
        ) from error
