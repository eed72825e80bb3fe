"""Outputs that the graph goes on with, that stand in the signature twice, or that are inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.components.core.litert.file_edits import add_class, add_operator, add_output, add_tensor
from tests.golden import files
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.file_checks import check
from tfx_edge.components.core.litert.quantization.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model

_KINDS = [('INT8', 'FLOAT'), ('INT8', 'INT8'), ('INT8', 'UINT8'), ('INT16X8', 'FLOAT'), ('INT4X8', 'FLOAT')]
# Of the digits net.
_IMAGE, _EMBEDDING, _LOGITS, _SCORES = 0, 14, 17, 18
_RANGES = {**files.digits_ranges(), 'top:0': (0.0, 1.0), 'halves': (0.0, 1.0)}


def _class(content: Any) -> None:
    add_class(content, _SCORES)


def _class_of_logits(content: Any) -> None:
    add_output(content, 'logits', _LOGITS)
    add_class(content, _LOGITS)


def _top_three(content: Any) -> None:
    count = add_tensor(content, 'top/k', 'INT32', (), np.array(3, np.int32))
    values = add_tensor(content, 'top:0', 'FLOAT32', (-1, 3))
    places = add_tensor(content, 'top:1', 'INT32', (-1, 3))
    add_operator(content, 'TOPK_V2', [_SCORES, count], [values, places], 'TopKV2Options')
    add_output(content, 'best', values)
    add_output(content, 'classes', places)


def _inside(content: Any) -> None:
    add_output(content, 'embedding', _EMBEDDING)
    add_output(content, 'logits', _LOGITS)


def _halves(content: Any) -> None:
    """The last operator reads the output in integers, another before it in float."""
    _class(content)
    shape = add_tensor(content, 'halves/shape', 'INT32', (3,), np.array([-1, 2, 5], np.int32))
    halves = add_tensor(content, 'halves', 'FLOAT32', (-1, 2, 5))
    add_operator(content, 'RESHAPE', [_SCORES, shape], [halves], 'ReshapeOptions')
    add_output(content, 'halves', halves)


def _twice(content: Any) -> None:
    add_output(content, 'again', _SCORES)


def _twice_and_class(content: Any) -> None:
    _twice(content)
    _class(content)


def _image(content: Any) -> None:
    add_output(content, 'image', _IMAGE)
    _class(content)


_NETS: dict[str, Callable[[Any], None]] = {
    'class': _class,
    'class of logits': _class_of_logits,
    'top three': _top_three,
    'inside': _inside,
    'halves': _halves,
    'twice': _twice,
    'twice and class': _twice_and_class,
    'image': _image,
}


def _net(change: Callable[[Any], None]) -> bytes:
    content = flatbuffer.read(files.float_model('digits'))
    change(content)
    return flatbuffer.write(content)


@pytest.mark.parametrize(('mode', 'io'), _KINDS)
@pytest.mark.parametrize('net', _NETS)
def test_each_output_has_its_type_and_its_value(
    net: str, mode: str, io: str, digits: dict[str, np.ndarray]
) -> None:
    model = _net(_NETS[net])
    options = QuantizationOptions(mode, io, engine=LITERT)
    _require_the_same(model, quantize_model(model, options, _RANGES), options, digits)


@pytest.mark.parametrize('io', ['FLOAT', 'INT8', 'UINT8'])
@pytest.mark.parametrize('net', ['class', 'top three', 'halves', 'twice and class'])
def test_so_it_is_with_an_operator_that_is_kept_float(
    net: str, io: str, digits: dict[str, np.ndarray]
) -> None:
    model = _net(_NETS[net])
    options = QuantizationOptions('INT8', io, ('^StatefulPartitionedCall:0$',), LITERT)
    file = quantize_model(model, options, _RANGES)
    assert 'SOFTMAX' in [operator.name for operator in inspect_model(file).float_ops]
    _require_the_same(model, file, options, digits)


def test_nothing_of_the_copies_is_left() -> None:
    options = QuantizationOptions('INT8', engine=LITERT)
    content = flatbuffer.read(quantize_model(_net(_twice_and_class), options, _RANGES))
    graph = content.subgraphs[0]
    used = {*graph.inputs, *(int(i) for o in graph.operators for i in (*o.inputs, *o.outputs))}
    assert used == set(range(len(graph.tensors)))
    kinds = [flatbuffer.operator_name(content, operator) for operator in graph.operators]
    assert kinds.count('DEQUANTIZE') == 1
    assert 'FLOOR' not in kinds
    assert len(content.operatorCodes) == len(set(kinds))


def _require_the_same(
    model: bytes, file: bytes, options: QuantizationOptions, digits: dict[str, np.ndarray]
) -> None:
    floats = inspect_model(model)
    check(inspect_model(file), options, inputs=floats.inputs, outputs=floats.outputs, float_summary=floats)
    images = {'image': digits['x_eval'][:64]}
    expected, found = LiteRTModel(model)(images), LiteRTModel(file)(images)
    # int4 weights were not trained for.
    noise, least = (0.2, 0.6) if options.mode == 'INT4X8' else (0.01, 0.9)
    for name, values in expected.items():
        if values.dtype == np.float32:
            assert np.mean((values - found[name]) ** 2) < noise * np.var(values), name
        else:
            # Behind the first, the scores of a trained net are next to zero, and ties in integers.
            first = [classes.reshape(len(classes), -1)[:, 0] for classes in (values, found[name])]
            assert np.mean(first[0] == first[1]) > least, name
