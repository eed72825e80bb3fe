"""Which code a step's image holds, as far as its name shows: Kubeflow's cache does not look into an image."""

from __future__ import annotations

import copy
import importlib.metadata
from collections.abc import Mapping
from typing import Any

VERSION_FLAG = '--image_version'
_MOVING = 'latest'


def image_version(image: str) -> str:
    """The digest of an image's name, else its tag.

    Args:
      image: such as 'registry.example:5000/tfx-edge:0.1.0' or 'tfx-edge@sha256:...'.

    Returns:
      The text after '@' or ':'; 'latest', as for every container engine, if neither is given.

    Example:
      >>> image_version('registry.example:5000/tfx-edge:0.1.0')
      '0.1.0'
    """
    name, _, digest = image.partition('@')
    tag = name.rpartition('/')[2].partition(':')[2]
    return digest or tag or _MOVING


def cache_line(image: str) -> str:
    """A warning when a pipeline is compiled: what the cache does not see."""
    version = image_version(image)
    if version == _MOVING:
        return (
            f'{image} may change under its name, and the cache would not see it: give every build a tag of its own, '
            'or name the image by its digest'
        )
    return f'image version {version}; the cache does not look into an image: give every build another tag'


def version_line(version: str) -> str:
    """What a step logs first."""
    return f'tfx-edge {importlib.metadata.version("tfx-edge")}, image version {version or "not given"}'


def with_image_versions(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec whose containers have the version of their image, which so is in their cache key too.

    Args:
      spec: a PipelineSpec as JSON.

    Returns:
      A changed copy.
    """
    changed = copy.deepcopy(dict(spec))
    for executor in changed['deploymentSpec']['executors'].values():
        if container := executor.get('container'):
            container['args'] = [VERSION_FLAG, image_version(container['image']), *container.get('args', [])]
    return changed
