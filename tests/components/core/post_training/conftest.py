"""Float `.tflite` files that the tests here share, and what calibration measures of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tests.golden import files
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

Ranges = Mapping[str, tuple[float, float]]
Change = Callable[[str, np.ndarray], np.ndarray]


@pytest.fixture(scope='session')
def separable() -> bytes:
    """A net of depthwise separable convolutions, trained on digits; its layers are named after what they are."""
    return files.float_model('separable')


@pytest.fixture(scope='session')
def uneven(separable: bytes) -> bytes:
    """The same function, with channels between layers scaled by 2^-6 to 2^6 and the next layers by the inverse."""
    rng = np.random.default_rng(0)
    content = flatbuffer.read(separable)
    graph = content.subgraphs[0]
    before = np.ones(1, np.float32)
    for operator in graph.operators:
        kind = flatbuffer.operator_name(content, operator)
        if kind not in ('CONV_2D', 'DEPTHWISE_CONV_2D', 'FULLY_CONNECTED'):
            continue
        kernel, bias = (_values(content, operator.inputs[position]) for position in (1, 2))
        factors = np.exp2(rng.integers(-6, 7, len(bias))).astype(np.float32)
        if kind == 'FULLY_CONNECTED':
            factors = np.ones_like(factors)
        elif kind == 'CONV_2D':
            kernel = kernel * factors.reshape(-1, 1, 1, 1)
        else:
            kernel = kernel * factors
        _replace(content, operator.inputs[1], kernel / before)
        _replace(content, operator.inputs[2], bias * factors)
        before = factors
    return flatbuffer.write(content)


@pytest.fixture(scope='session')
def ruined(separable: bytes, with_constants: Callable[[bytes, Change], bytes]) -> bytes:
    """The trained net with a channel that is always 0, and huge weights for it in the second pointwise layer."""

    def ruin(name: str, values: np.ndarray) -> np.ndarray:
        if '/second_depthwise' in name:
            values[..., 0] = 0
        elif '/second_pointwise' in name and name.endswith('/kernel'):
            values[..., 0] = 300 * np.abs(values).max()
        return values

    return with_constants(separable, ruin)


@pytest.fixture(scope='session')
def many_links() -> bytes:
    """An untrained net with all that channels can be followed through, and all that ends a chain."""
    return files.float_model('many_links')


@pytest.fixture(scope='session')
def observe() -> Callable[[bytes, np.ndarray], dict[str, tuple[float, float]]]:
    """A function: smallest and largest value of each activation of a float file on images."""

    def ranges(model: bytes, images: np.ndarray) -> dict[str, tuple[float, float]]:
        found: dict[str, tuple[float, float]] = {}
        for values in _batches(model, images):
            for name, array in values.items():
                low, high = found.get(name, (np.inf, -np.inf))
                found[name] = min(low, float(array.min())), max(high, float(array.max()))
        return found

    return ranges


@pytest.fixture(scope='session')
def channel_means() -> Callable[[bytes, np.ndarray], dict[str, np.ndarray]]:
    """A function: mean of each channel of each activation of a float file on images."""

    def means(model: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
        sums: dict[str, np.ndarray] = {}
        for values in _batches(model, images):
            for name, array in values.items():
                rows = array.reshape(len(array), -1, array.shape[-1]).astype(np.float64)
                sums[name] = sums.get(name, 0) + rows.mean(axis=1).sum(axis=0)
        return {name: total / len(images) for name, total in sums.items()}

    return means


@pytest.fixture(scope='session')
def accuracy(digits: dict[str, np.ndarray]) -> Callable[[bytes], float]:
    """A function: share of the held-out digits that a file names, in percent."""

    def measured(model: bytes) -> float:
        answers = LiteRTModel(model)({'image': digits['x_eval']})['output_0']
        return 100 * float(np.mean(answers.argmax(axis=1) == digits['y_eval']))

    return measured


@pytest.fixture(scope='session')
def with_constants() -> Callable[[bytes, Change], bytes]:
    """A function: a float file with `change(name, values)` in place of each float constant of its layers."""

    def changed(model: bytes, change: Change) -> bytes:
        content = flatbuffer.read(model)
        for index, tensor in enumerate(content.subgraphs[0].tensors):
            name = flatbuffer.tensor_name(tensor)
            if name.endswith(('/kernel', '/bias')):
                _replace(content, index, change(name, _values(content, index).copy()))
        return flatbuffer.write(content)

    return changed


@pytest.fixture(scope='session')
def with_number() -> Callable[[bytes, float, float], bytes]:
    """A function: a float file with one number in place of another in each of its float constants."""

    def changed(model: bytes, old: float, new: float) -> bytes:
        content = flatbuffer.read(model)
        found = False
        for index, tensor in enumerate(content.subgraphs[0].tensors):
            values = flatbuffer.constant(content, tensor)
            if values is not None and values.dtype == np.float32 and (values == np.float32(old)).any():
                _replace(content, index, np.where(values == np.float32(old), np.float32(new), values))
                found = True
        assert found
        return flatbuffer.write(content)

    return changed


@pytest.fixture(scope='session')
def constants() -> Callable[[bytes], dict[str, np.ndarray]]:
    """A function: the values that a file holds, by tensor name."""

    def read(model: bytes) -> dict[str, np.ndarray]:
        content = flatbuffer.read(model)
        found = {
            flatbuffer.tensor_name(t): flatbuffer.constant(content, t) for t in content.subgraphs[0].tensors
        }
        return {name: values for name, values in found.items() if values is not None}

    return read


def _batches(model: bytes, images: np.ndarray) -> list[dict[str, np.ndarray]]:
    reader = ActivationReader(model)
    starts = range(0, len(images), 8)
    return [
        {name: array.copy() for name, array in reader({'image': images[start : start + 8]}).items()}
        for start in starts
    ]


def _values(content: flatbuffer.schema.ModelT, index: int) -> np.ndarray:
    values = flatbuffer.constant(content, content.subgraphs[0].tensors[index])
    assert values is not None
    return values


def _replace(content: flatbuffer.schema.ModelT, index: int, values: np.ndarray) -> None:
    buffer = content.buffers[content.subgraphs[0].tensors[index].buffer]
    buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
