"""What sparse kernels save in a browser, and which operators they allow beside them: `make bench-sparse`.

Nets in the manner of MobileNetV1 and V2 with random weights, pruned by Pruner with policy XNNPACK and made files as
TFLiteQuantizer makes them. Chromium runs the file with sparse kernels and the dense one in turns, and answers the same
examples with both. Then small nets with one kind of operator each, and one that XNNPACK does not compute sparse.
Needs Chromium and LiteRT.js, as EdgeEvaluator's device `web` does.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tests.components.core.litert.file_edits import add_operator, add_tensor
from tfx_edge import proto
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.devices import web
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantized_file
from tfx_edge.components.core.litert.sparse import sparse_kernels
from tfx_edge.components.pruner.options import pruning_options
from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

_WIDTH = 0.5
_EXAMPLES = 4
# Of random nets, relative to the largest answer: more is printed.
_MOST_DIFFERENCE = 1e-4
# What it is half of is odd, as its half is: no padding has a row more after than before.
_ODD = 65
# Filters at width 1, and stride.
_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
# Filters at width 1, stride and blocks; each block is six times as wide inside.
_V2 = ((24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3), (320, 1, 1))


class _Net(tf.Module):
    """Random convolutions, made as they are called for the first time."""

    def __init__(self, size: int, body: Callable[[_Net, tf.Tensor], tf.Tensor]) -> None:
        super().__init__()
        self._size, self._body = size, body
        self._random = np.random.default_rng(0)
        self.weights: dict[str, tf.Variable] = {}
        self._number = 0
        self.scores(tf.zeros((1, size, size, 3)))

    def scores(self, image: tf.Tensor) -> tf.Tensor:
        """Ten scores of each image."""
        self._number = 0
        x = tf.nn.relu6(self.convolution(image, 32, 3, 2))
        x = tf.reduce_mean(self._body(self, x), [1, 2])
        return tf.matmul(x, self._weight((x.shape[-1], 10), x.shape[-1]))

    def convolution(self, x: tf.Tensor, filters: int, size: int = 1, stride: int = 1) -> tf.Tensor:
        """Without an activation; `filters` at width 1."""
        shape = (size, size, x.shape[-1], int(filters * _WIDTH))
        return tf.nn.conv2d(x, self._weight(shape, size * size * x.shape[-1]), stride, 'SAME')

    def depthwise(self, x: tf.Tensor, stride: int = 1) -> tf.Tensor:
        """A 3x3 kernel for each channel."""
        kernel = self._weight((3, 3, x.shape[-1], 1), 9)
        return tf.nn.relu6(tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], 'SAME'))

    def _weight(self, shape: tuple[int, ...], fan_in: int) -> tf.Variable:
        name = f'weight_{self._number}'
        self._number += 1
        if name not in self.weights:
            values = self._random.normal(0, np.sqrt(2 / fan_in), shape)
            self.weights[name] = tf.Variable(values.astype(np.float32), name=name)
        return self.weights[name]


def _mobilenet_v1(net: _Net, x: tf.Tensor) -> tf.Tensor:
    for filters, stride in _V1:
        x = tf.nn.relu6(net.convolution(net.depthwise(x, stride), filters))
    return x


def _mobilenet_v2(net: _Net, x: tf.Tensor) -> tf.Tensor:
    for filters, first_stride, blocks in _V2:
        for block in range(blocks):
            wide = tf.nn.relu6(net.convolution(x, int(6 * x.shape[-1] / _WIDTH)))
            narrow = net.convolution(net.depthwise(wide, first_stride if block == 0 else 1), filters)
            x = x + narrow if narrow.shape == x.shape else narrow
    return tf.nn.relu6(net.convolution(x, 1280))


def _with_pooling(net: _Net, x: tf.Tensor) -> tf.Tensor:
    return tf.nn.max_pool2d(_mobilenet_v1(net, x), 3, 1, 'SAME')


def _excited(net: _Net, x: tf.Tensor) -> tf.Tensor:
    """Squeeze and excitation: pooled values become factors of the channels."""
    x = net.convolution(net.depthwise(x), 64)
    pooled = tf.nn.relu(net.convolution(tf.reduce_mean(x, [1, 2], keepdims=True), 16))
    return net.convolution(x * tf.sigmoid(net.convolution(pooled, 64)), 64)


def _of_one_operator(operator: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[_Net, tf.Tensor], tf.Tensor]:
    """A small net that applies an operator between two 1x1 convolutions."""
    return lambda net, x: net.convolution(operator(net.convolution(net.depthwise(x), 64)), 64)


NETS: Mapping[str, tuple[int, Callable[[_Net, tf.Tensor], tf.Tensor]]] = {
    'MobileNetV1 0.5, 224x224': (224, _mobilenet_v1),
    'MobileNetV1 0.5, 225x225': (225, _mobilenet_v1),
    'MobileNetV2 0.5, 224x224': (224, _mobilenet_v2),
}

# By the operator that the converter makes of each.
OPERATORS: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] = {
    'ABS': tf.abs,
    'CEIL': tf.math.ceil,
    'ELU': tf.nn.elu,
    'FLOOR': tf.floor,
    'HARD_SWISH': lambda x: x * tf.nn.relu6(x + 3) * (1 / 6),
    'LEAKY_RELU': tf.nn.leaky_relu,
    'LOGISTIC': tf.sigmoid,
    'NEG': tf.negative,
    # Behind an operator of its own, since it would be part of a convolution.
    'RELU': lambda x: tf.nn.relu(tf.nn.elu(x)),
    'RELU6': lambda x: tf.nn.relu6(tf.nn.elu(x)),
    'RELU_N1_TO_1': lambda x: tf.minimum(tf.maximum(tf.nn.elu(x), -1.0), 1.0),
    'ROUND': tf.round,
    'SQUARE': tf.square,
    'ADD': lambda x: x + tf.nn.elu(x),
    'MUL': lambda x: x * tf.nn.elu(x),
    'DEPTH_TO_SPACE': lambda x: tf.nn.depth_to_space(x, 2),
    'RESIZE_BILINEAR': lambda x: tf.image.resize(x, [2 * x.shape[1], 2 * x.shape[2]]),
}


def main() -> None:
    """Prints a table of nets, a line for each operator, and what a net with another operator would answer."""
    arguments = _arguments()
    print(
        'net                        zeros  bytes: dense    sparse  ms: dense  sparse  ratio (quartiles)  differs by'
    )
    for name in arguments.nets:
        for zeros in arguments.zeros:
            _print_net(name, zeros)
    if arguments.operators:
        _print_operators()
        _print_blocked()
        _print_halved()
    if arguments.random:
        _print_random(arguments.random)


def _print_net(name: str, zeros: int) -> None:
    size, body = NETS[name]
    dense = _file(size, body, zeros)
    made = sparse_kernels.make(dense)
    if made.obstacle:
        print(f'{name:26} {zeros:3} % stays dense: {made.obstacle}', flush=True)
        return
    pair = web.profile_pair(made.file, dense)
    if pair.times is None:
        raise SystemExit(pair.costs.absent or pair.costs.obstacle or pair.baseline.obstacle)
    times = pair.times
    print(
        f'{name:26} {zeros:3} % {len(dense.data):13,} {len(made.file.data):9,}'
        f' {pair.baseline.milliseconds:10.2f} {pair.costs.milliseconds:7.2f}'
        f'  {times.ratio:.2f} ({times.low:.2f} to {times.high:.2f}) {_difference(made.file, dense, size):11.1e}',
        flush=True,
    )


def _print_operators() -> None:
    bodies = {name: _of_one_operator(operator) for name, operator in OPERATORS.items()}
    for name, body in {**bodies, 'MEAN': _excited}.items():
        dense = _file(_ODD, body, 80)
        found = {operator.name for operator in inspect_model(dense).operators}
        made = sparse_kernels.make(dense)
        difference = 0.0 if made.obstacle else _difference(made.file, dense, _ODD)
        said = made.obstacle or f'sparse and dense differ by {difference:.1e} of the largest answer'
        print(
            f'{name}{"" if name in found else " (the converter makes another operator)"}: {said}', flush=True
        )


def _print_random(number: int) -> None:
    """Random nets of all that fits, each held against its dense file in the browser."""
    from random_sparse_nets import random_net

    worst, sparse = 0.0, 0
    for seed in range(number):
        dense, size = random_net(seed)
        made = sparse_kernels.make(dense)
        if made.obstacle:
            print(f'random net {seed} stays dense: {made.obstacle}', flush=True)
            continue
        difference = _difference(made.file, dense, size)
        sparse, worst = sparse + 1, max(worst, difference)
        if not difference < _MOST_DIFFERENCE:
            print(
                f'random net {seed}: sparse and dense differ by {difference:.1e} of the largest answer',
                flush=True,
            )
    print(
        f'{sparse} of {number} random nets are sparse; the worst differs by {worst:.1e} of its largest answer'
    )


def _print_blocked() -> None:
    """What would come of sparse kernels in a net with MAX_POOL_2D: the kernels of the net without it, put into it."""
    dense = _file(224, _with_pooling, 80)
    print(f'MobileNetV1 with one MAX_POOL_2D stays dense: {sparse_kernels.make(dense).obstacle}')
    made = sparse_kernels.make(_file(224, _mobilenet_v1, 80))
    plain = _file(224, _mobilenet_v1, 80)
    files = [_pooled(file) for file in (made.file, plain)]
    print(f'with sparse kernels it would differ by {_difference(*files, 224):.1e} of the largest answer')


def _print_halved() -> None:
    """What would come of kernels of float16."""
    dense = _file(225, _mobilenet_v1, 80)
    half = quantized_file(dense, QuantizationOptions('FLOAT16'))
    pair = web.profile_pair(half, dense)
    assert pair.times is not None
    print(f'mode FLOAT16 stays dense ({sparse_kernels.make(half).obstacle})')
    print(f'dense, it takes {pair.times.ratio:.1f} times as long as mode FLOAT32', flush=True)
    difference = _difference(_halved(sparse_kernels.make(dense).file), dense, 225)
    print(f'with sparse kernels it would differ by {difference:.1e} of the largest answer')


def _halved(file: ModelFile) -> ModelFile:
    """A file whose sparse kernels are stored as float16, with a DEQUANTIZE behind each DENSIFY."""
    content = file.changeable()
    graph = content.subgraphs[0]
    operators = list(graph.operators)
    for densify in operators:
        if flatbuffer.operator_name(content, densify) != 'DENSIFY':
            continue
        stored = graph.tensors[densify.inputs[0]]
        values = np.frombuffer(content.buffers[stored.buffer].data, np.float32).astype(np.float16)
        content.buffers[stored.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
        stored.type = flatbuffer.schema.TensorType.FLOAT16
        half = add_tensor(content, f'half_{len(graph.tensors)}', 'FLOAT16', tuple(stored.shape))
        add_operator(content, 'DEQUANTIZE', [half], list(densify.outputs), 'DequantizeOptions')
        densify.outputs = [half]
        graph.operators.insert(graph.operators.index(densify) + 1, graph.operators.pop())
    return ModelFile.of_content(content)


def _pooled(file: ModelFile) -> ModelFile:
    """A file with a MAX_POOL_2D before its last depthwise convolution."""
    content = file.changeable()
    graph = content.subgraphs[0]
    kinds = [flatbuffer.operator_name(content, operator) for operator in graph.operators]
    place = len(kinds) - 1 - kinds[::-1].index('DEPTHWISE_CONV_2D')
    last = graph.operators[place]
    source = graph.tensors[last.inputs[0]]
    pooled = type(source)()
    pooled.name, pooled.type, pooled.shape, pooled.hasRank = b'pooled', source.type, list(source.shape), True
    pooled.shapeSignature, pooled.buffer = source.shapeSignature, 0
    graph.tensors.append(pooled)
    window = {'filterWidth': 3, 'filterHeight': 3, 'strideW': 1, 'strideH': 1}
    add_operator(
        content, 'MAX_POOL_2D', [int(last.inputs[0])], [len(graph.tensors) - 1], 'Pool2DOptions', **window
    )
    graph.operators.insert(place, graph.operators.pop())
    last.inputs = [len(graph.tensors) - 1, *map(int, last.inputs[1:])]
    return ModelFile.of_content(content)


def _difference(sparse: ModelFile, dense: ModelFile, size: int) -> float:
    """The largest difference of two files' answers in the browser, as a share of the largest answer."""
    images = np.random.default_rng(1).uniform(size=(_EXAMPLES, size, size, 3)).astype(np.float32)
    (name,) = inspect_model(dense).inputs
    ours, theirs = (next(iter(web.answers(file, {name: images}).values())) for file in (sparse, dense))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _file(size: int, body: Callable[[_Net, tf.Tensor], tf.Tensor], zeros: int) -> ModelFile:
    """The dense file of a net that Pruner has pruned without training."""
    with tempfile.TemporaryDirectory() as temporary:
        source, target = pathlib.Path(temporary) / 'net', pathlib.Path(temporary) / 'pruned'
        net = _Net(size, body)
        called = tf.function(lambda image: {'scores': net.scores(image)})
        signature = called.get_concrete_function(tf.TensorSpec((None, size, size, 3), tf.float32, 'image'))
        tf.saved_model.save(net, str(source), signatures=signature)
        graph = ServingGraph(str(source), choose_signature(str(source)))
        pruning = pruning_options(proto.Pruning(policy='XNNPACK', target_sparsity=zeros / 100))
        tuning = fine_tuning_options(proto.FineTuning(num_steps=0), has_module=False)
        target.mkdir()
        write_with_values(str(source), str(target), prune(graph, pruning, tuning, None))
        converted = convert_saved_model(str(target), choose_signature(str(target)))
    return ModelFile(converted)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--nets', nargs='*', choices=list(NETS), default=list(NETS))
    parser.add_argument('--zeros', nargs='+', type=int, default=[80, 90], help='percent')
    parser.add_argument(
        '--operators', action=argparse.BooleanOptionalAction, default=True, help='try each operator'
    )
    parser.add_argument('--random', type=int, default=40, help='random nets to try')
    return parser.parse_args()


if __name__ == '__main__':
    main()
