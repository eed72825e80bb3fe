"""Operators that copy integers: their outputs are wrong where these have another scale than the inputs."""

from __future__ import annotations

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer

# Their kernels move integers and do not look at scales (the quantization specification's "same scale" rule).
_COPYING = frozenset(
    (
        'BATCH_TO_SPACE_ND',
        'BROADCAST_TO',
        'DEPTH_TO_SPACE',
        'EXPAND_DIMS',
        'GATHER',
        'GATHER_ND',
        'MAX_POOL_2D',
        'MIRROR_PAD',
        'PAD',
        'RESHAPE',
        'REVERSE_SEQUENCE',
        'REVERSE_V2',
        'SLICE',
        'SPACE_TO_BATCH_ND',
        'SPACE_TO_DEPTH',
        'SPLIT',
        'SPLIT_V',
        'SQUEEZE',
        'STRIDED_SLICE',
        'TILE',
        'TRANSPOSE',
        'UNPACK',
    )
)
_INTEGERS = ('INT8', 'INT16', 'UINT8')
_ROUNDING = 1e-5


def require_one_scale(quantized: flatbuffer.schema.ModelT) -> None:
    """Refuses a file in which integers are copied from one scale to another.

    Args:
      quantized: a quantized model.

    Raises:
      EdgeError: an operator that copies its input has an output of another scale or zero point.

    Example:
      >>> require_one_scale(file.content)
    """
    for graph in quantized.subgraphs:
        for operator in graph.operators:
            kind = flatbuffer.operator_name(quantized, operator)
            if kind not in _COPYING:
                continue
            found = [
                (graph.tensors[index], parameters)
                for index in (*operator.inputs, *operator.outputs)
                if index >= 0
                for parameters in [_parameters(graph.tensors[index])]
                if parameters is not None
            ]
            for tensor, (scale, zero_point) in found[1:]:
                first_scale, first_point = found[0][1]
                if abs(scale / first_scale - 1) > _ROUNDING or zero_point != first_point:
                    raise EdgeError(
                        f"TensorFlow's quantizer copies integers of step {first_scale:g} into "
                        f'{flatbuffer.tensor_name(tensor)!r} of step {scale:g} by {kind}, which changes their '
                        'meaning; set engine to AUTO or LITERT, or keep that operator float.'
                    )


def _parameters(tensor: flatbuffer.schema.TensorT) -> tuple[float, int] | None:
    """Scale and zero point; None for a tensor that has no scale, or several."""
    quantization = tensor.quantization
    if flatbuffer.TENSOR_TYPES[tensor.type] not in _INTEGERS or quantization is None:
        return None
    if quantization.scale is None or len(quantization.scale) != 1:
        return None
    points = quantization.zeroPoint
    return float(quantization.scale[0]), int(points[0]) if points is not None and len(points) else 0
