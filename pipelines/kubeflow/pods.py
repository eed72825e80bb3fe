"""What the pods of a compiled pipeline's steps get beside their image: resources, volumes and variables."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow import training_state

SHARED_FLAG = '--shared_folder'
# Where a step with Beam arguments finds the volume that it shares with Beam's workers. They have it at the same path.
SHARED_FOLDER = '/tfx-edge-shared'

_CLAIM = re.compile(r'[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?')
_VARIABLE = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')
# Kubernetes gives a pod no secret of another namespace, so that none can be named.
_SECRET = re.compile(r'[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?')
# Names of variables, and of Beam's options, whose values are secrets.
_SECRET_NAME = re.compile('SECRET|PASSWORD|PASSWD|TOKEN|ACCESS_KEY|API_KEY|PRIVATE_KEY|CONNECTION_STRING')
_CPU = re.compile(r'\d+(\.\d+)?|(?P<milli>\d+)m')
_MEMORY = re.compile(r'(?P<number>\d+(\.\d+)?)(?P<unit>[MGT]i?)')
_GIGABYTES = {
    'M': 1e-3,
    'G': 1.0,
    'T': 1e3,
    'Mi': 2**20 / 1e9,
    'Gi': 2**30 / 1e9,
    'Ti': 2**40 / 1e9,
}
_GPU = 'nvidia.com/gpu'


@dataclasses.dataclass(frozen=True)
class PodOptions:
    """What the command line says about the pods.

    Attributes:
      resources: 'STEP=cpu:2,memory:8G,gpu:1', each of the three optional.
      gpu_image: the container image of the steps with a GPU, which has CUDA.
      shared_volume: a ReadWriteMany volume claim that Beam's workers have mounted at `SHARED_FOLDER`.
      volumes: 'CLAIM:/path', mounted in every step.
      state: where steps that train keep their state; None for the shared volume, where there is one.
      variables: 'NAME=VALUE', for every step.
      secret_variables: 'NAME=SECRET:KEY', for every step.
    """

    resources: tuple[str, ...] = ()
    gpu_image: str | None = None
    shared_volume: str | None = None
    volumes: tuple[str, ...] = ()
    state: str | None = None
    variables: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()

    @property
    def mount_paths(self) -> tuple[str, ...]:
        """Where steps that train have volumes."""
        shared = (SHARED_FOLDER,) if self.shared_volume else ()
        return (*shared, *(text.partition(':')[2] for text in self.volumes))

    @property
    def state_place(self) -> str:
        """Where the state of a training outlives its pod; '' where it does not."""
        if self.state is not None:
            return self.state
        return f'{SHARED_FOLDER}/{training_state.FOLDER}' if self.shared_volume else ''


def with_containers(spec: dict[str, Any], options: PodOptions, beam_steps: Collection[str]) -> dict[str, Any]:
    """A spec whose containers have the resources, variables and images, and know of the shared folder.

    Args:
      spec: a PipelineSpec as JSON.
      options: what to add.
      beam_steps: names of the steps that run Beam pipelines.

    Returns:
      A changed copy.

    Raises:
      EdgeError: an option is not of its form, or names no step; a step has a GPU and there is no image for it, or the
        other way round.
    """
    spec = copy.deepcopy(spec)
    containers = {
        name: body['container'] for name, body in step_executors(spec).items() if 'container' in body
    }
    variables = [_variable(text) for text in options.variables]
    for name, container in containers.items():
        _check_no_secret(name, container.get('args', []))
        if variables:
            container['env'] = [*container.get('env', []), *variables]
        if options.shared_volume and name in beam_steps:
            container['args'][:0] = [SHARED_FLAG, SHARED_FOLDER]
    for text in options.resources:
        name, resources = _resources(text)
        if name not in containers:
            raise EdgeError(
                f'--resources {text}: the pipeline has no step {name!r}; its steps are {", ".join(sorted(containers))}.'
            )
        containers[name].setdefault('resources', {}).update(resources)
    _set_gpu_image(containers, options.gpu_image)
    return spec


def platform_spec(
    spec: Mapping[str, Any], options: PodOptions, sharing_steps: Collection[str]
) -> dict[str, Any]:
    """The second document of a compiled pipeline, which open-source Kubeflow Pipelines reads as Kubernetes' part.

    Args:
      spec: the PipelineSpec.
      options: what to mount, and which secrets to give.
      sharing_steps: names of the steps that have the shared volume mounted.

    Returns:
      The JSON of a PlatformSpec (kfp-kubernetes' `KubernetesExecutorConfig` by executor); empty if nothing is asked.

    Raises:
      EdgeError: an option is not of its form, or two volumes have the same place.
    """
    volumes = [_volume(text) for text in options.volumes]
    shared = [_mount(options.shared_volume, SHARED_FOLDER)] if options.shared_volume else []
    secrets = [_secret(text) for text in options.secret_variables]
    _check_distinct(mount['mountPath'] for mount in [*volumes, *shared])
    executors = {}
    for name, body in step_executors(spec).items():
        mounts = [*volumes, *(shared if name in sharing_steps else [])]
        config = {
            **({'pvcMount': mounts} if mounts else {}),
            **({'secretAsEnv': secrets} if secrets else {}),
        }
        if config and 'container' in body:
            executors[spec['components'][_component(spec, name)]['executorLabel']] = config
    return {'platforms': {'kubernetes': {'deploymentSpec': {'executors': executors}}}} if executors else {}


def step_executors(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The executors by the names of their steps."""
    executors = spec['deploymentSpec']['executors']
    return {
        name: executors[spec['components'][_component(spec, name)]['executorLabel']]
        for name in spec['root']['dag']['tasks']
    }


def _component(spec: Mapping[str, Any], task: str) -> str:
    return spec['root']['dag']['tasks'][task]['componentRef']['name']


def _set_gpu_image(containers: Mapping[str, dict[str, Any]], image: str | None) -> None:
    """Gives the steps with a GPU the image with CUDA: elsewhere TensorFlow would train on the CPU without an error."""
    with_gpu = [
        name
        for name, container in containers.items()
        if int(container.get('resources', {}).get('accelerator', {}).get('count', 0))
    ]
    if with_gpu and not image:
        raise EdgeError(
            f'--resources {with_gpu[0]}=gpu: the image of the steps has no CUDA; name one that has it by --gpu-image '
            '(made by deploy/Dockerfile with --build-arg DEVICE=gpu).'
        )
    if image and not with_gpu:
        raise EdgeError(f'--gpu-image {image}: no step has a GPU; give one by --resources STEP=gpu:1.')
    for name in with_gpu:
        containers[name]['image'] = image


def _check_no_secret(step: str, arguments: Iterable[str]) -> None:
    for argument in arguments:
        option = argument.partition('=')[0]
        if option.startswith('--') and _SECRET_NAME.search(option.upper()):
            raise EdgeError(
                f'{step}: the Beam argument {option} would put a secret into the compiled file; leave it out, and give '
                'its environment variable by --secret-env.'
            )


def _resources(text: str) -> tuple[str, dict[str, Any]]:
    """A step and its resources. Limits equal requests, since a step that takes more makes other pods fail."""
    step, equals, rest = text.partition('=')
    resources: dict[str, Any] = {}
    for part in rest.split(','):
        kind, _, amount = part.partition(':')
        if kind == 'cpu' and (match := _CPU.fullmatch(amount)):
            cpus = int(match['milli']) / 1000 if match['milli'] else float(amount)
            resources.update(cpuRequest=cpus, cpuLimit=cpus)
        elif kind == 'memory' and (match := _MEMORY.fullmatch(amount)):
            gigabytes = float(match['number']) * _GIGABYTES[match['unit']]
            resources.update(memoryRequest=gigabytes, memoryLimit=gigabytes)
        elif kind == 'gpu' and amount.isdecimal():
            # A count of 64 bits is a string in JSON.
            resources['accelerator'] = {'type': _GPU, 'count': amount}
        else:
            equals = ''
    if not step or not equals:
        raise EdgeError(f'--resources {text} is not of the form STEP=cpu:2,memory:8G,gpu:1.')
    return step, resources


def _variable(text: str) -> dict[str, str]:
    name, equals, value = text.partition('=')
    if not equals or not _VARIABLE.fullmatch(name):
        raise EdgeError(f'--env {name} is not of the form NAME=VALUE.')
    if _SECRET_NAME.search(name.upper()):
        raise EdgeError(
            f'--env {name} would put a secret into the compiled file; give --secret-env {name}=SECRET:KEY.'
        )
    return {'name': name, 'value': value}


def _secret(text: str) -> dict[str, Any]:
    name, _, place = text.partition('=')
    secret, _, key = place.partition(':')
    if not _VARIABLE.fullmatch(name) or not _SECRET.fullmatch(secret) or not key:
        # Not the text itself: it may be the secret.
        raise EdgeError(
            'a --secret-env is not of the form NAME=SECRET:KEY, of a secret in the namespace of the run, by its name '
            'alone, and its key.'
        )
    return {'secretName': secret, 'keyToEnv': [{'secretKey': key, 'envVar': name}]}


def _volume(text: str) -> dict[str, str]:
    claim, _, path = text.partition(':')
    if not path.startswith('/'):
        raise EdgeError(f'--volume {text} is not of the form CLAIM:/path.')
    return _mount(claim, path)


def _mount(claim: str, path: str) -> dict[str, str]:
    if not _CLAIM.fullmatch(claim):
        raise EdgeError(
            f'{claim!r} is no name of a volume claim; Kubernetes expects lower case letters, digits and -, at most 63.'
        )
    return {'constant': claim, 'mountPath': path}


def _check_distinct(paths: Iterable[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise EdgeError(f'two volumes are mounted at {path}; give each a path of its own.')
        seen.add(path)
