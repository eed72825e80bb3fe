"""QATTrainer as a pipeline sees it."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from typing_extensions import Unpack

from tfx_edge import proto
from tfx_edge.components.qat_trainer import executor
from tfx_edge.components.qat_trainer.options import QAT, fidelity_bound, qat_options
from tfx_edge.components.tfx_interface import artifact_types, artifacts
from tfx_edge.components.training.training_component import (
    TrainingArguments,
    TrainingComponent,
    with_training_arguments,
)
from tfx_edge.components.training.training_spec import TrainingSpec


class QATTrainerSpec(TrainingSpec):
    """The spec of QATTrainer."""

    PARAMETERS = {**TrainingSpec.PARAMETERS, QAT.key: ExecutionParameter(type=str)}
    OUTPUTS = {
        **TrainingSpec.OUTPUTS,
        artifacts.CALIBRATION: ChannelParameter(type=artifact_types.Calibration),
    }


class QATTrainer(TrainingComponent):
    """Trains a model in the arithmetic of the file that it becomes.

    What the file computes in integers is read off the file itself, and simulated in training: kernels after batch norm
    is folded in, with the file's scales (`dense_scales`, which TFLiteQuantizer has to be given too: one for each unit
    of a fully connected layer, or one in all), in `weight_bits` (4 where LiteRT has int4 kernels, 8 elsewhere); biases
    and other constants; activations in `activation_bits`, whose ranges are calibrated, then trained; after each quarter
    of the steps those that cut off more than 1 % of what makes their values differ (EdgeEvaluator's `max_clipping`) are
    widened to the values of the calibration batches, and the log names the worst. Zeros and clusters that came in are
    kept (clusters for other scales in each unit only, with a warning). What `exclude` or an override leaves in float
    stays float in the file. So do operators that the file computes otherwise than the simulation (SELU, say); a warning
    names them. The graph, signatures, assets and Keras metadata stay byte for byte; training distils the incoming
    model. Without examples (`num_steps` 0) weights are rounded and no ranges result.

    One example in 16 is never trained on. On these the simulation is compared with the file: in `parity.json` beside
    the ranges (with `parity_by_activation`, for every activation inside too), in one line of the log, and in the
    model's custom properties `tfx_edge_parity_samples`,
    `tfx_edge_parity_within_2_steps`, `tfx_edge_parity_largest_steps`, `tfx_edge_parity_agreement` and
    `tfx_edge_not_simulated`. A model that no integer file can be made of stays float, with a warning; one that
    no `.tflite` file at all can be made of is refused before training, with an error that names the layers.

    On 64 of these examples (fewer of large ones) the finished file is compared with the incoming model too: agreement
    and fidelity in dB, in one line of the log, in the custom properties `tfx_edge_fidelity`, `tfx_edge_fidelity_db`,
    `tfx_edge_fidelity_agreement` and `tfx_edge_fidelity_samples`, and in `fidelity.json` beside the ranges; see
    TFLiteQuantizer, which measures the same. Before training, the incoming model's file is measured likewise. Where it
    is below `min_fidelity_db`, a minimal group of operators that lifts it above (a mask of -1e9 beside logits; the
    normalization of columns of unlike scale) stays float, with a warning, unless `repair_fidelity` is false.
    A model trained by labels or a `loss_fn` is meant to change its answers: its file is compared with its own float
    file. `require_fidelity` makes a finished file below the bound an error. `reference.npz` beside the ranges holds
    these examples and the answers, with which TFLiteQuantizer measures the file that it makes.

    Krishnamoorthi, 2018, arXiv:1806.08342; Jacob et al., 2018, arXiv:1712.05877.

    Example:
      ```
      qat_trainer = QATTrainer(
          model=clusterer.outputs['model'], examples=example_gen.outputs['examples']
      )
      quantizer = TFLiteQuantizer(
          model=qat_trainer.outputs['model'], calibration=qat_trainer.outputs['calibration']
      )
      ```

    `outputs['model']` holds the same SavedModel with other weights (a standard Model),
    `outputs['calibration']` the trained ranges (`tfx_edge.Calibration`), which TFLiteQuantizer uses.
    """

    SPEC_CLASS = QATTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    CONFIGURATION = QAT

    @with_training_arguments
    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        *,
        qat: proto.QuantizationAwareTraining | str | data_types.RuntimeParameter | None = None,
        **shared: Unpack[TrainingArguments],
    ) -> None:
        """Checks the configuration and makes the component.

        Args:
          qat: what to simulate; None for the defaults of `proto.QuantizationAwareTraining`.
        """

        def check(message: proto.QuantizationAwareTraining) -> None:
            qat_options(message)
            fidelity_bound(message, examples=examples is not None)

        super().__init__(model, examples, config=qat, check=check, **shared)
