"""Which operators XNNPACK computes between sparse kernels, each judged by itself; what is wrong with the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.sparse.net import STEM_CHANNELS, Net

# Operators of one input, tried one by one: `tests/bench/sparse_bench.py`. LiteRT.js 2.5.3 takes EXP, GELU, RSQRT, SQRT
# and TANH too; XNNPACK of earlier years does not, and would answer wrong.
ELEMENTWISE = (
    'ABS',
    'CEIL',
    'ELU',
    'FLOOR',
    'HARD_SWISH',
    'LOGISTIC',
    'NEG',
    'RELU',
    'RELU6',
    'RELU_N1_TO_1',
    'ROUND',
    'SQUARE',
)
# XNNPACK refuses one that is not a normal number.
_SMALLEST_SLOPE = 2.0**-126
_ACTIVATIONS = ('NONE', 'RELU', 'RELU_N1_TO_1', 'RELU6')
_ACTIVATION_NAMES = {
    number: name
    for name, number in vars(flatbuffer.schema.ActivationFunctionType).items()
    if not name.startswith('_')
}


def misfit(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    """What keeps XNNPACK from computing an operator between sparse kernels, and what to change.

    Args:
      graph: of the operator.
      operator: reads what a stem or a sparse kernel yields.

    Returns:
      One line that goes on after the operator's name; '' where nothing does.
    """
    kind = graph.kind(operator)
    judge = _JUDGES.get(kind)
    if judge is None:
        if graph.reads_pooled(operator):
            return 'lies behind a 1x1 convolution of pooled values; end the net with GlobalAveragePooling2D and Dense'
        return (
            'is not computed between sparse kernels; expected 1x1 and depthwise convolutions, ADD, MUL, '
            'RESIZE_BILINEAR and activations. Move it before the first convolution or behind the mean, or replace it'
        )
    return _of_all(graph, operator) or judge(graph, operator)


def stem_misfit(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    """What keeps an operator from being the stem, and what to change; '' where nothing does.

    Args:
      graph: of the operator.
      operator: any.
    """
    kernel = graph.kernel(operator) if graph.kind(operator) == 'CONV_2D' else None
    expected = 'expected a 3x3 convolution of 3 channels with stride 2'
    if kernel is None:
        return expected
    if kernel.shape[1:] != (3, 3, STEM_CHANNELS):
        height, width, channels = kernel.shape[1:]
        return f'has a kernel of {height}x{width} and {channels} channels; {expected}'
    if graph.shape(int(operator.inputs[0]))[3:] != (STEM_CHANNELS,):
        return f'reads groups of channels; {expected}'
    if graph.strides(operator) != (2, 2):
        return f'has stride {graph.strides(operator)}; {expected}'
    return _of_all(graph, operator) or _dilation(operator) or _padding(graph, operator, kernel)


def asymmetric(graph: Net, operator: flatbuffer.schema.OperatorT) -> bool:
    """Whether an operator that fits computes other values of the mirror image than mirrored ones."""
    kind, options = graph.kind(operator), operator.builtinOptions
    return kind == 'DEPTH_TO_SPACE' or (
        kind == 'RESIZE_BILINEAR' and not (options.alignCorners or options.halfPixelCenters)
    )


def _of_all(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    """What is demanded of every operator."""
    touched = [*graph.activations(operator), *map(int, operator.outputs)]
    if any(flatbuffer.TENSOR_TYPES[graph.graph.tensors[index].type] != 'FLOAT32' for index in touched):
        return 'does not compute in float32; make the file with mode FLOAT32'
    is_product = graph.kind(operator) in ('CONV_2D', 'DEPTHWISE_CONV_2D')
    integer = (
        is_product and flatbuffer.TENSOR_TYPES[graph.graph.tensors[operator.inputs[1]].type] != 'FLOAT32'
    )
    if integer or any(graph.held(int(index)) not in (None, index) for index in operator.inputs if index >= 0):
        # LiteRT.js 2.5.3 unpacks such kernels anew for each example, and answers zeros where they are sparse.
        return 'has weights that are not stored as float32; make the file with mode FLOAT32'
    fused = getattr(operator.builtinOptions, 'fusedActivationFunction', 0)
    if _ACTIVATION_NAMES[fused] not in _ACTIVATIONS:
        return f'ends with {_ACTIVATION_NAMES[fused]}; expected {", ".join(_ACTIVATIONS)}'
    return ''


def _convolution(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    kernel = graph.kernel(operator)
    if kernel is None:
        return 'has a kernel that is computed; expected a constant'
    if kernel.shape[1:3] != (1, 1):
        return (
            f'has a kernel of {kernel.shape[1]}x{kernel.shape[2]}; expected 1x1 (a depthwise convolution and one of '
            '1x1 may take its place)'
        )
    if graph.strides(operator) != (1, 1):
        return f'has stride {graph.strides(operator)}; expected 1 (a depthwise convolution may have 2)'
    if graph.shape(int(operator.inputs[0]))[3:] != kernel.shape[3:]:
        return 'has groups; expected one'
    return _dilation(operator)


def _depthwise(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    kernel = graph.kernel(operator)
    if kernel is None:
        return 'has a kernel that is computed; expected a constant'
    if kernel.shape[1:3] not in ((3, 3), (5, 5)):
        return f'has a kernel of {kernel.shape[1]}x{kernel.shape[2]}; expected 3x3 or 5x5'
    if graph.strides(operator) not in ((1, 1), (2, 2)):
        return f'has stride {graph.strides(operator)}; expected 1 or 2'
    if graph.shape(int(operator.inputs[0]))[3:] != kernel.shape[3:]:
        return 'yields several channels of each; expected one'
    return _dilation(operator) or _padding(graph, operator, kernel)


def _padding(graph: Net, operator: flatbuffer.schema.OperatorT, kernel: np.ndarray) -> str:
    size = graph.shape(graph.padded(operator))[1:3]
    around = graph.around(operator, kernel) if len(size) == 2 else None
    if around is None or None in size:
        return 'has an input of open height or width, or a padding that is computed; expected fixed sizes'
    if graph.is_even(operator, mirrored=False) or graph.is_even(operator, mirrored=True):
        return ''
    half = kernel.shape[1] // 2
    return (
        f"pads {around} around {size[0]}x{size[1]}; expected {half} on all sides, as padding 'same' or "
        f'ZeroPadding2D({half}) does'
    )


def _pad(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    readers = graph.readers(int(operator.outputs[0]))
    alone = len(readers) == 1 and int(operator.outputs[0]) not in graph.outputs
    if not alone or graph.kind(readers[0]) != 'DEPTHWISE_CONV_2D' or graph.is_same(readers[0]):
        return "is not read by one depthwise convolution with padding 'valid' alone"
    return ''


def _leaky(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    slope = operator.builtinOptions.alpha
    if not _SMALLEST_SLOPE < slope < math.inf:
        return f'has a slope of {slope:g}; expected more than 0 (RELU has none)'
    return _four_dimensions(graph, operator)


def _depth_to_space(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    if operator.builtinOptions.blockSize < 2:
        return 'has blocks of 1; expected 2 or more'
    return _four_dimensions(graph, operator)


def _two_activations(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    read = graph.activations(operator)
    if len(read) != 2:
        return 'takes a constant; expected two activations (a convolution or batch norm may take it up)'
    if graph.kind(operator) == 'ADD' and read[0] == read[1]:
        return 'adds a value to itself, with which XNNPACK computes dense; multiply by 2 in a convolution'
    return _four_dimensions(graph, operator)


def _mean(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    axes = flatbuffer.constant(graph.content, graph.graph.tensors[operator.inputs[1]])
    if axes is None or sorted(map(int, axes.ravel())) != [1, 2]:
        return 'is not over height and width, as axes 1 and 2'
    return _four_dimensions(graph, operator, outputs=False)


def _resize(graph: Net, operator: flatbuffer.schema.OperatorT) -> str:
    size = graph.shape(int(operator.inputs[0]))
    if len(size) != 4 or any(length is None or length < 2 for length in size[1:3]):
        return 'reads less than two rows or columns, or an open number of them'
    return ''


def _four_dimensions(graph: Net, operator: flatbuffer.schema.OperatorT, *, outputs: bool = True) -> str:
    touched = graph.activations(operator) + (list(map(int, operator.outputs)) if outputs else [])
    return '' if all(len(graph.shape(index)) == 4 for index in touched) else 'has not four dimensions'


def _dilation(operator: flatbuffer.schema.OperatorT) -> str:
    dilated = {operator.builtinOptions.dilationHFactor, operator.builtinOptions.dilationWFactor} != {1}
    return 'is dilated; expected no dilation' if dilated else ''


_JUDGES: Mapping[str, Callable[[Net, flatbuffer.schema.OperatorT], str]] = {
    **dict.fromkeys(ELEMENTWISE, _four_dimensions),
    'CONV_2D': _convolution,
    'DEPTHWISE_CONV_2D': _depthwise,
    'PAD': _pad,
    'ADD': _two_activations,
    'MUL': _two_activations,
    'MEAN': _mean,
    'RESIZE_BILINEAR': _resize,
    'DEPTH_TO_SPACE': _depth_to_space,
    'LEAKY_RELU': _leaky,
}
