"""Pruner as a pipeline sees it."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import component_spec
from tfx.types.component_spec import ExecutionParameter

from tfx_edge import proto
from tfx_edge.components import compression_spec, exec_properties, user_module
from tfx_edge.components.pruner import executor
from tfx_edge.components.pruner.options import pruning_options


class PrunerSpec(component_spec.ComponentSpec):
    """The spec of Pruner."""

    PARAMETERS = {**compression_spec.PARAMETERS, executor.PRUNING: ExecutionParameter(type=str)}
    INPUTS = compression_spec.INPUTS
    OUTPUTS = compression_spec.OUTPUTS
    TYPE_ANNOTATION = None


class Pruner(base_component.BaseComponent):
    """Sets the weights that count least to zero while the others are trained.

    The graph, signatures, assets and Keras metadata of the model stay byte for byte as they came in;
    only the values of variables change. Training distils the incoming model: no labels and no training
    code are needed. Codebooks of an earlier Clusterer are kept.

    Sparsity rises from `initial_sparsity` to `target_sparsity` (Zhu and Gupta, 2017, arXiv:1710.01878) and is met
    exactly at `end_step`; of equal weights those of lower index go first. Until then a dropped weight goes on
    getting gradients, and may come back (Lin et al., 2020, arXiv:2006.07253). With the defaults every weight gets
    that share of zeros; `scope` GLOBAL ranks all of them together, so that layers of large weights keep more.
    `structure` puts the zeros in blocks, or makes m of every n weights along the input channels zero. `criterion`
    TAYLOR ranks by |weight * gradient| (Molchanov et al., 2016, arXiv:1611.06440) instead of magnitude, and its
    dropped weights stay dropped. `policy` XNNPACK prunes the 1x1 convolutions alone that its sparse kernels take.

    Pruned are kernels of convolutions, factors of matrix products (Einsum and those in loops and branches,
    such as LSTM and GRU cells, included) and embedding tables; any other weight is trained, left dense, and named
    in the log. Dropout is off and batch norms use the statistics they came with, as in serving: distillation
    needs no noise, and statistics of small batches would move the function that is to be kept.
    `FineTuning.batch_norm_batches` computes them anew at the end, for one-shot pruning.

    A model that no `.tflite` file can be made of is refused before anything is trained, by the names of its layers;
    `Pruning.saved_model_only` takes it, for where the SavedModel is all that is wanted.

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
          transform_graph: a Channel of TransformGraph, applied to raw examples. Those of an ExampleGen are raw, those
            that Transform wrote are not; of others it is found out, or asked for.
          pruning: what to prune; None for the defaults of `proto.Pruning`.
          fine_tuning: how to train; None for the defaults of `proto.FineTuning`.
          signature_name: what to take of the SavedModel: a signature, whose dense part is found behind strings, or a
            function of Keras; '' to choose (`core.dense_function.choice`, `tfx-edge inspect SAVED_MODEL`).
          module_file: a Python file with any of `loss_fn`, `augment_fn` and `optimizer_fn`
            (`core.compression.training.user_functions`); packed into a wheel when the pipeline is compiled.
          module_path: instead of it, the dotted path of an importable module.

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
        user_module.package(self)
