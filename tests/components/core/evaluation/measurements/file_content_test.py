"""What the report says of the file is what `tfx-edge inspect` says."""

from __future__ import annotations

import pytest

from tfx_edge.components.core.evaluation.measurements.file_content import file_part
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ('mode', 'integer_share'),
    [('FLOAT32', 0.0), ('FLOAT16', 0.0), ('DYNAMIC_INT8', 0.0), ('INT8', 1.0), ('INT16X8', 1.0)],
)
def test_integer_share_counts_operators_that_compute(
    mode: str, integer_share: float, digits_float: bytes, digits_ranges: dict
) -> None:
    """A FLOAT16 file has a conversion for each weight, which computes nothing."""
    file = quantize_model(digits_float, QuantizationOptions(mode, engine=LITERT), digits_ranges)
    summary = inspect_model(file)
    part = file_part(ModelFile(file), summary)
    assert part['file_bytes'] == len(file)
    assert part['integer_share'] == summary.integer_coverage == integer_share


def test_integer_share_of_a_file_with_some_operators_in_float(
    digits_float: bytes, digits_ranges: dict
) -> None:
    options = QuantizationOptions('INT8', keep_float=('dense',), engine=LITERT)
    file = quantize_model(digits_float, options, digits_ranges)
    summary = inspect_model(file)
    computing = [operator for operator in summary.operators if operator.arithmetic != 'conversion']
    share = file_part(ModelFile(file), summary)['integer_share']
    assert share == (len(computing) - len(summary.float_ops)) / len(computing)
    assert 0 < share < 1
