"""Where the Beam workers of a compiled step run, and whether they see its artifacts there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow.pods import step_executors

# By the last part of their names, in lower case. None is Beam's default, its DirectRunner.
_IN_THE_POD = {
    None,
    'directrunner',
    'bundlebaseddirectrunner',
    'switchingdirectrunner',
    'fnapirunner',
    'prismrunner',
}


def check_workers(spec: Mapping[str, Any], beam_steps: Collection[str], *, has_shared_volume: bool) -> None:
    """Refuses steps whose workers could not see the artifacts: what they write would be lost without an error.

    Args:
      spec: a PipelineSpec as JSON, for open-source Kubeflow Pipelines.
      beam_steps: names of the steps that run Beam pipelines.
      has_shared_volume: whether steps and workers share a volume.

    Raises:
      EdgeError: the workers run elsewhere and share nothing with the step.

    Example:
      >>> check_workers(job['pipelineSpec'], {'ImportExampleGen'}, has_shared_volume=False)
    """
    for name, executor in sorted(step_executors(spec).items()):
        if name in beam_steps and 'container' in executor:
            _check(name, executor['container'].get('args', []), has_shared_volume)


def _check(step: str, arguments: list[str], has_shared_volume: bool) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions

    options = PipelineOptions(arguments)
    runner = options.view_as(StandardOptions).runner
    kind = runner and runner.rpartition('.')[2].lower()
    if kind == 'dataflowrunner':
        raise EdgeError(
            f'{step} runs Beam on {runner}, whose workers cannot see what open-source Kubeflow Pipelines gives to a '
            'step; compile with --format vertex, or name another runner.'
        )
    in_the_pod = kind in _IN_THE_POD or options.view_as(PortableOptions).environment_type == 'LOOPBACK'
    if not in_the_pod and not has_shared_volume:
        raise EdgeError(
            f"{step} runs Beam on {runner}, whose workers in other pods do not see the step's artifacts; name a volume "
            'claim that both have mounted: --shared-volume CLAIM.'
        )
