"""Adds to a PipelineSpec what TFX leaves out, and changes what open-source Kubeflow Pipelines 2 cannot run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tfx_edge.components.core.errors import EdgeError

DRIVER_FLAG = '--run_driver'


def runtime_parameters(pipeline: Any) -> dict[str, Any]:
    """The RuntimeParameters of a pipeline's components.

    Args:
      pipeline: a `tfx.v1.dsl.Pipeline`.

    Returns:
      The `tfx.orchestration.data_types.RuntimeParameter`s by name.

    Raises:
      EdgeError: two of one name differ.
    """
    from tfx.orchestration import data_types  # takes seconds

    found: dict[str, Any] = {}
    for component in pipeline.components:
        for value in component.exec_properties.values():
            if isinstance(value, data_types.RuntimeParameter):
                known = found.setdefault(value.name, value)
                if (known.ptype, known.default) != (value.ptype, value.default):
                    raise EdgeError(
                        f'RuntimeParameter {value.name!r} is declared twice, with different types or defaults; '
                        'use one object for both.'
                    )
    return found


def with_parameters(spec: dict[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A spec with the defaults and descriptions of its parameters: TFX writes their names and types only."""
    spec = copy.deepcopy(spec)
    for name, body in spec['root'].get('inputDefinitions', {}).get('parameters', {}).items():
        parameter = parameters[name]
        if parameter.default is not None:
            body.update(defaultValue=parameter.default, isOptional=True)
        if parameter.description:
            body['description'] = parameter.description
    return spec


def for_open_source(spec: dict[str, Any], pipeline_root: str) -> dict[str, Any]:
    """A spec for open-source Kubeflow Pipelines 2.

    Its root is in the spec, not in a job around it. And ExampleGen's driver, which finds the newest span of the data,
    is run by the step itself: this Kubeflow ignores `lifecycle`, which TFX relies on.

    Args:
      spec: a PipelineSpec as JSON.
      pipeline_root: URI of the folder for the artifacts.

    Returns:
      A changed copy.
    """
    spec = copy.deepcopy(spec)
    spec['defaultPipelineRoot'] = pipeline_root
    executors = spec['deploymentSpec']['executors']
    for executor in executors.values():
        container = executor.get('container', {})
        if container.pop('lifecycle', None) is not None:
            container['args'].insert(0, DRIVER_FLAG)
    return spec
