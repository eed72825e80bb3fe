"""Steps that train long: their state outlives the pod, and Kubernetes starts a step anew whose pod it lost."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow.pods import step_executors
from tfx_edge.pipelines.kubeflow.training_state import STATE_FLAG

# Kubeflow's own policy for a step that has none, which repeats steps whose pod was lost.
_RETRIES = 2
# Counted from the start of the first pod: a training that is lost later is not started again. Kubeflow takes 0 seconds
# where nothing is given, and kfp's compiler writes an hour at most.
_NO_LONGER_THAN = '2592000s'
_STORES = ('s3://', 'minio://', 'gs://', 'az://', 'abfs://')


def training_steps(pipeline: Any) -> set[str]:
    """The ids of a pipeline's components that train: Pruner, Clusterer, QATTrainer, and others of their kind.

    Args:
      pipeline: a `tfx.v1.dsl.Pipeline`.
    """
    from tfx_edge.components.training.training_component import TrainingComponent  # takes seconds

    return {component.id for component in pipeline.components if isinstance(component, TrainingComponent)}


def state_line(steps: Collection[str], place: str) -> str:
    """What becomes of a training whose pod is lost, for whoever compiles the pipeline.

    Args:
      steps: of `training_steps`.
      place: where their state is kept; '' for nowhere.

    Example:
      >>> state_line(['Pruner'], 's3://bucket/states')
      'Pruner: goes on in a new pod when Kubernetes loses one; the state is at s3://bucket/states meanwhile'
    """
    names = ', '.join(sorted(steps))
    if not place:
        return f'{names}: begins anew when Kubernetes loses the pod; --shared-volume or --state URI keeps the state'
    return f'{names}: goes on in a new pod when Kubernetes loses one; the state is at {place} meanwhile'


def with_kept_state(
    spec: Mapping[str, Any], place: str, steps: Collection[str], mounts: Collection[str]
) -> dict[str, Any]:
    """A spec whose training steps keep their state at a place, and are started anew where Kubernetes lost their pod.

    Args:
      spec: a PipelineSpec as JSON.
      place: a folder that is mounted in these steps, or a URI; '' for none, which changes nothing.
      steps: of `training_steps`.
      mounts: the folders of volumes in these steps.

    Returns:
      A changed copy.

    Raises:
      EdgeError: the place is neither.
    """
    changed = copy.deepcopy(dict(spec))
    if not place:
        return changed
    is_mounted = any(place == mount or place.startswith(f'{mount.rstrip("/")}/') for mount in mounts)
    if not (is_mounted or place.startswith(_STORES)):
        raise EdgeError(
            f'--state {place} is neither in a volume of the steps (--volume CLAIM:/PATH) nor a URI that starts with '
            f'{", ".join(_STORES)}.'
        )
    for name, body in step_executors(changed).items():
        if name in steps and 'container' in body:
            body['container'].setdefault('args', [])[:0] = [STATE_FLAG, place]
            changed['root']['dag']['tasks'][name]['retryPolicy'] = {
                'maxRetryCount': _RETRIES,
                'backoffDuration': '10s',
                'backoffFactor': 2.0,
                'backoffMaxDuration': _NO_LONGER_THAN,
            }
    return changed
