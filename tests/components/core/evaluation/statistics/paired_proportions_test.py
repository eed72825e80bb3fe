"""Tango's test: its formula, its level at the margin, its power, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.statistics.paired_proportions import PairedCounts, score_test

COUNTS = st.builds(PairedCounts, *[st.integers(0, 60)] * 4).filter(lambda counts: counts.examples > 0)


def simulated(random: np.random.Generator, size: int, drop: float, gained: float) -> PairedCounts:
    """Examples of which a share of `drop + gained` is right in the baseline alone, `gained` in the candidate."""
    lost, won, both, neither = random.multinomial(size, [drop + gained, gained, 0.8 - drop - 2 * gained, 0.2])
    return PairedCounts(int(both), int(lost), int(won), int(neither))


@pytest.mark.parametrize('margin', [0.01, 0.05])
@pytest.mark.parametrize(('lost', 'won', 'rest'), [(12, 8, 180), (3, 0, 97), (0, 0, 500), (40, 70, 890)])
def test_the_statistic_is_that_of_the_likeliest_shares_with_the_margin(lost, won, rest, margin):
    size = lost + won + rest
    share = np.linspace(1e-9, (1 - margin) / 2 - 1e-9, 400_001)
    likelihood = lost * np.log(share + margin) + won * np.log(share) + rest * np.log(1 - 2 * share - margin)
    likeliest = share[np.argmax(likelihood)]
    statistic = (lost - won - size * margin) / math.sqrt(size * (2 * likeliest + margin * (1 - margin)))
    test = score_test(PairedCounts(rest, lost, won, 0), margin, 0.95)
    assert test.p_fails == pytest.approx(math.erfc(statistic / math.sqrt(2)) / 2, abs=1e-4)
    if won:
        assert test.p_holds == pytest.approx(1 - test.p_fails, abs=1e-12)


# Of 500 evaluations at a level of 5 %, 25 on average; 40 or more in one of 1000 such tests.
@pytest.mark.parametrize('size', [120, 200, 1000, 10_000])
@pytest.mark.parametrize(('margin', 'gained'), [(0.01, 0.0), (0.01, 0.03), (0.02, 0.005), (0.05, 0.1)])
def test_a_true_drop_of_the_margin_is_missed_no_more_often_than_the_confidence_allows(size, margin, gained):
    random = np.random.default_rng([size, int(1000 * margin), int(1000 * gained)])
    tests = [score_test(simulated(random, size, margin, gained), margin, 0.95) for _ in range(500)]
    assert sum(test.p_holds <= 0.05 for test in tests) < 40
    assert sum(test.p_fails <= 0.05 for test in tests) < 48  # with a few examples the tail is heavier here
    if gained and size >= 1000:  # and the level is used
        assert sum(test.p_holds <= 0.05 for test in tests) > 11


@pytest.mark.parametrize(('size', 'margin'), [(150, 0.05), (180, 0.015), (267, 0.01), (300, 0.02)])
def test_the_level_is_exact_where_the_candidate_alone_is_never_right(size, margin):
    """The normal distribution alone would miss the drop with 5.5 to 6.9 %."""
    missed, lost = 0.0, 0
    while score_test(PairedCounts(size - lost, lost, 0, 0), margin, 0.95).p_holds <= 0.05:
        missed += math.comb(size, lost) * margin**lost * (1 - margin) ** (size - lost)
        lost += 1
    assert missed <= 0.05


def test_no_drop_holds_with_enough_examples_and_a_large_one_fails():
    random = np.random.default_rng(0)
    same = [score_test(simulated(random, 5000, 0.0, 0.01), 0.01, 0.95) for _ in range(100)]
    assert sum(test.p_holds <= 0.05 for test in same) >= 99
    worse = [score_test(simulated(random, 1000, 0.1, 0.01), 0.02, 0.95) for _ in range(100)]
    assert all(test.p_fails <= 0.001 for test in worse)


def test_a_twin_holds():
    test = score_test(PairedCounts(both=900, neither=100), 0.01, 0.95)
    assert test.p_holds < 0.001
    assert test.upper < 0.01
    assert (test.drop, test.worse, test.better) == (0, 0, 0)


@given(COUNTS, st.floats(0.005, 0.2), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_interval_and_the_test_agree(counts, margin, confidence):
    test = score_test(counts, margin, confidence)
    assert -1 <= test.lower <= test.drop + 1e-12
    assert test.drop - 1e-12 <= test.upper <= 1
    assert test.baseline - test.candidate == pytest.approx(test.drop, abs=1e-12)
    if abs(test.upper - margin) > 1e-9:
        assert (test.upper < margin) == (test.p_holds <= 1 - confidence)
    if abs(test.lower - margin) > 1e-9:
        assert (test.lower > margin) == (test.p_fails <= 1 - confidence)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=40), st.data())
def test_counts_merge_in_any_order(answers, data):
    def counted(part):
        counts = PairedCounts()
        for candidate, baseline in part:
            counts.add(float(candidate), float(baseline))
        return counts

    shuffled = data.draw(st.permutations(answers))
    cut = data.draw(st.integers(0, len(answers)))
    merged = counted(shuffled[:cut])
    merged.merge(counted(shuffled[cut:]))
    assert merged == counted(answers)
    assert merged.examples == len(answers)
    assert merged.baseline_only == answers.count((0, 1))
