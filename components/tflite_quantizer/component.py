"""TFLiteQuantizer as a pipeline sees it."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import component_spec, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

import tfx_edge
from tfx_edge import proto
from tfx_edge.components.tflite_quantizer import executor
from tfx_edge.components.tflite_quantizer.labels import with_labels
from tfx_edge.components.tflite_quantizer.options import quantizer_options, require_inputs
from tfx_edge.components.tfx_interface import artifact_types, artifacts, exec_properties


class TFLiteQuantizerSpec(component_spec.ComponentSpec):
    """The spec of TFLiteQuantizer."""

    PARAMETERS = {
        executor.QUANTIZATION: ExecutionParameter(type=str),
        executor.SIGNATURE_NAME: ExecutionParameter(type=str),
        exec_properties.VERSION: ExecutionParameter(type=str),
    }
    INPUTS = {
        artifacts.INPUT_MODEL: ChannelParameter(type=standard_artifacts.Model),
        artifacts.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples, optional=True),
        artifacts.SCHEMA: ChannelParameter(type=standard_artifacts.Schema, optional=True),
        artifacts.TRANSFORM_GRAPH: ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
        artifacts.INPUT_CALIBRATION: ChannelParameter(type=artifact_types.Calibration, optional=True),
    }
    OUTPUTS = {
        artifacts.MODEL: ChannelParameter(type=standard_artifacts.Model),
        artifacts.CALIBRATION: ChannelParameter(type=artifact_types.Calibration),
    }
    TYPE_ANNOTATION = None


class TFLiteQuantizer(base_beam_component.BaseBeamComponent):
    """Makes the `.tflite` file: converts the model, calibrates its activations, quantizes, and checks the file.

    Calibration is a Beam pipeline of statistics that merge exactly. Which examples it uses is a function of their
    content, so the same file results from any number of workers, shards and orders. With a `calibration`, its
    ranges are used as they are, and examples only serve for ranges that it lacks.

    `quantization.mode` is a row of `core.litert.quantization.modes.MODES`:

    | mode | weights | activations | needs |
    |---|---|---|---|
    | `INT8` | int8 | int8 | examples or calibration |
    | `INT16X8` | int8 | int16 | examples or calibration |
    | `INT4X8` | int4 where LiteRT has kernels, int8 elsewhere | int8 | examples or calibration |
    | `DYNAMIC_INT8` | int8 | float, quantized while running | |
    | `DYNAMIC_INT4` | int4 where LiteRT has kernels, int8 elsewhere | float, quantized while running | |
    | `FLOAT16` | float16 | float | |
    | `FLOAT32` | float | float | |

    TensorFlow 2.16's own interpreter loads no file with fully connected layers of `INT4X8`; ai-edge-litert does.

    `io` INT8 and UINT8 make inputs and outputs integers too, in the modes with int8 activations (`INT8`, `INT4X8`).

    A kernel has a scale for each output channel. With `dense_scales` PER_TENSOR, those of fully connected layers have
    one each. That takes 12 to 24 bytes less for each unit, the integers compress better, and they are less exact, in
    four bits often too much so. The log says what the scales cost where that is a twentieth of the file or its zip.
    Give Clusterer and QATTrainer the same `dense_scales`: a codebook fits the scales that it was made for, and a dense
    kernel that holds more integers than it has clusters is named in a warning. TensorFlow 2.16's CONVERTER writes one
    scale in any case, and the log names these layers.

    `range_method` chooses each activation's range: the smallest and largest value (`MIN_MAX`), the central
    `percentile` of the values, or the range with the least squared error (`MSE`) or least divergence (`ENTROPY`,
    Migacz, 2017). `equalize` and `correct_bias` (Nagel et al., 2019, arXiv:1906.04721) raise the fidelity of
    models whose channels differ much in size, without training.

    In modes with integer activations a mask that puts -1e9, or the smallest float, beside the scores of a softmax is
    brought so near to them that the softmax's output, which has steps of 1/256, does not change; its range would leave
    the scores no steps. The log names these masks. A division whose quotients have so coarse a step that LiteRT's
    integer kernel answers the smallest ones with any value of the range stays float, named in the log.

    Two engines make files: litert-quantizer and the quantizer of TensorFlow's converter. `engine` `AUTO` takes the one
    whose file comes nearer to the float model, by 3 dB or more; else the one that leaves fewer operators in float. The
    log says which and why.

    The finished file and the SavedModel answer the same 64 examples (fewer of large ones): those that come after the
    calibration's in the order of their hashes, or, where there are not 32 of these, the last of the calibration's.
    Where they differ is reported per output: agreement of classes, and fidelity, the power of the answers around
    their mean over the power of the error, in dB. A column or a magnitude that is much smaller than the others is
    judged by itself. One line in the log, `fidelity.json` beside the ranges, and the custom properties
    `tfx_edge_fidelity`, `tfx_edge_fidelity_db`, `tfx_edge_fidelity_agreement` and `tfx_edge_fidelity_samples` say so.
    Below `min_fidelity_db` (12, which is noise of a sixteenth: of the nets of `make bench-fidelity` in all modes,
    those that answer right have 17 dB or more, and those that lose classes less than 10) a smallest group of
    operators that lifts the file over it stays float, with a warning that names them. With `repair_fidelity` false or
    `require_full_integer` the file stays as it was asked for, and the warning names that group and the modes that
    help. `require_fidelity` makes a file that is still below an error. `reference.npz` beside the ranges holds these
    examples and the float answers.

    The file is inspected after it is made: types of inputs and outputs, names of tensors and of the signature, that
    it runs, and operators that stayed float. These are named in the log, or with `require_full_integer` an error.
    With `report_sensitivity`, `sensitivity.json` beside the ranges names the operators that lose most; with
    `keep_float=['AUTO']` the file may grow by `float_budget_bytes`, spent on operators that stay float where that gains
    most fidelity; a group that lifts the file over `min_fidelity_db` has to fit into what is left.

    With `for_micro`, in modes `INT8` and `INT16X8`, a second file for TensorFlow Lite Micro stands beside the first, as
    `Format-Serving/tflite_micro`: kernels of at most 2^b different integers, as Clusterer makes them, take b bits a
    weight and a table (Han et al., 2016, arXiv:1510.00149), where that makes the file smaller. Both files answer the
    64 examples on the runtime of TensorFlow Lite Micro, equal to the last bit, or the step fails with the kernel's
    name. The log says which kernels stay as they are, and why. LiteRT does not load this file. It needs examples (a
    QATTrainer's calibration brings some), the extra `tflite-micro` where the step runs, and TFLM_DECODE among the
    operators of the microcontroller's program.

    In mode `FLOAT32`, 1x1 kernels with more than two thirds of zeros, as Pruner makes them with policy
    XNNPACK, are stored without their zeros (DENSIFY), where XNNPACK then computes with what is left: on Arm and in
    browsers, not on x86 (Elsen et al., 2019, arXiv:1911.09723; figures: `make bench-sparse`). It does so only where the
    net has the form that it asks for: a stem of a 3x3 convolution with stride 2 on three channels, then 1x1 and
    depthwise convolutions, ADD, MUL and activations, then a mean over height and width, and as much padding on all
    sides. SAME padding is written so, with the same results; where it has a row more after than before, the net
    computes on the mirror image, with mirrored kernels. On any other net the kernels stay dense, since a sparse file
    would answer wrong there, and the log names the first operator that is in the way; so they do in mode `FLOAT16`,
    whose kernels LiteRT.js unpacks for each example. `sparse_kernels` false leaves every kernel dense, for delegates
    that take no DENSIFY.

    Example:
      ```
      quantizer = TFLiteQuantizer(
          model=trainer.outputs['model'],
          examples=example_gen.outputs['examples'],
          quantization=proto.Quantization(mode='INT8', io=proto.Quantization.Io.INT8),
      )
      pusher = Pusher(model=quantizer.outputs['model'], ...)
      ```

    `outputs['model']` holds the file as `Format-Serving/tflite` (a standard Model; its custom properties
    `tfx_edge_mode`, `tfx_edge_engine`, `tfx_edge_float_operators` and `tfx_edge_file_bytes` sum it up), with TFLite
    metadata: what `quantization.metadata` says, names of inputs and outputs, the labels of a label file.
    `outputs['calibration']` holds the ranges it was made with (`tfx_edge.Calibration`; none for modes with float
    activations).
    """

    SPEC_CLASS = TFLiteQuantizerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        *,
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        calibration: types.BaseChannel | None = None,
        signature_name: str | data_types.RuntimeParameter = '',
        quantization: proto.Quantization | str | data_types.RuntimeParameter | None = None,
    ) -> None:
        """Checks the configuration and makes the component.

        Args:
          model: a Channel of Model: what a Trainer, Pruner, Clusterer or QATTrainer exported.
          examples: a Channel of Examples to calibrate on, unlabelled ones too.
          schema: a Channel of Schema, for defaults of absent features and features of variable length.
          transform_graph: a Channel of TransformGraph, applied to raw examples. Examples of an
            ExampleGen are raw, those of Transform are not; for others the step decides by features, or an error asks.
          calibration: a Channel of tfx_edge.Calibration, such as QATTrainer's.
          signature_name: a signature of the SavedModel (one with string inputs is cut after parsing) or a function that
            Keras saved; '' to choose (`core.dense_function.choice`, `tfx-edge inspect SAVED_MODEL`).
          quantization: which file to make; None for the defaults of `proto.Quantization`.

        Raises:
          EdgeError: a value is out of range or not supported, or integer activations are asked for with neither
            examples nor calibration.
        """
        if isinstance(quantization, str):
            quantization = exec_properties.decode(quantization, proto.Quantization)
        if isinstance(quantization, proto.Quantization):
            quantization = with_labels(quantization)

        def check(message: proto.Quantization) -> None:
            require_inputs(
                quantizer_options(message),
                examples=examples is not None,
                calibration=calibration is not None,
            )

        channels = {
            artifacts.EXAMPLES: examples,
            artifacts.SCHEMA: schema,
            artifacts.TRANSFORM_GRAPH: transform_graph,
            artifacts.INPUT_CALIBRATION: calibration,
        }
        arguments = {
            artifacts.INPUT_MODEL: model,
            **{key: channel for key, channel in channels.items() if channel is not None},
            executor.QUANTIZATION: exec_properties.encode(quantization, proto.Quantization, check),
            executor.SIGNATURE_NAME: signature_name,
            exec_properties.VERSION: tfx_edge.__version__,
            artifacts.MODEL: types.Channel(type=standard_artifacts.Model),
            artifacts.CALIBRATION: types.Channel(type=artifact_types.Calibration),
        }
        super().__init__(spec=TFLiteQuantizerSpec(**arguments))
