"""The table of quantization modes: complete, consistent in itself, and what the messages name."""

from __future__ import annotations

import pytest

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.quantization.modes import (
    MODES,
    activation_bits,
    kernel_bits,
    mode_of,
    static_mode,
)
from tfx_edge.components.core.litert.quantization.quantization_options import (
    QuantizationOptions,
    require_possible,
)


def test_users_name_the_modes_of_the_table() -> None:
    assert {*proto.Quantization.Mode.keys()} == {*MODES}


@pytest.mark.parametrize('name', MODES)
def test_other_modes_that_a_row_names_are_there_and_have_its_arithmetic(name: str) -> None:
    row = mode_of(name)
    assert {*row.alternatives} <= {*MODES} - {name}
    has_int4 = 4 in row.weight_bits.values()
    assert bool(row.with_int8_weights) == has_int4
    if has_int4:
        other = mode_of(row.with_int8_weights)
        assert 4 not in other.weight_bits.values()
        assert (other.arithmetic, other.activation_bits) == (row.arithmetic, row.activation_bits)


def test_bits_of_kernels_and_activations() -> None:
    assert [kernel_bits('INT4X8', kind) for kind in ('CONV_2D', 'DEPTHWISE_CONV_2D')] == [4, 8]
    assert [activation_bits(mode) for mode in ('INT8', 'INT4X8', 'INT16X8')] == [8, 8, 16]
    with pytest.raises(EdgeError, match='mode DYNAMIC_INT8 has float activations; expected INT8 or '):
        activation_bits('DYNAMIC_INT8')


@pytest.mark.parametrize(
    ('weight_bits', 'bits', 'mode'),
    [([], 8, 'INT8'), ([8], 8, 'INT8'), ([8, 4], 8, 'INT4X8'), ([8], 16, 'INT16X8')],
)
def test_mode_that_was_trained_for(weight_bits: list[int], bits: int, mode: str) -> None:
    assert static_mode(weight_bits, bits) == mode


@pytest.mark.parametrize(('weight_bits', 'bits'), [([4], 16), ([8], 7), ([16], 8)])
def test_bits_that_litert_has_no_kernels_for_together(weight_bits: list[int], bits: int) -> None:
    with pytest.raises(EdgeError, match='expected 8 and 8, 8 and 16, 4 and 8'):
        static_mode(weight_bits, bits)


@pytest.mark.parametrize(
    ('options', 'fault'),
    [
        (QuantizationOptions('INT9'), "mode is 'INT9'; expected one of INT8, INT16X8, "),
        (QuantizationOptions(io='INT4'), "io is 'INT4'; expected one of FLOAT, INT8, UINT8"),
        (QuantizationOptions('INT16X8', io='INT8'), 'set io to FLOAT, or mode to INT8 or INT4X8'),
        (QuantizationOptions('DYNAMIC_INT8', engine='CONVERTER'), 'makes INT8 and INT16X8 files'),
        (QuantizationOptions('INT16X8', keep_float=('x',), engine='CONVERTER'), 'INT16X8 with keep_float'),
    ],
)
def test_options_that_no_file_can_have(options: QuantizationOptions, fault: str) -> None:
    with pytest.raises(EdgeError, match=fault):
        require_possible(options)
