"""TFX's LocalDagRunner, which with an EdgeSelector walks route by route, and goes on after failures it can bear."""

from __future__ import annotations

import copy
import logging
import time
import traceback
from typing import Any

from absl import logging as absl_logging
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.dsl.compiler import constants
from tfx.orchestration.local import local_dag_runner
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from tfx_edge.components.tfx_interface.missing_steps import write_missing_steps
from tfx_edge.pipelines.failure import causes, one_line
from tfx_edge.pipelines.machine_faults import is_of_the_machine
from tfx_edge.pipelines.route_walk import in_order_of_walk, walks
from tfx_edge.pipelines.run_records import steps_of_run
from tfx_edge.pipelines.tolerated_failures import failure_to_raise, selectors, skipped_steps

_LOG = logging.getLogger(__name__)


class StepRunner(local_dag_runner.LocalDagRunner):
    """LocalDagRunner with an id that is known to who starts it.

    Args:
      run_id: of the run in ML Metadata.
      root: folder of the pipeline's artifacts.
      connection: to ML Metadata.

    Example:
      ```
      StepRunner('2026-11-29T09:57:22', root, pipeline.metadata_connection_config).run(pipeline)
      ```
    """

    def __init__(self, run_id: str, root: str, connection: mlmd.ConnectionConfig) -> None:
        super().__init__()
        self._run_id = run_id
        self._root = root
        self._connection = connection

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: Any = None) -> None:
        """As LocalDagRunner does; it finds no parameter that is left to be replaced."""
        parameters = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, parameters)
        if run_options is None and selectors(pipeline):
            _Steps(self, pipeline).run()
        else:
            super().run_with_ir(pipeline, run_options)

    def run_step(self, pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.Pipeline.PipelineOrNode) -> None:
        """Runs one step of a pipeline."""
        super().run_with_ir(_only(pipeline, node))

    def write_missing(self, lines: dict[str, str]) -> None:
        """Writes down why steps made nothing, for an EdgeSelector."""
        try:
            write_missing_steps(self._root, self._run_id, lines)
        except OSError as error:
            _LOG.warning('an EdgeSelector will not know why a branch made nothing: %s', error)

    def is_blessed(self, evaluator: str) -> bool:
        """Whether a step of this run blessed its model."""
        outputs = steps_of_run(self._connection, self._run_id)[evaluator].outputs.get('blessing', ())
        return any(output.properties.get('blessed') == 1 for output in outputs)


class _Steps:
    """The steps of one run, in calls of their own: LocalDagRunner stops at the first error.

    `_unmade` has why a step made nothing, by id: its error, or why it was left out.
    """

    def __init__(self, runner: StepRunner, pipeline: pipeline_pb2.Pipeline) -> None:
        self._runner = runner
        self._pipeline = pipeline
        self._walks = walks(pipeline)
        self._start = time.monotonic()
        self._done: list[str] = []
        self._failures: dict[str, Exception] = {}
        self._unmade: dict[str, str] = {}

    def run(self) -> None:
        """Runs them.

        Raises:
          Exception: whatever a step raised that no EdgeSelector can do without.
        """
        for node in in_order_of_walk(self._pipeline):
            step = node.pipeline_node.node_info.id
            if step in self._unmade:
                continue
            skipped = skipped_steps(self._pipeline, list(self._unmade)) if self._unmade else {}
            if step in skipped:
                why = 'failed' if skipped[step] in self._failures else 'was left out'
                absl_logging.info('Component %s is skipped, since %s %s.', step, skipped[step], why)
                continue
            try:
                self._runner.run_step(self._pipeline, self._uncached(node) if self._unmade else node)
            except Exception as error:
                self._failures[step] = error
                self._unmade[step] = one_line(error)
                to_raise = failure_to_raise(self._pipeline, list(self._unmade))
                if to_raise == step or is_of_the_machine(error):
                    raise
            else:
                self._done.append(step)
                self._leave_out()
                continue
            self._go_on_without(step, to_raise)
            self._leave_out()

    def _uncached(self, node: pipeline_pb2.Pipeline.PipelineOrNode) -> pipeline_pb2.Pipeline.PipelineOrNode:
        """An EdgeSelector that chooses without something says why, which is no part of TFX's cache key."""
        if node.pipeline_node.node_info.id not in {walk.selector for walk in self._walks}:
            return node
        copied = copy.deepcopy(node)
        copied.pipeline_node.execution_options.caching_options.enable_cache = False
        return copied

    def _go_on_without(self, step: str, to_raise: str | None) -> None:
        error = self._failures[step]
        absl_logging.error('Component %s failed: %s', step, self._unmade[step], exc_info=error)
        if to_raise is not None:
            # Not within `except`: the last error is not the cause of the first.
            raise self._failures.get(to_raise, error)
        _release(error)
        self._runner.write_missing(self._unmade)

    def _leave_out(self) -> None:
        """Ends a walk where it was asked to end; looked at after every step, since a route may end by a failure."""
        minutes = (time.monotonic() - self._start) / 60
        for walk in self._walks:
            if not (walk.stop_at_first or walk.budget_minutes):
                continue
            lost = [
                *self._unmade,
                *(skipped_steps(self._pipeline, list(self._unmade)) if self._unmade else ()),
            ]
            reason = walk.enough(self._done, lost, minutes, self._runner.is_blessed)
            left = walk.only_of_others(self._done, lost) if reason else []
            if left:
                _LOG.info('%s: %d steps of other routes are left out', reason, len(left))
                self._unmade |= dict.fromkeys(left, f'left out, since {reason}')
                self._runner.write_missing(self._unmade)


def _only(
    pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.Pipeline.PipelineOrNode
) -> pipeline_pb2.Pipeline:
    """The pipeline with one of its steps.

    LocalDagRunner logs the deployment of all steps and the name of each that it skips. Those of the others would make
    the log grow with the square of their number.
    """
    only, deployment = pipeline_pb2.Pipeline(), pipeline_pb2.IntermediateDeploymentConfig()
    only.CopyFrom(pipeline)
    del only.nodes[:]
    only.nodes.append(node)
    only.deployment_config.Unpack(deployment)
    step = node.pipeline_node.node_info.id
    for specs in (
        deployment.executor_specs,
        deployment.custom_driver_specs,
        deployment.node_level_platform_configs,
    ):
        for other in specs.keys() - {step}:
            del specs[other]
    only.deployment_config.Pack(deployment)
    return only


def _release(error: Exception) -> None:
    """Lets go of what a failed step had in memory, which its traceback holds: other steps run now."""
    for cause in causes(error):
        traceback.clear_frames(cause.__traceback__)
