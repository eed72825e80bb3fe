"""A trial: the pipeline of one route, run up to its evaluation, and what EdgeEvaluator reported."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

from tfx.dsl.components.base import base_node
from tfx.dsl.io import fileio
from tfx.orchestration.pipeline import Pipeline

from tfx_edge.components import EdgeSelector
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.selection.candidate import Candidate
from tfx_edge.components.core.selection.route import Route
from tfx_edge.components.edge_evaluator.keys import REPORT_FILE
from tfx_edge.components.edge_selector import keys, options
from tfx_edge.pipelines.console import Progress
from tfx_edge.pipelines.local import run_locally
from tfx_edge.pipelines.run_records import steps_of_run


@dataclasses.dataclass(frozen=True)
class Trial:
    """One that can be run.

    Attributes:
      pipeline: a `tfx.v1.dsl.Pipeline` that chooses and pushes nothing.
      route: what it makes.
    """

    pipeline: Any
    route: Route

    @property
    def evaluator(self) -> str:
        """The id of the route's EdgeEvaluator."""
        return self.route.components[-1]

    @property
    def setting(self) -> str:
        """A digest of how its components are configured: the evaluation, what comes before the tree, and the route."""
        made = {component.id: component.exec_properties for component in self.pipeline.components}
        # A RuntimeParameter is said by its name and default.
        text = json.dumps(made, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()

    def run(self, progress: Progress) -> Candidate:
        """Makes the file and evaluates it.

        Args:
          progress: gets a line for each step.

        Returns:
          The route with its report.

        Raises:
          Exception: whatever a step raised.
        """
        run = run_locally(self.pipeline, progress)
        steps = steps_of_run(self.pipeline.metadata_connection_config, run)
        path = os.path.join(steps[self.evaluator].output('edge_evaluation').uri, REPORT_FILE)
        with fileio.open(path) as file:
            return Candidate(self.route, json.loads(file.read()), path)


def trial_of(pipeline: Any, name: str) -> Trial:
    """The trial of a pipeline with one route.

    EdgeSelector is left out too: a trial is no choice, and its blessing would be the last one in ML Metadata.

    Args:
      pipeline: a `tfx.v1.dsl.Pipeline`, which must not be used any more.
      name: of the route.

    Returns:
      The trial.

    Raises:
      EdgeError: the pipeline's tree is not of that route alone.
    """
    selector = selector_of(pipeline, [name])
    (route,) = _routes(selector)
    left_out = _downstream(selector)
    kept = [component for component in pipeline.components if component not in left_out]
    for component in kept:
        for other in left_out & component.downstream_nodes:
            component.remove_downstream_node(other)
    # The components have their Beam arguments from the first pipeline already. Given twice, they would be other steps
    # to the cache.
    trial = Pipeline(
        pipeline_name=pipeline.pipeline_info.pipeline_name,
        pipeline_root=pipeline.pipeline_info.pipeline_root,
        metadata_connection_config=pipeline.metadata_connection_config,
        components=kept,
        enable_cache=pipeline.enable_cache,
        platform_config=pipeline.platform_config,
        execution_mode=pipeline.execution_mode,
        dsl_context_registry=pipeline.dsl_context_registry,
    )
    return Trial(trial, route)


def selector_of(pipeline: Any, names: Sequence[str]) -> EdgeSelector:
    """The EdgeSelector of a tree.

    Args:
      pipeline: a `tfx.v1.dsl.Pipeline`.
      names: of the tree's routes.

    Returns:
      The component.

    Raises:
      EdgeError: there is none that chooses among these routes.
    """
    for component in pipeline.components:
        if isinstance(component, EdgeSelector) and [route.name for route in _routes(component)] == [*names]:
            return component
    raise EdgeError(
        'the pipeline has no EdgeSelector of the routes that the search asked for; have the function hand its '
        'parameter on: deployment_tree(..., tree=tree).'
    )


def _routes(selector: EdgeSelector) -> list[Route]:
    return options.decode_routes(selector.exec_properties[keys.ROUTES])


def _downstream(node: base_node.BaseNode) -> set[base_node.BaseNode]:
    """A node, and all that come after it."""
    found, new = {node}, [node]
    while new:
        for other in new.pop().downstream_nodes:
            if other not in found:
                found.add(other)
                new.append(other)
    return found
