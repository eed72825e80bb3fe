"""Clusterer as a pipeline sees it."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import component_spec
from tfx.types.component_spec import ExecutionParameter

from tfx_edge import proto
from tfx_edge.components import compression_spec, exec_properties, user_module
from tfx_edge.components.clusterer import executor
from tfx_edge.components.clusterer.options import clustering_options


class ClustererSpec(component_spec.ComponentSpec):
    """The spec of Clusterer."""

    PARAMETERS = {**compression_spec.PARAMETERS, executor.CLUSTERING: ExecutionParameter(type=str)}
    INPUTS = compression_spec.INPUTS
    OUTPUTS = compression_spec.OUTPUTS
    TYPE_ANNOTATION = None


class Clusterer(base_component.BaseComponent):
    """Gives each weight few distinct values, in the form in which it ships.

    With `granularity` DEPLOYED a weight becomes one scale for each output channel times integers from a codebook
    that the whole weight shares, after batch norm is folded in: the `.tflite` file of an int8 model holds at most
    `number_of_clusters` distinct integers for it. TENSOR clusters the weight's own floats, CHANNEL those of
    each output channel, which leaves as many integers in each channel of the file. Zeros that came in stay. The graph,
    signatures, assets and Keras metadata stay byte for byte; training distils the incoming model.

    A weight whose kernels in the file have their scales along different axes, such as an embedding table that is the
    last layer's kernel too, takes values a * r**k instead (DEPLOYED): they are as few in each of its kernels.

    First values are placed by k-means (`initialization`: where it starts), then trained: each gets the gradients of
    all weights that take it, and weights may move from one value to another. Clustering: Han, Mao and Dally, 2016,
    arXiv:1510.00149; k-means++: Arthur and Vassilvitskii, 2007. Which weights are clustered, and how dropout and batch
    norm are treated, is as in Pruner.

    A model that no `.tflite` file can be made of is refused before anything is trained, by the names of its layers;
    `Clustering.saved_model_only` takes it, for where the SavedModel is all that is wanted.

    Example:
      ```
      clusterer = Clusterer(
          model=pruner.outputs['model'],
          examples=example_gen.outputs['examples'],
          clustering=proto.Clustering(number_of_clusters=16),
      )
      ```

    `outputs['model']` holds the same SavedModel with clustered weights (a standard Model).
    """

    SPEC_CLASS = ClustererSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        *,
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        clustering: proto.Clustering | str | data_types.RuntimeParameter | None = None,
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
          clustering: what to cluster; None for the defaults of `proto.Clustering`.
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
        encoded = exec_properties.encode(clustering, proto.Clustering, clustering_options)
        super().__init__(spec=ClustererSpec(**shared, **{executor.CLUSTERING: encoded}))
        user_module.package(self)
