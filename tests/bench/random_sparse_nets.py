"""Random files of the form that XNNPACK computes sparse, for `sparse_bench.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.components.core.litert.file_edits import add_tensor
from tests.components.core.litert.sparse.pointwise_nets import Net
from tfx_edge.components.core.litert.file.model_file import ModelFile

_ZEROS = 0.8
_ELEMENTWISE = ('ABS', 'ELU', 'FLOOR', 'HARD_SWISH', 'LOGISTIC', 'NEG', 'RELU', 'RELU6')
# RELU and RELU6 as part of a convolution.
_FUSED = (0, 1, 3)


def random_net(seed: int) -> tuple[ModelFile, int]:
    """A dense file, and the height and width of its images.

    Args:
      seed: of the file.
    """
    random = np.random.default_rng(seed)
    size = int(random.integers(24, 72))
    net = Net(size, seed=seed)
    net.convolution(8 * int(random.integers(1, 4)), 3, 2, fusedActivationFunction=3)
    _pointwise(net, random)
    for _ in range(int(random.integers(2, 7))):
        _STEPS[int(random.integers(len(_STEPS)))](net, random)
    _pointwise(net, random)
    net.mean()
    net.dense()
    return net.file(), size


def _pointwise(net: Net, random: np.random.Generator, filters: int | None = None) -> None:
    filters = filters or 8 * int(random.integers(1, 6))
    net.convolution(filters, zeros=_ZEROS, fusedActivationFunction=int(random.choice(_FUSED)))


def _depthwise(net: Net, random: np.random.Generator) -> None:
    stride = int(random.integers(1, 3)) if min(net.shape()[1:3]) > 4 else 1
    net.depthwise(int(random.choice((3, 5))), stride, fusedActivationFunction=int(random.choice(_FUSED)))


def _activation(net: Net, random: np.random.Generator) -> None:
    net.add(str(random.choice(_ELEMENTWISE)), [net.last], net.shape(), 'AbsOptions')


def _residual(net: Net, random: np.random.Generator) -> None:
    shortcut, filters = net.last, net.shape()[-1]
    _pointwise(net, random)
    net.depthwise()
    _pointwise(net, random, filters)
    kind = str(random.choice(('ADD', 'MUL')))
    net.add(kind, [shortcut, net.last], net.shape(), f'{kind.title()}Options')


def _excitation(net: Net, random: np.random.Generator) -> None:
    whole, filters = net.last, net.shape()[-1]
    net.mean(keep=True)
    _pointwise(net, random)
    net.convolution(filters, zeros=_ZEROS)
    net.add('LOGISTIC', [net.last], net.shape(), 'AbsOptions')
    inputs = [net.last, whole] if random.integers(2) else [whole, net.last]
    net.add('MUL', inputs, net.shape(whole), 'MulOptions')


def _larger(net: Net, random: np.random.Generator) -> None:
    _, height, width, channels = net.shape()
    if max(height, width) > 40:
        return
    held = add_tensor(
        net.content, f'size_{net.last}', 'INT32', (2,), np.array([2 * height, 2 * width], np.int32)
    )
    shape = (-1, 2 * height, 2 * width, channels)
    net.add('RESIZE_BILINEAR', [net.last, held], shape, 'ResizeBilinearOptions', halfPixelCenters=True)


_STEPS: tuple[Callable[[Net, np.random.Generator], None], ...] = (
    _pointwise,
    _depthwise,
    _depthwise,
    _activation,
    _residual,
    _excitation,
    _larger,
)
