"""Outcomes of tests, the correction for their number, and their gates."""

from __future__ import annotations

import dataclasses

import pytest

from tfx_edge.components.core.evaluation.gates.non_inferiority import gates_of, judge_tests
from tfx_edge.components.core.evaluation.gates.rules import Rules
from tfx_edge.components.core.evaluation.metrics.example_values import ExampleMetric
from tfx_edge.components.core.evaluation.metrics.tested_metrics import TestedMetric
from tfx_edge.components.core.evaluation.statistics.paired_proportions import PairedCounts, score_test
from tfx_edge.components.core.evaluation.statistics.slice_comparison import SliceComparison

ACCURACY = TestedMetric('SparseCategoricalAccuracy', ExampleMetric('SparseCategoricalAccuracy'), 0.02)
GOOD = PairedCounts(both=900, baseline_only=5, candidate_only=4, neither=91)
BAD = PairedCounts(both=800, baseline_only=70, candidate_only=4, neither=126)
UNCLEAR = PairedCounts(both=900, baseline_only=20, candidate_only=4, neither=76)
FEW = PairedCounts(both=99)


def part(counts: PairedCounts, *slice_: tuple[str, object], unmeasured: int = 0) -> SliceComparison:
    test = score_test(counts, ACCURACY.margin, 0.95)
    return SliceComparison(slice_, counts.examples, 1.0, 0, 0, 0, (), (test,), (unmeasured,))


def outcomes(*parts: SliceComparison, rules: Rules = Rules()) -> list[str]:  # noqa: B008
    return [entry.outcome for entry in judge_tests([ACCURACY], parts, rules)]


def test_three_outcomes():
    parts = [part(GOOD), part(BAD, ('country', 'de')), part(UNCLEAR, ('country', 'fr')), part(FEW, ('a', 1))]
    judged = judge_tests([ACCURACY], parts, Rules())
    assert [entry.outcome for entry in judged] == ['holds', 'fails', 'undecided', 'undecided']
    assert [entry.why for entry in judged] == [
        '', '', 'the examples are too few to decide', '99 examples are fewer than min_slice_examples, 100',
    ]  # fmt: skip
    assert judged[3].p_fails_corrected is None
    gates = gates_of(judged, Rules())
    assert [gate.holds for gate in gates] == [True, False, False, False]
    assert [gate.name for gate in gates] == [
        'max_metric_drop SparseCategoricalAccuracy all examples',
        'max_metric_drop SparseCategoricalAccuracy country=de',
        'max_metric_drop SparseCategoricalAccuracy country=fr',
        'max_metric_drop SparseCategoricalAccuracy a=1',
    ]
    assert gates[1].reason.startswith(
        'max_metric_drop SparseCategoricalAccuracy country=de: 0.066, limit 0.02 (fails; at 0.95 the drop is below '
    )
    assert gates[1].reason.endswith('from 0.87 to 0.804 on 1000 examples)')
    lenient = gates_of(judged, Rules(bless_undecided=True))
    assert [gate.holds for gate in lenient] == [True, False, True, True]


def test_few_examples_decide_nothing_until_the_user_says_so():
    assert outcomes(part(FEW)) == ['undecided']
    assert outcomes(part(PairedCounts(both=150))) == ['holds']
    bad = PairedCounts(both=60, baseline_only=30)
    assert outcomes(part(bad)) == ['undecided']
    assert outcomes(part(bad), rules=Rules(min_slice_examples=90)) == ['fails']


def test_failures_are_corrected_for_the_number_of_tests_and_successes_need_no_correction():
    slightly = PairedCounts(both=900, baseline_only=35, candidate_only=2, neither=63)
    assert outcomes(part(slightly)) == ['fails']
    many = [part(GOOD, ('a', number)) for number in range(20)]
    assert outcomes(part(slightly), *many) == ['undecided', *['holds'] * 20]
    # What is not tested does not count as a test.
    assert outcomes(part(slightly), *[part(FEW, ('a', number)) for number in range(20)])[0] == 'fails'


def test_holms_correction_is_that_of_his_paper():
    p_values = [0.01, 0.04, 0.03, 0.005]
    test = score_test(GOOD, 0.02, 0.95)
    parts = [
        dataclasses.replace(part(GOOD, ('a', number)), tests=(dataclasses.replace(test, p_fails=p),))
        for number, p in enumerate(p_values)
    ]
    corrected = [entry.p_fails_corrected for entry in judge_tests([ACCURACY], parts, Rules())]
    assert corrected == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_has_no_finite_value_decides_nothing():
    (entry,) = judge_tests([ACCURACY], [part(GOOD, unmeasured=3)], Rules())
    assert (entry.outcome, entry.why) == (
        'undecided', '3 of 1000 examples have no finite value of the metric',
    )  # fmt: skip


def test_where_nothing_was_compared_every_metric_is_undecided():
    judged = judge_tests([ACCURACY], [], Rules(), 'there is no baseline')
    (gate,) = gates_of(judged, Rules())
    assert gate.reason == (
        'max_metric_drop SparseCategoricalAccuracy: not measured, limit 0.02 (undecided: there is no baseline)'
    )
    assert not gate.holds
    assert gates_of(judged, Rules(bless_undecided=True))[0].holds
