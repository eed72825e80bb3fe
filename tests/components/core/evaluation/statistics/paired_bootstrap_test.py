"""The bootstrap: draws that follow from content alone, its level at the margin, and its power."""

from __future__ import annotations

import dataclasses
import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.statistics.paired_bootstrap import (
    REPLICATES,
    BootstrapSums,
    bootstrap_test,
    poisson_weights,
)


def content(*what: object) -> bytes:
    return hashlib.sha256(repr(what).encode()).digest()


def summed(drops, seed: object = 0) -> BootstrapSums:
    sums = BootstrapSums()
    for number, drop in enumerate(drops):
        sums.add(float(drop) + 1.0, 1.0, float(drop), content(seed, number))
    return sums


def test_weights_are_poisson_and_follow_from_the_content():
    weights = np.concatenate([poisson_weights(content(number)) for number in range(200)])
    for count in range(5):
        expected = math.exp(-1) / math.factorial(count)
        deviation = math.sqrt(expected * (1 - expected) / len(weights))
        assert abs(np.mean(weights == count) - expected) < 4 * deviation
    assert np.array_equal(poisson_weights(content(3)), poisson_weights.__wrapped__(content(3)))
    correlation = np.corrcoef(poisson_weights(content(3)), poisson_weights(content(4)))[0, 1]
    assert abs(correlation) < 4 / math.sqrt(REPLICATES)


def test_weights_are_the_same_on_every_machine():
    """Golden: NumPy keeps Philox's bits, and no other part of its random numbers is used."""
    weights = poisson_weights(bytes(range(32)))
    assert weights[:12].tolist() == [0, 2, 2, 3, 0, 0, 1, 1, 0, 0, 1, 3]
    assert int(weights.sum()) == 967


# Of 500 evaluations at a level of 5 %, 25 on average; 40 or more in one of 1000 such tests.
@pytest.mark.slow
@pytest.mark.parametrize(
    'draw',
    [
        lambda random, size: random.normal(0, 1, size),
        lambda random, size: 1 - random.exponential(1, size),
        lambda random, size: random.exponential(1, size) - 1,
        lambda random, size: (
            np.where(random.uniform(size=size) < 0.05, random.exponential(3, size), 0) - 0.15
        ),
    ],
    ids=['normal', 'some much better', 'some much worse', 'one in 20 broken'],
)
def test_a_true_drop_of_the_margin_is_missed_about_as_often_as_the_confidence_allows(draw):
    random = np.random.default_rng(0)
    tests = [bootstrap_test(summed(draw(random, 200) + 0.5, seed), 0.5, 0.95) for seed in range(500)]
    missed = sum(test.p_holds <= 0.05 for test in tests)
    assert 5 < missed < 40


def test_no_drop_holds_with_enough_examples_and_a_large_one_fails():
    random = np.random.default_rng(1)
    test = bootstrap_test(summed(random.normal(0, 1, 1000)), 0.25, 0.95)
    assert test.p_holds < 1e-6
    assert -0.15 < test.lower < test.drop < test.upper < 0.15
    test = bootstrap_test(summed(random.normal(1, 1, 500)), 0.25, 0.95)
    # Beyond what 1000 replicates resolve, for the correction of many tests.
    assert test.p_fails < 1e-6
    assert test.p_holds == 1.0


def test_a_twin_holds():
    test = bootstrap_test(summed(np.zeros(150)), 0.01, 0.95)
    assert test.p_holds < 0.001
    assert test.p_fails == 1.0
    assert (test.lower, test.drop, test.upper) == (0, 0, 0)
    assert (test.worse, test.better) == (0, 0)


def test_the_interval_is_that_of_the_normal_distribution_for_many_examples():
    random = np.random.default_rng(2)
    drops = random.normal(0.3, 2, 2000)
    test = bootstrap_test(summed(drops), 1.0, 0.95)
    half = 1.645 * drops.std() / math.sqrt(len(drops))
    assert test.drop == pytest.approx(drops.mean(), abs=1e-12)
    assert test.lower == pytest.approx(drops.mean() - half, abs=0.15 * half)
    assert test.upper == pytest.approx(drops.mean() + half, abs=0.15 * half)
    at_upper = bootstrap_test(summed(drops), test.upper, 0.95)
    assert at_upper.p_holds == pytest.approx(0.05, abs=0.005)
    at_lower = bootstrap_test(summed(drops), test.lower, 0.95)
    assert at_lower.p_fails == pytest.approx(0.05, abs=0.005)


@settings(max_examples=30)
@given(st.lists(st.floats(-1e9, 1e9) | st.just(math.nan), min_size=1, max_size=20), st.data())
def test_sums_merge_in_any_order_to_the_same_test(drops, data):
    def of(part) -> BootstrapSums:
        sums = BootstrapSums()
        for number in part:
            sums.add(drops[number], 0.0, drops[number], content(number))
        return sums

    order = data.draw(st.permutations(range(len(drops))))
    cut = data.draw(st.integers(0, len(drops)))
    whole, merged = of(range(len(drops))), of(order[:cut])
    merged.merge(of(order[cut:]))
    assert merged == whole
    assert whole.unmeasured == sum(map(math.isnan, drops))
    if whole.examples > whole.unmeasured:
        one, other = bootstrap_test(whole, 0.1, 0.95), bootstrap_test(merged, 0.1, 0.95)
        assert repr(dataclasses.astuple(one)) == repr(dataclasses.astuple(other))
        assert all(math.isfinite(value) for value in dataclasses.astuple(one)[1:])


@pytest.mark.parametrize('spread', [0.0, 1e-12, 1e-8, 1e-5, 1e-3])
def test_drops_that_hardly_differ_are_distinguished_from_the_margin(spread):
    drops = 0.1 + spread * np.random.default_rng(4).normal(0, 1, 300)
    for margin, p_values in ((0.11, (0.0, 1.0)), (0.09, (1.0, 0.0))):
        test = bootstrap_test(summed(drops), margin, 0.95)
        assert (test.p_holds, test.p_fails) == pytest.approx(p_values, abs=1e-3)
        assert (test.lower, test.upper) == pytest.approx((0.1, 0.1), abs=0.3 * spread + 1e-15)


def test_copies_of_an_example_do_not_narrow_the_interval():
    random = np.random.default_rng(3)
    drops = random.normal(0, 1, 100)
    once = bootstrap_test(summed(drops), 0.5, 0.95)
    copied = summed(drops)
    copied.merge(summed(drops))
    twice = bootstrap_test(copied, 0.5, 0.95)
    assert twice.examples == 200
    assert (twice.lower, twice.upper) == pytest.approx((once.lower, once.upper), abs=0.03)
