"""Pruner as a pipeline sees it."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import component_spec
from tfx.types.component_spec import ExecutionParameter

from tfx_edge import proto
from tfx_edge.components import compression_spec, exec_properties
from tfx_edge.components.pruner import executor
from tfx_edge.components.pruner.options import pruning_options


class PrunerSpec(component_spec.ComponentSpec):
    """The spec of Pruner."""

    PARAMETERS = {**compression_spec.PARAMETERS, executor.PRUNING: ExecutionParameter(type=str)}
    INPUTS = compression_spec.INPUTS
    OUTPUTS = compression_spec.OUTPUTS
    TYPE_ANNOTATION = None


class Pruner(base_component.BaseComponent):
    """Sets the weights of least magnitude to zero while the others are trained.

    The graph, signatures, assets and Keras metadata of the model stay byte for byte as they came in;
    only the values of variables change. Training distils the incoming model: no labels and no training
    code are needed. Codebooks of an earlier Clusterer are kept.

    Gradual magnitude pruning: Zhu and Gupta, 2017, arXiv:1710.01878.

    Example:
      ```
      pruner = Pruner(
          model=trainer.outputs['model'],
          examples=example_gen.outputs['examples'],
          pruning=proto.Pruning(target_sparsity=0.75),
      )
      ```

    `outputs['model']` holds the same SavedModel with pruned weights (a standard Model).
    """

    SPEC_CLASS = PrunerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        *,
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        pruning: proto.Pruning | str | data_types.RuntimeParameter | None = None,
        fine_tuning: proto.FineTuning | str | data_types.RuntimeParameter | None = None,
        signature_name: str | data_types.RuntimeParameter = '',
        module_file: str | None = None,
        module_path: str | None = None,
    ) -> None:
        """Checks the configuration and makes the component.

        Args:
          model: a Channel of Model: what a Trainer, Pruner, Clusterer or QATTrainer exported.
          examples: a Channel of Examples to train on; None with `num_steps` 0 only.
          schema: a Channel of Schema, for defaults of absent features.
          transform_graph: a Channel of TransformGraph, applied to raw examples.
          pruning: what to prune; None for the defaults of `proto.Pruning`.
          fine_tuning: how to train; None for the defaults of `proto.FineTuning`.
          signature_name: '' for the first signature whose inputs are all dense numeric tensors.
          module_file: not supported by this version.
          module_path: not supported by this version.

        Raises:
          EdgeError: a value is out of range or not supported.
        """
        shared = compression_spec.spec_arguments(
            model=model,
            examples=examples,
            schema=schema,
            transform_graph=transform_graph,
            fine_tuning=fine_tuning,
            signature_name=signature_name,
            module_file=module_file,
            module_path=module_path,
        )
        encoded = exec_properties.encode(pruning, proto.Pruning, pruning_options)
        super().__init__(spec=PrunerSpec(**shared, **{executor.PRUNING: encoded}))
