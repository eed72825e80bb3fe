"""What deploy/kubernetes says of Flink and of Beam's job server, as the processes of a pod get it."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

FOLDER = pathlib.Path(__file__).parents[2] / 'deploy' / 'kubernetes'
_UNITS = {'Ki': 2**10, 'Mi': 2**20, 'Gi': 2**30}


@dataclasses.dataclass(frozen=True)
class Container:
    """A container of a Deployment.

    Attributes:
      command: its command, or () for the image's.
      arguments: after it.
      properties: the text of FLINK_PROPERTIES, or ''.
      ports: by name.
      memory: its limit in bytes.
    """

    command: Sequence[str]
    arguments: Sequence[str]
    properties: str
    ports: Mapping[str, int]
    memory: int


@dataclasses.dataclass(frozen=True)
class Deployment:
    """A Deployment.

    Attributes:
      replicas: how many pods.
      containers: of each pod, by name.
    """

    replicas: int
    containers: Mapping[str, Container]


def deployments(folder: pathlib.Path = FOLDER) -> dict[str, Deployment]:
    """The Deployments of the manifests, by name."""
    documents = [
        made for path in sorted(folder.glob('*.yaml')) for made in yaml.safe_load_all(path.read_text())
    ]
    return {
        made['metadata']['name']: Deployment(
            made['spec']['replicas'],
            {c['name']: _container(c) for c in made['spec']['template']['spec']['containers']},
        )
        for made in documents
        if made['kind'] == 'Deployment'
    }


def _container(spec: Mapping[str, Any]) -> Container:
    variables = {variable['name']: variable.get('value', '') for variable in spec.get('env', [])}
    number, unit = re.fullmatch(r'(\d+)([KMG]i)', spec['resources']['limits']['memory']).groups()
    return Container(
        tuple(spec.get('command', ())),
        tuple(spec.get('args', ())),
        variables.get('FLINK_PROPERTIES', ''),
        {port['name']: port['containerPort'] for port in spec.get('ports', [])},
        int(number) * _UNITS[unit],
    )
