"""The Clusterer component and its spec."""

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
    """Limits the number of distinct values of each weight, in the form in which the `.tflite` file holds it.

    With `granularity` DEPLOYED a weight becomes one scale for each output channel times integers from a codebook
    that the whole weight shares, after batch norm is folded in: the `.tflite` file of an int8 model holds at most
    `number_of_clusters` distinct integers for it. TENSOR clusters the weight's own floats, CHANNEL those of
    each output channel, which leaves as many integers in each channel of the file. By default zeros stay 0. The graph,
    signatures, assets and Keras metadata stay byte for byte; training distils the incoming model.

    A weight can become several kernels of the file with scales along different axes, such as an embedding table that is
    also the last layer's kernel. With DEPLOYED it takes values a * r**k, which limits the integers of each such kernel.

    Integers are in units of a scale for each output channel, or with `dense_scales` PER_TENSOR, in fully connected
    layers, of one scale for all units: as in QATTrainer and TFLiteQuantizer, which have to be given the same.

    K-means finds the first values (`initialization` sets its start). Training then updates each value with the
    gradients of all weights that take it, and weights may move from one value to another. Which weights are clustered,
    and how dropout and batch norm are treated, is as in Pruner. Clustering: Han, Mao and Dally, 2016, arXiv:1510.00149;
    k-means++: Arthur and Vassilvitskii, 2007.

    A model that cannot be converted to a `.tflite` file is refused before training, with the names of the layers;
    `Clustering.saved_model_only` skips this check, for users who need only the SavedModel.

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
