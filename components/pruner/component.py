"""The Pruner component and its spec."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.types.component_spec import ExecutionParameter
from typing_extensions import Unpack

from tfx_edge import proto
from tfx_edge.components.pruner import executor
from tfx_edge.components.pruner.options import PRUNING, pruning_options
from tfx_edge.components.training.training_component import (
    TrainingArguments,
    TrainingComponent,
    with_training_arguments,
)
from tfx_edge.components.training.training_spec import TrainingSpec


class PrunerSpec(TrainingSpec):
    """The spec of Pruner."""

    PARAMETERS = {**TrainingSpec.PARAMETERS, PRUNING.key: ExecutionParameter(type=str)}


class Pruner(TrainingComponent):
    """Sets the least important weights to zero while the others are trained.

    The graph, signatures, assets and Keras metadata of the model stay byte for byte as they came in;
    only the values of variables change. Training distils the incoming model: no labels and no training
    code are needed. Codebooks of an earlier Clusterer are kept.

    Sparsity rises from `initial_sparsity` to `target_sparsity` (Zhu and Gupta, 2017, arXiv:1710.01878) and is met
    exactly at `end_step`. First go the weights that have no effect on any example, those of units whose ReLU is always
    zero (the log says how many); then those of least magnitude, of equal ones those of lower index. Until then a
    dropped weight keeps its value, and comes back when a kept one falls below it. Without
    `FineTuning.learning_rate`, the rate is 1e-3 up to 50 % zeros and rises to 3e-3 at 75 %: the weights that are left
    have farther to go. With the defaults every weight gets that share of zeros; `scope` GLOBAL ranks all of them
    together, so that layers of large weights keep more: with many zeros, the same number of them costs less accuracy
    (`make bench-compression`, points `global`). Where a last layer would keep fewer than three weights for each output,
    a warning names it before the training: left dense (`exclude`), it costs next to no bytes (points `hidden`).
    `structure` puts the zeros in blocks, or makes m of every n weights along the input channels zero: 2 of 4 is what
    Arm's Ethos-U85 skips while it computes, so that cycles fall; on U55 and U65 zeros save flash, in any place
    (`make bench-devices`). `criterion` TAYLOR ranks by |weight * gradient| (Molchanov et al., 2016, arXiv:1611.06440)
    instead of magnitude, and its dropped weights stay dropped. `policy` XNNPACK prunes only 1x1 convolutions that
    XNNPACK has sparse kernels for; a net in which it would use none gets a warning before the training, with the
    operator that is in the way and what to change (see TFLiteQuantizer, which stores such kernels).

    It prunes kernels of convolutions, factors of matrix products (also of Einsum, and in loops and branches, such
    as LSTM and GRU cells) and embedding tables; any other weight is trained, left dense, and named
    in the log. Dropout is off and batch norms use the statistics they came with, as in serving: distillation
    needs no noise, and statistics of small batches would move the function that is to be kept.
    `FineTuning.batch_norm_batches` computes them anew at the end, for one-shot pruning.

    With few examples (each is trained on more than 40 times) and up to 75 % zeros, the kept weights of an output are
    changed whenever a mask drops others, so that the output stays what it was, as near as they can on the first eight
    batches (the surgeon's update: Hassibi and Stork, 1993; layer by layer: Frantar and Alistarh, 2022,
    arXiv:2208.11580); what was dropped then stays so. A filter of the first convolution, whose inputs are much alike,
    would otherwise answer to the brightness of a picture once half of it is gone, and training on few examples does not
    get it back. Kernels of Conv2D, DepthwiseConv2D and MatMul take part whose outputs read at most 640 values; the log
    names the others. With many examples training does the same, and with more zeros layers read something else than in
    the incoming model. `compensation` ALWAYS and NEVER decide otherwise.

    A model that cannot be converted to a `.tflite` file is refused before training, with the names of the layers;
    `Pruning.saved_model_only` skips this check, for users who need only the SavedModel.

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
    CONFIGURATION = PRUNING

    @with_training_arguments
    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        *,
        pruning: proto.Pruning | str | data_types.RuntimeParameter | None = None,
        **shared: Unpack[TrainingArguments],
    ) -> None:
        """Checks the configuration and makes the component.

        Args:
          pruning: what to prune; None for the defaults of `proto.Pruning`.
        """
        super().__init__(model, examples, config=pruning, check=pruning_options, **shared)
