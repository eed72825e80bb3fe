"""The axes of plots: every value has a place on its axis, and round numbers beside it."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.selection.plot_scale import Scale, scale_of, tick_text, ticks

_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.lists(_FINITE, min_size=1, max_size=6)


def _is_round(value: Decimal) -> bool:
    """Whether it has few digits: multiples of 1, 2 and 5 between which and 0 are few others."""
    return len(value.normalize().as_tuple().digits) <= 9


def _number(text: str) -> Decimal:
    sizes = {'k': 3, 'M': 6, 'G': 9, 'T': 12}
    return Decimal(text[:-1]).scaleb(sizes[text[-1]]) if text[-1] in sizes else Decimal(text)


@settings(deadline=None)
@given(_VALUES, st.booleans())
@example([-1.7e308, 1.7e308], False)
@example([5e-324, 1.7e308], True)
@example([0.0], True)
@example([1.0, 1.0000000000000002], False)
def test_every_value_lies_inside_of_its_axis(values: list[float], may_be_log: bool) -> None:
    scale = scale_of(values, 40, 340, may_be_log=may_be_log)
    places = {value: scale.place(value) for value in values}
    assert all(40 < place < 340 for place in places.values())
    ordered = [places[value] for value in sorted(places)]
    assert ordered == sorted(ordered)


@settings(deadline=None)
@given(_VALUES, st.booleans())
@example([5e-324, 1.7e308], True)
def test_ticks_are_round_and_inside_and_apart(values: list[float], may_be_log: bool) -> None:
    scale = scale_of(values, 40, 340, may_be_log=may_be_log)
    found = ticks(scale, lambda text: 7 * (len(text) + 2))
    assert all(40 <= tick.place <= 340 for tick in found)
    assert all(_is_round(_number(tick.text)) for tick in found)
    for tick in found:
        assert scale.place(_number(tick.text)) == pytest.approx(tick.place, abs=1e-6)
    for a, b in itertools.pairwise(found):
        assert b.place - a.place >= 7 * (len(a.text) + len(b.text) + 4) / 2


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1e12), min_size=2, max_size=6))
def test_usual_values_have_at_least_two_ticks(values: list[float]) -> None:
    found = ticks(scale_of(values, 40, 340, may_be_log=True), lambda text: 7 * (len(text) + 2))
    assert 2 <= len(found) <= 12


@pytest.mark.parametrize(
    ('values', 'is_log'),
    [([1.0, 8.0], False), ([1.0, 8.1], True), ([0.0, 100.0], False), ([-1.0, 100.0], False)],
)
def test_an_axis_is_logarithmic_where_values_are_more_than_eight_times_apart(
    values: list[float], is_log: bool
) -> None:
    assert scale_of(values, 0, 1, may_be_log=True).is_log == is_log
    assert not scale_of(values, 0, 1).is_log


def test_equal_ratios_are_equally_far_on_a_logarithmic_axis() -> None:
    scale = scale_of([1000.0, 100000.0], 0, 300, may_be_log=True)
    low, middle, high = (scale.place(value) for value in (1000.0, 10000.0, 100000.0))
    assert middle - low == pytest.approx(high - middle)


def test_an_axis_that_goes_up_has_its_largest_value_above() -> None:
    scale = scale_of([0.9, 0.99], 218, 26)
    assert scale.place(0.99) < scale.place(0.9)


def test_a_value_alone_is_in_the_middle() -> None:
    assert scale_of([0.97, 0.97], 0, 100).place(0.97) == pytest.approx(50)


def test_ticks_of_bytes_and_of_shares_are_what_one_would_write() -> None:
    zip_bytes = scale_of([5550.0, 54210.0], 40, 340, may_be_log=True)
    assert [tick.text for tick in ticks(zip_bytes, lambda text: 40)] == ['5k', '10k', '20k', '50k']
    accuracy = scale_of([0.941, 0.981], 218, 26)
    shown = [tick.text for tick in ticks(accuracy, lambda text: 40)]
    assert shown == ['0.94', '0.95', '0.96', '0.97', '0.98']


def test_numbers_without_room_are_left_out_and_nothing_else() -> None:
    scale = Scale(Decimal(0), Decimal(10), 0, 100, is_log=False)
    assert len(ticks(scale, lambda text: 9)) == 11
    assert [tick.text for tick in ticks(scale, lambda text: 50)] == ['0', '5', '10']


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        ('0', '0'),
        ('0.00', '0.00'),
        ('999', '999'),
        ('1E+3', '1k'),
        ('1.5E+3', '1.5k'),
        ('-2E+6', '-2M'),
        ('3E+14', '300T'),
        ('1E+15', '1e+15'),
        ('0.00001', '0.00001'),
        ('0.000001', '1e-6'),
    ],
)
def test_text_of_a_tick(value: str, text: str) -> None:
    assert tick_text(Decimal(value)) == text
