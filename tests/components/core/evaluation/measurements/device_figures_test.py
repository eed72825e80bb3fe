"""Limits on devices: reported figures are held, missing ones never pass, unknown ones are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.devices.limits import DeviceLimits, check_device_limits
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.measurements.device_figures import judge_devices

NPU = 'ethos-u55-128'
COSTS = DeviceCosts(
    NPU, 'vela 1', cycles=12_545, sram_bytes=5_000, flash_bytes=None, cpu_operators=('EXP y',)
)


@given(st.integers(0, 20_000))
def test_a_limit_holds_up_to_what_is_measured(limit: int) -> None:
    (gate,) = judge_devices([DeviceLimits(NPU, {'cycles': limit})], [COSTS])
    assert gate.name == 'max_cycles on ethos-u55-128'
    assert (gate.measured, gate.holds) == (12_545, limit >= 12_545)


@pytest.mark.parametrize(('limit', 'holds'), [(0.25, True), (0.24, False)])
def test_time_has_a_limit_on_an_npu_and_in_a_browser(limit: float, holds: bool) -> None:
    for device in (NPU, 'web'):
        limits = DeviceLimits(device, {'milliseconds': limit})
        check_device_limits(limits)
        (gate,) = judge_devices([limits], [DeviceCosts(device, 'tool', milliseconds=0.25)])
        assert (gate.name, gate.measured, gate.holds) == (f'max_milliseconds on {device}', 0.25, holds)


def test_operators_left_to_the_cpu_are_counted_and_named() -> None:
    refused, passed = (
        judge_devices([DeviceLimits(NPU, {'cpu_operators': limit})], [COSTS])[0] for limit in (0, 1)
    )
    assert refused.reason == 'max_cpu_operators on ethos-u55-128: 1, limit 0 (left to the CPU: EXP y)'
    assert passed.holds


@pytest.mark.parametrize(
    ('costs', 'why'),
    [
        (COSTS, 'the tool does not report it'),
        (DeviceCosts(NPU, absent='install it'), 'install it'),
        (DeviceCosts(NPU, 'vela 1', obstacle='it is float'), 'it is float'),
    ],
)
def test_what_is_not_reported_does_not_pass(costs: DeviceCosts, why: str) -> None:
    (gate,) = judge_devices([DeviceLimits(NPU, {'flash_bytes': 10**9})], [costs])
    assert gate.reason == f'max_flash_bytes on {NPU}: not measured, limit 1000000000 ({why})'
    assert not gate.holds


@pytest.mark.parametrize(
    ('limits', 'message'),
    [
        (DeviceLimits('ethos-u1', {}), "device 'ethos-u1' is not known"),
        (
            DeviceLimits('tflite-micro', {'cycles': 5}),
            "'tflite-micro' reports no cycles; expected limits on: max_arena",
        ),
        (DeviceLimits(NPU, {'cycles': -1}), 'max_cycles of device .* is -1; expected 0 or more'),
        (DeviceLimits('web', {'milliseconds': float('nan')}), "max_milliseconds of device 'web' is nan"),
        (DeviceLimits('web', {'cycles': 5}), "'web' reports no cycles; expected limits on: max_milliseconds"),
    ],
)
def test_limits_that_cannot_be_held_are_refused(limits: DeviceLimits, message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        check_device_limits(limits)
