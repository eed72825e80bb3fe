"""The quantizer inside of TensorFlow's converter: the only module that calls TensorFlow's private API for it.

It can abort its process: call these functions through `isolation.run_isolated`. They take a float file whose
activations hold their minimum and maximum, as the converter's own calibration leaves them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

# Modules that the server imports before it forks a process for these functions.
LOADED_BEFORE = ('tensorflow',)


def quantize_int8(
    model: bytes, integer_io: bool, kept_float: Sequence[str], *, one_dense_scale: bool = False
) -> bytes:
    """Quantizes activations and weights to int8.

    Args:
      model: bytes of a float file with the range of each activation.
      integer_io: inputs and outputs are int8 too.
      kept_float: names of output tensors whose operators stay float.
      one_dense_scale: the kernels of fully connected layers have one scale each; false for one for each unit, which
        TensorFlow 2.16 cannot make: its file has one in any case.

    Returns:
      The converter's file.
    """
    import tensorflow as tf
    from tensorflow.lite.python import convert

    scales = _dense_scales(convert.mlir_quantize, 'disable_per_channel_for_dense_layers', one_dense_scale)

    io = tf.int8 if integer_io else tf.float32
    return bytes(
        convert.mlir_quantize(
            model, input_data_type=io, output_data_type=io, denylisted_nodes=set(kept_float) or None, **scales
        )
    )


def quantize_int16(model: bytes, *, one_dense_scale: bool = False) -> bytes:
    """Quantizes activations to int16 and weights to int8; inputs and outputs stay float.

    Args:
      model: bytes of a float file with the range of each activation.
      one_dense_scale: as for `quantize_int8`.

    Returns:
      The converter's file.
    """
    import tensorflow as tf
    from tensorflow.lite.python.optimize import calibrator

    quantize = calibrator.Calibrator(model).calibrate_and_quantize
    scales = _dense_scales(quantize, 'disable_per_channel_quantization_for_dense_layers', one_dense_scale)
    # Without samples it calibrates nothing, and takes the ranges that the file holds.
    return bytes(
        quantize(
            lambda: iter(()),
            input_type=tf.float32,
            output_type=tf.float32,
            allow_float=True,
            activations_type=tf.int16,
            bias_type=tf.int64,
            resize_input=False,
            **scales,
        )
    )


def _dense_scales(quantize: Callable[..., object], argument: str, one: bool) -> dict[str, bool]:
    """The argument that gives dense kernels one scale; none where they have one anyway (TensorFlow 2.16)."""
    return {argument: one} if argument in inspect.signature(quantize).parameters else {}
