"""EdgeSelector as a pipeline sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import component_spec, standard_artifacts

import tfx_edge
from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.selection.route import Route
from tfx_edge.components.edge_selector import executor, keys, options
from tfx_edge.components.edge_selector.branches import branches
from tfx_edge.components.tfx_interface import artifacts, exec_properties
from tfx_edge.components.tfx_interface.artifact_types import EdgeEvaluation, Selection


class EdgeSelectorSpec(component_spec.ComponentSpec):
    """Parameters and outputs of EdgeSelector; each instance's spec has inputs for its candidates."""

    PARAMETERS = {
        keys.SELECTION_CONFIG: component_spec.ExecutionParameter(type=str),
        keys.ROUTES: component_spec.ExecutionParameter(type=str),
        exec_properties.VERSION: component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {
        artifacts.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        keys.BLESSING: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        keys.SELECTION: component_spec.ChannelParameter(type=Selection),
    }
    TYPE_ANNOTATION = None


class EdgeSelector(base_component.BaseComponent):
    """Chooses the best of several evaluated `.tflite` files.

    Of the candidates that hold every limit of their EdgeEvaluators it takes the one that `selection.objective` calls
    best: the smallest by bytes, cycles or time, or the best by a metric. Of equal ones it takes the one with the
    better metric (or fewer zip bytes), then the first. Where none holds every limit it gives out the one that comes
    nearest: the one that misses the fewest limits, of these the fewest thresholds of `eval_config`, of these the one
    that is least over the others, of these the one with the best metric. That one is not blessed, so that Pusher pushes
    nothing, and the log says what it misses.

    `tfx-edge run` walks the candidates in the order of their numbers of steps; `selection.stop_at_first` and
    `budget_minutes` end that walk early, and the candidates that were left out are named.

    Give all EdgeEvaluators the same examples, `eval_config` and `edge`, or figures are compared that say different
    things. A candidate that does not arrive, since its branch failed, is left out of the choice and named:
    `tfx-edge run` goes on after such a failure, and on Kubeflow a step of a branch that refuses what it was given hands
    the reason on instead of failing. There, one that fails otherwise (a pod that is lost, memory that is full) ends the
    run, and so does any with TFX's own LocalDagRunner and on Vertex AI.

    Example:
      ```
      selector = EdgeSelector(
          candidates=[int8.outputs['model'], int16.outputs['model']],
          evaluations=[evaluate_int8.outputs['edge_evaluation'], evaluate_int16.outputs['edge_evaluation']],
          selection=proto.Selection(objective=proto.Selection.CYCLES, device='ethos-u55-128'),
      )
      pusher = Pusher(model=selector.outputs['model'], model_blessing=selector.outputs['blessing'], ...)
      ```

    `tfx_edge.pipelines.deployment_tree` makes the candidates, their evaluations and the selector of a whole tree.

    Component `outputs` contains:
      - `model`: Model, a copy of the chosen candidate.
      - `blessing`: ModelBlessing, which TFX's Pusher takes.
      - `selection`: `tfx_edge.Selection` with `selection.json` (`core.selection.selection_report`): every candidate
        with its figures, its metric with an interval, and why it was chosen or not. `selection.html` shows them on
        one page: plots of the metric against each figure, a table that can be sorted, the chosen route's recipe,
        histograms of its weights.
    """

    SPEC_CLASS = EdgeSelectorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        candidates: Sequence[types.BaseChannel],
        evaluations: Sequence[types.BaseChannel],
        *,
        selection: proto.Selection | str | data_types.RuntimeParameter | None = None,
        routes: Sequence[str | Route] | None = None,
    ) -> None:
        """Checks the configuration and makes the component.

        Args:
          candidates: Channels of Model, the outputs of TFLiteQuantizers.
          evaluations: Channels of tfx_edge.EdgeEvaluation, for each candidate that of its EdgeEvaluator.
          selection: what is best; None for the fewest zip bytes.
          routes: how each candidate was made, as a name or a Route; the ids of the components that made them if None.

        Raises:
          EdgeError: there is not one evaluation for each candidate, or the configuration is at fault.
        """
        if not candidates or len(candidates) != len(evaluations):
            raise EdgeError(
                f'EdgeSelector has {len(candidates)} candidates and {len(evaluations)} evaluations; expected at least '
                "one candidate, and for each the outputs['edge_evaluation'] of its EdgeEvaluator."
            )
        producers = branches(candidates, evaluations)
        places = range(len(candidates))
        arguments: dict[str, Any] = {
            **{keys.candidate(place): candidates[place] for place in places},
            **{keys.evaluation(place): evaluations[place] for place in places},
            keys.SELECTION_CONFIG: exec_properties.encode(selection, proto.Selection, options.objective),
            keys.ROUTES: options.encode_routes(routes, producers),
            exec_properties.VERSION: tfx_edge.__version__,
            artifacts.MODEL: types.Channel(type=standard_artifacts.Model),
            keys.BLESSING: types.Channel(type=standard_artifacts.ModelBlessing),
            keys.SELECTION: types.Channel(type=Selection),
        }
        super().__init__(spec=_spec_for(len(candidates))(**arguments))


def _spec_for(count: int) -> type[EdgeSelectorSpec]:
    """The spec with inputs for so many candidates; each may stay empty when the step runs."""
    inputs = {}
    for place in range(count):
        for key, kind in (
            (keys.candidate(place), standard_artifacts.Model),
            (keys.evaluation(place), EdgeEvaluation),
        ):
            inputs[key] = component_spec.ChannelParameter(type=kind, optional=True, allow_empty=True)
    return type('EdgeSelectorSpec', (EdgeSelectorSpec,), {'INPUTS': inputs})
