"""Options of commands that speak with a cluster: how it is reached, and what the steps' pods get."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfx_edge.pipelines.failure import CommandError

if TYPE_CHECKING:
    from tfx_edge.pipelines.kubeflow.kfp_connection import Access
    from tfx_edge.pipelines.kubeflow.pods import PodOptions


def add_access(command: argparse._ActionsContainer) -> list[argparse.Action]:
    """Adds how to reach a Kubeflow; returns the options."""
    return [
        command.add_argument(
            '--namespace',
            metavar='NAME',
            help="of the runs, in a Kubeflow of several users: that of your profile (the one that kfp's "
            'set_user_namespace was told)',
        ),
        command.add_argument(
            '--token-file',
            metavar='FILE',
            help='holds a token, and is read anew for each request (the file that KF_PIPELINES_SA_TOKEN_PATH names)',
        ),
        command.add_argument(
            '--client-id',
            metavar='ID',
            help="of Google's Identity-Aware Proxy; with --other-client-id, the secret is in the environment variable "
            'KF_PIPELINES_APP_OAUTH2_CLIENT_SECRET',
        ),
        command.add_argument(
            '--other-client-id', metavar='ID', help='of a desktop application for that proxy'
        ),
    ]


def add_patience(command: argparse._ActionsContainer) -> argparse.Action:
    """Adds how long a lost connection is tried again; returns the option."""
    return command.add_argument(
        '--patience',
        type=float,
        default=10.0,
        metavar='MINUTES',
        help='how long a lost connection is tried again (%(default)s)',
    )


def add_pod_options(command: argparse._ActionsContainer) -> list[argparse.Action]:
    """Adds what the steps' pods get; returns the options."""
    return [
        command.add_argument(
            '--resources',
            action='append',
            default=[],
            metavar='STEP=cpu:N,memory:N,gpu:N',
            help='request and limit of a step, such as --resources Trainer=cpu:2,memory:8G,gpu:1 (repeatable)',
        ),
        command.add_argument(
            '--gpu-image',
            metavar='IMAGE',
            help='container image of the steps with a GPU: as --image, with CUDA '
            '(deploy/Dockerfile with --build-arg DEVICE=gpu)',
        ),
        command.add_argument(
            '--shared-volume',
            metavar='CLAIM',
            help="a ReadWriteMany volume claim that Beam's workers in other pods have mounted at /tfx-edge-shared; "
            'steps that run Beam keep their artifacts there while they run, and steps that train their state',
        ),
        command.add_argument(
            '--state',
            metavar='URI',
            help='where Pruner, Clusterer and QATTrainer keep the state of their training, which a new pod continues '
            'when Kubernetes lost one: s3://, minio://, gs://, az://, abfs://, or a folder in a --volume '
            '(default: the shared volume, if there is one)',
        ),
        command.add_argument(
            '--volume',
            dest='volumes',
            action='append',
            default=[],
            metavar='CLAIM:/PATH',
            help='a volume claim that every step has mounted, for data to read or models to push (repeatable)',
        ),
        command.add_argument(
            '--env',
            dest='variables',
            action='append',
            default=[],
            metavar='NAME=VALUE',
            help='an environment variable of every step; it stands in the compiled file, so no secrets (repeatable)',
        ),
        command.add_argument(
            '--secret-env',
            dest='secret_variables',
            action='append',
            default=[],
            metavar='NAME=SECRET:KEY',
            help="an environment variable of every step, from a key of one of the cluster's secrets (repeatable)",
        ),
    ]


def access_of(arguments: argparse.Namespace, host: str) -> Access:
    """The server that the arguments name."""
    from tfx_edge.pipelines.kubeflow.kfp_connection import Access

    return Access(
        host, arguments.namespace, arguments.token_file, arguments.client_id, arguments.other_client_id
    )


def pods_of(arguments: argparse.Namespace) -> PodOptions:
    """What the arguments say of the steps' pods."""
    from tfx_edge.pipelines.kubeflow.pods import PodOptions

    return PodOptions(
        resources=tuple(arguments.resources),
        gpu_image=arguments.gpu_image,
        shared_volume=arguments.shared_volume,
        volumes=tuple(arguments.volumes),
        state=arguments.state,
        variables=tuple(arguments.variables),
        secret_variables=tuple(arguments.secret_variables),
    )


def require_unset(
    arguments: argparse.Namespace, options: Sequence[argparse.Action], line: Callable[[str], str]
) -> None:
    """Refuses options that would do nothing.

    Args:
      arguments: of the command line.
      options: that must have their defaults.
      line: what to say of one that has not, by its name.

    Raises:
      CommandError: one has another value.
    """
    for option in options:
        if getattr(arguments, option.dest) != option.default:
            raise CommandError(line(option.option_strings[0]))
