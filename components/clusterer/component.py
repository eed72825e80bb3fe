"""Clusterer as a pipeline sees it."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.types.component_spec import ExecutionParameter
from typing_extensions import Unpack

from tfx_edge import proto
from tfx_edge.components.clusterer import executor
from tfx_edge.components.clusterer.options import CLUSTERING, clustering_options
from tfx_edge.components.training.training_component import (
    TrainingArguments,
    TrainingComponent,
    with_training_arguments,
)
from tfx_edge.components.training.training_spec import TrainingSpec


class ClustererSpec(TrainingSpec):
    """The spec of Clusterer."""

    PARAMETERS = {**TrainingSpec.PARAMETERS, CLUSTERING.key: ExecutionParameter(type=str)}


class Clusterer(TrainingComponent):
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
    CONFIGURATION = CLUSTERING

    @with_training_arguments
    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        *,
        clustering: proto.Clustering | str | data_types.RuntimeParameter | None = None,
        **shared: Unpack[TrainingArguments],
    ) -> None:
        """Checks the configuration and makes the component.

        Args:
          clustering: what to cluster; None for the defaults of `proto.Clustering`.
        """
        super().__init__(model, examples, config=clustering, check=clustering_options, **shared)
