"""A deployment tree as components of a TFX pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tfx import types
from tfx.dsl.components.base import base_component

from tfx_edge import proto
from tfx_edge.components import EdgeEvaluator, EdgeSelector
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.selection.route import Route
from tfx_edge.pipelines.tree.branch import Branch, TreeInputs
from tfx_edge.pipelines.tree.levels import LEVELS, Level
from tfx_edge.pipelines.tree.plan import PlannedRoute, planned_routes


def deployment_tree(
    trainer_outputs: Mapping[str, types.BaseChannel],
    examples: types.BaseChannel,
    eval_config: tfma.EvalConfig,
    *,
    edge: proto.EdgeEvaluation | None = None,
    tree: proto.DeploymentTree | None = None,
    schema: types.BaseChannel | None = None,
    transform_graph: types.BaseChannel | None = None,
    signature_name: str = '',
    example_splits: Sequence[str] | None = None,
    module_file: str | None = None,
    module_path: str | None = None,
    levels: Mapping[str, Level] = LEVELS,
) -> list[base_component.BaseComponent]:
    """Makes the components of all routes from a Trainer's model to a `.tflite` file, and the selector of the best.

    Routes share what they have in common: one Pruner feeds every branch behind it. Each route ends in a
    TFLiteQuantizer and an EdgeEvaluator, whose `eval_config` and `edge` are the same for all. A component's id is its
    name and the route so far, such as `Clusterer-zeros50-clusters16`.

    Args:
      trainer_outputs: `trainer.outputs`, whose `model` is where all routes begin and the baseline of every evaluation.
      examples: Channel of Examples, to train, calibrate and evaluate on.
      eval_config: TFMA's configuration, as EdgeEvaluator takes it.
      edge: the limits that a file must hold; None for EdgeEvaluator's defaults.
      tree: the routes, and what is best; None for the defaults of `proto.DeploymentTree`, which are 20 routes.
      schema: Channel of Schema.
      transform_graph: Channel of TransformGraph.
      signature_name: of the Trainer's model; '' to choose.
      example_splits: the splits to evaluate on; ['eval'] if None.
      module_file: a Python file with `loss_fn`, `augment_fn` or `optimizer_fn` for the components that train.
      module_path: the dotted path of a module, instead.
      levels: by name; others can be added to `LEVELS`.

    Returns:
      The components in an order in which they can run; the last is the EdgeSelector, whose `model` and `blessing` a
      Pusher takes.

    Raises:
      EdgeError: a configuration is at fault.

    Example:
      ```
      tree = deployment_tree(
          trainer.outputs,
          example_gen.outputs['examples'],
          eval_config,
          edge=proto.EdgeEvaluation(max_zip_bytes=32_768, min_agreement=0.95),
          tree=proto.DeploymentTree(pruning=[{'target_sparsity': 0.5}, {'target_sparsity': 0.75}]),
      )
      pusher = Pusher(model=tree[-1].outputs['model'], model_blessing=tree[-1].outputs['blessing'], ...)
      pipeline = Pipeline(components=[example_gen, trainer, *tree, pusher], ...)
      ```
    """
    if 'model' not in trainer_outputs:
        raise EdgeError(
            "deployment_tree needs the outputs of a Trainer; give trainer.outputs, which has 'model'."
        )
    tree = tree or proto.DeploymentTree()
    modules = {'module_file': module_file, 'module_path': module_path}
    given = {name: value for name, value in modules.items() if value is not None}
    inputs = TreeInputs(examples, schema, transform_graph, signature_name, given)
    routes = planned_routes(tree, levels)
    branches = _branches(routes, trainer_outputs['model'], inputs, levels)
    evaluation = {
        **inputs.parsing,
        'baseline_model': trainer_outputs['model'],
        'eval_config': eval_config,
        'edge': edge,
        'example_splits': example_splits,
    }
    evaluators = [
        EdgeEvaluator(model=branch.model, **evaluation).with_id(f'EdgeEvaluator-{route.name}')
        for route, branch in zip(routes, branches, strict=True)
    ]
    selector = EdgeSelector(
        candidates=[branch.model for branch in branches],
        evaluations=[evaluator.outputs['edge_evaluation'] for evaluator in evaluators],
        selection=tree.selection,
        routes=[
            _route(route, branch, evaluator)
            for route, branch, evaluator in zip(routes, branches, evaluators, strict=True)
        ],
    )
    return _in_order(branches, evaluators, selector)


def _branches(
    routes: Sequence[PlannedRoute],
    model: types.BaseChannel,
    inputs: TreeInputs,
    levels: Mapping[str, Level],
) -> list[Branch]:
    """The end of each route; what routes have in common is made once."""
    made: dict[tuple[str, ...], Branch] = {}
    ends = []
    for route in routes:
        branch = Branch((route.training,) if route.training else (), model, route.fine_tuning)
        for stage in route.stages:
            steps = (*branch.steps, stage.step)
            if steps not in made:
                made[steps] = levels[stage.level].build(branch, stage.step, stage.config, inputs)
            branch = made[steps]
        ends.append(branch)
    return ends


def _route(route: PlannedRoute, branch: Branch, evaluator: base_component.BaseComponent) -> Route:
    return Route(
        route.name,
        tuple(stage.step for stage in route.stages),
        '\n'.join(branch.recipe),
        (*(component.id for component in branch.components), evaluator.id),
    )


def _in_order(
    branches: Sequence[Branch],
    evaluators: Sequence[base_component.BaseComponent],
    selector: base_component.BaseComponent,
) -> list[base_component.BaseComponent]:
    ordered: dict[str, Any] = {}
    for branch, evaluator in zip(branches, evaluators, strict=True):
        for component in (*branch.components, evaluator):
            ordered[component.id] = component
    return [*ordered.values(), selector]
