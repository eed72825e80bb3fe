"""What a file holds is reported right."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import TensorSummary, inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.metadata import ModelMetadata, add
from tfx_edge.components.core.litert.file.operands import OPERANDS
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model


@pytest.mark.parametrize(
    ('mode', 'dtype', 'scales'),
    [('FLOAT32', 'float32', 0), ('FLOAT16', 'float16', 0), ('DYNAMIC_INT8', 'int8', 1), ('INT8', 'int8', 1)],
)
def test_kernels_are_found_in_every_mode(
    digits_float: bytes, digits_ranges: dict, mode: str, dtype: str, scales: int
) -> None:
    summary = inspect_model(quantize_model(digits_float, QuantizationOptions(mode), digits_ranges))
    kernels = summary.kernels
    assert sorted(k.shape for k in kernels) == sorted(
        [(16, 3, 3, 1), (1, 3, 3, 16), (32, 3, 3, 16), (32, 32), (10, 32)]
    )
    assert {k.dtype for k in kernels} == {dtype}
    for kernel in kernels:
        channels = kernel.shape[-1] if kernel.shape[0] == 1 else kernel.shape[0]
        assert kernel.scales == scales * channels
        assert kernel.elements == np.prod(kernel.shape)
        assert 0 < kernel.distinct <= kernel.elements
    assert summary.kernel_max_distinct == max(k.distinct for k in kernels)


def test_names_shapes_and_operators_are_those_of_the_file(digits_float: bytes) -> None:
    summary = inspect_model(digits_float)
    assert summary.signature_name == 'serving_default'
    assert summary.file_bytes == len(digits_float)
    assert [op.name for op in summary.operators] == [
        'CONV_2D',
        'DEPTHWISE_CONV_2D',
        'CONV_2D',
        'MEAN',
        'FULLY_CONNECTED',
        'FULLY_CONNECTED',
        'SOFTMAX',
    ]
    assert summary.float_ops == summary.operators
    (image,) = [t for t in summary.tensors if t.name == 'serving_default_image:0']
    assert (image.shape, image.dtype, image.constant, image.elements) == (
        (None, 8, 8, 1),
        'float32',
        False,
        64,
    )


def test_damaged_file_is_refused(digits_float: bytes) -> None:
    with pytest.raises(EdgeError, match='damaged or truncated'):
        inspect_model(digits_float[:500])


def _quantized(model: bytes, mode: str, ranges: dict) -> bytes:
    return quantize_model(model, QuantizationOptions(mode), ranges)


@pytest.mark.parametrize(
    ('mode', 'kernel_operators', 'others', 'coverage', 'by_weight'),
    [
        ('FLOAT32', {'float'}, {'float'}, 0.0, 0.0),
        ('FLOAT16', {'float'}, {'float', 'conversion'}, 0.0, 0.0),
        ('DYNAMIC_INT8', {'hybrid'}, {'float'}, 0.0, 0.0),
        ('INT8', {'integer'}, {'integer', 'conversion'}, 1.0, 1.0),
    ],
)
def test_arithmetic_is_reported_for_every_mode(
    digits_float: bytes,
    digits_ranges: dict,
    mode: str,
    kernel_operators: set[str],
    others: set[str],
    coverage: float,
    by_weight: float,
) -> None:
    summary = inspect_model(_quantized(digits_float, mode, digits_ranges))
    assert {op.arithmetic for op in summary.operators if op.name in OPERANDS} == kernel_operators
    assert {op.arithmetic for op in summary.operators if op.name not in OPERANDS} == others
    assert {op.name for op in summary.operators if op.arithmetic == 'conversion'} <= {
        'QUANTIZE',
        'DEQUANTIZE',
    }
    assert [op for op in summary.operators if op.arithmetic in ('float', 'hybrid')] == list(summary.float_ops)
    assert (summary.integer_coverage, summary.integer_coverage_by_weight) == (coverage, by_weight)


def test_a_float_operator_lowers_the_coverage_as_its_constants_weigh(
    digits_float: bytes, digits_ranges: dict
) -> None:
    options = QuantizationOptions('INT8', keep_float=('conv2d_1',))
    content = inspect_model(quantize_model(digits_float, options, digits_ranges))
    arithmetic = [op for op in content.operators if op.arithmetic != 'conversion']
    floats = [op for op in arithmetic if not op.integer]
    assert 0 < len(floats) < len(arithmetic)
    assert content.integer_coverage == pytest.approx(1 - len(floats) / len(arithmetic))
    everything = sum(op.weight_bytes for op in arithmetic)
    assert content.integer_coverage_by_weight == pytest.approx(
        1 - sum(op.weight_bytes for op in floats) / everything
    )
    assert content.integer_coverage_by_weight < content.integer_coverage


def test_a_file_without_arithmetic_is_covered(digits_float: bytes) -> None:
    summary = dataclasses.replace(inspect_model(digits_float), operators=())
    assert (summary.integer_coverage, summary.integer_coverage_by_weight) == (1.0, 1.0)


def test_constants_take_the_bytes_that_the_file_stores(digits_float: bytes, digits_ranges: dict) -> None:
    for mode, dtype, width in (('FLOAT32', 'float32', 4), ('FLOAT16', 'float16', 2), ('INT8', 'int8', 1)):
        summary = inspect_model(_quantized(digits_float, mode, digits_ranges))
        assert all(k.stored_bytes == k.elements * width for k in summary.kernels)
        assert all(t.stored_bytes == 0 for t in summary.tensors if not t.constant)
        stored = sum(t.stored_bytes for t in summary.tensors if t.dtype == dtype)
        assert summary.bytes_by_type[dtype] == stored
        assert sum(summary.bytes_by_type.values()) < summary.file_bytes
        read = sum(op.weight_bytes for op in summary.operators if op.name in OPERANDS)
        # The axes of a mean are no weights.
        weights = [t for t in summary.tensors if t.constant and (t.dtype != 'int32' or t.scales)]
        assert read == sum(t.stored_bytes for t in weights)


def test_scales_are_those_that_the_runtime_reads(digits_float: bytes, digits_ranges: dict) -> None:
    model = _quantized(digits_float, 'INT8', digits_ranges)
    by_name = {tensor.name: tensor for tensor in inspect_model(model).tensors}
    found = 0
    for detail in LiteRTModel(model).interpreter.get_tensor_details():
        tensor, parameters = by_name.get(detail['name']), detail['quantization_parameters']
        if tensor is None or not len(parameters['scales']):
            continue
        found += tensor.scales > 1
        assert tensor.scale_values == tuple(parameters['scales'].tolist())
        assert tensor.scales == len(parameters['scales'])
        assert set(tensor.zero_points) == set(parameters['zero_points'].tolist())
        assert tensor.quantized_dimension == parameters['quantized_dimension']
    # Five kernels and their biases.
    assert found == 10


def _edited(
    model: bytes, edit: Callable[[flatbuffer.schema.ModelT, flatbuffer.schema.TensorT], None]
) -> bytes:
    """The file after a change of the last layer's kernel, 10x32."""
    content = flatbuffer.read(model)
    (kernel,) = [t for t in content.subgraphs[0].tensors if list(t.shape) == [10, 32]]
    edit(content, kernel)
    return flatbuffer.write(content)


def _last_kernel(model: bytes) -> TensorSummary:
    (kernel,) = [kernel for kernel in inspect_model(model).kernels if kernel.shape == (10, 32)]
    return kernel


def test_four_bit_weights_take_half_a_byte(digits_float: bytes, digits_ranges: dict) -> None:
    def pack(content: flatbuffer.schema.ModelT, kernel: flatbuffer.schema.TensorT) -> None:
        kernel.type = flatbuffer.schema.TensorType.INT4
        # -8 and 0 in turns.
        content.buffers[kernel.buffer].data = bytes([0x08]) * 160

    kernel = _last_kernel(_edited(_quantized(digits_float, 'DYNAMIC_INT8', digits_ranges), pack))
    assert (kernel.dtype, kernel.elements, kernel.stored_bytes) == ('int4', 320, 160)
    assert (kernel.zeros, kernel.distinct) == (160, 2)


def test_zeros_are_counted_by_each_channels_zero_point(digits_float: bytes, digits_ranges: dict) -> None:
    def shift(content: flatbuffer.schema.ModelT, kernel: flatbuffer.schema.TensorT) -> None:
        points = np.arange(10)
        kernel.quantization.zeroPoint = points.tolist()
        values = np.repeat(points, 32).reshape(10, 32)
        values[:, 0] = 100
        content.buffers[kernel.buffer].data = values.astype(np.int8).tobytes()

    kernel = _last_kernel(_edited(_quantized(digits_float, 'DYNAMIC_INT8', digits_ranges), shift))
    assert kernel.zero_points == tuple(range(10))
    assert (kernel.zeros, kernel.distinct) == (310, 11)


def test_values_that_tensors_share_count_once(digits_float: bytes) -> None:
    def share(content: flatbuffer.schema.ModelT, kernel: flatbuffer.schema.TensorT) -> None:
        twin = copy.deepcopy(kernel)
        twin.name = b'twin'
        content.subgraphs[0].tensors.append(twin)

    before, after = inspect_model(digits_float), inspect_model(_edited(digits_float, share))
    assert len(after.tensors) == len(before.tensors) + 1
    assert after.bytes_by_type == before.bytes_by_type


def test_zeros_that_a_sparse_tensor_leaves_out_are_counted(digits_float: bytes) -> None:
    def make_sparse(content: flatbuffer.schema.ModelT, kernel: flatbuffer.schema.TensorT) -> None:
        schema = flatbuffer.schema
        rows, columns = schema.DimensionMetadataT(), schema.DimensionMetadataT()
        rows.format, rows.denseSize = schema.DimensionType.DENSE, 10
        columns.format = schema.DimensionType.SPARSE_CSR
        columns.arraySegmentsType = columns.arrayIndicesType = schema.SparseIndexVector.Int32Vector
        columns.arraySegments, columns.arrayIndices = schema.Int32VectorT(), schema.Int32VectorT()
        columns.arraySegments.values = list(range(11))
        columns.arrayIndices.values = [3] * 10
        kernel.sparsity = schema.SparsityParametersT()
        kernel.sparsity.traversalOrder = [0, 1]
        kernel.sparsity.dimMetadata = [rows, columns]
        content.buffers[kernel.buffer].data = np.arange(1, 11, dtype=np.float32).tobytes()

    kernel = _last_kernel(_edited(digits_float, make_sparse))
    assert (kernel.elements, kernel.zeros, kernel.distinct, kernel.stored_bytes) == (320, 310, 11, 40)


def test_metadata_and_a_zip_behind_the_model_change_nothing_else(digits_float: bytes) -> None:
    described = add(digits_float, ModelMetadata(labels=tuple('0123456789')))
    assert inspect_model(described) == dataclasses.replace(
        inspect_model(digits_float), file_bytes=len(described)
    )


@pytest.mark.parametrize('scale', [np.nan, np.inf])
def test_a_scale_that_is_no_number_is_refused(digits_float: bytes, digits_ranges: dict, scale: float) -> None:
    def spoil(_: flatbuffer.schema.ModelT, kernel: flatbuffer.schema.TensorT) -> None:
        kernel.quantization.scale = [scale] * 10

    model = _edited(_quantized(digits_float, 'DYNAMIC_INT8', digits_ranges), spoil)
    with pytest.raises(EdgeError, match='has a scale that is no number'):
        inspect_model(model)


def test_a_name_that_is_no_text_is_damage(digits_float: bytes) -> None:
    def spoil(_: flatbuffer.schema.ModelT, kernel: flatbuffer.schema.TensorT) -> None:
        kernel.name = b'\xff'

    model = _edited(digits_float, spoil)
    with pytest.raises(EdgeError, match='contradicts itself'):
        inspect_model(model)


def test_a_file_without_graphs_is_refused_before_the_runtime_ends_the_process(digits_float: bytes) -> None:
    model = bytearray(digits_float)
    table = int.from_bytes(model[:4], 'little')
    fields = table - int.from_bytes(model[table : table + 4], 'little', signed=True)
    # The third field of the file's first table: the graphs.
    model[fields + 8 : fields + 10] = bytes(2)
    with pytest.raises(EdgeError, match='it has no list of graphs'):
        inspect_model(bytes(model))


def test_a_circle_of_conversions_ends(digits_float: bytes) -> None:
    content = flatbuffer.read(_quantized(digits_float, 'FLOAT16', {}))
    for operator in content.subgraphs[0].operators:
        if flatbuffer.operator_name(content, operator) == 'DEQUANTIZE':
            operator.inputs = operator.outputs
    assert inspect_model(flatbuffer.write(content)).kernels == ()


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8
    ),
    everywhere=st.booleans(),
)
def test_any_change_of_the_file_is_reported_or_refused(
    digits_float: bytes, changes: list[tuple[float, int]], everywhere: bool
) -> None:
    changed = bytearray(digits_float)
    # The weights are most of the file; what directs the reader stands at its beginning.
    size = len(changed) if everywhere else 3000
    for place, value in changes:
        changed[int(place * size)] = value
    with contextlib.suppress(EdgeError):
        inspect_model(bytes(changed))
