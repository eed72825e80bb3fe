"""The metric that reports have in common, and its intervals."""

from __future__ import annotations

import pytest

from tests.components.core.selection.reports import ACCURACY, metric, report
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.selection.common_metric import (
    WILSON,
    MetricName,
    MetricValue,
    common_metric,
    value_of,
)


def test_the_first_metric_that_all_have_is_taken_and_counts_are_none():
    rows = [metric('example_count', 9.0), metric('auc', 0.7), metric('loss', 0.2)]
    first, second = report(metrics=rows), report(metrics=[*rows[:1], rows[2], metric('other', 1.0)])
    assert common_metric([first, second]) == MetricName('loss', '', higher_is_better=False)
    assert common_metric([first]) == MetricName('auc', '', higher_is_better=True)
    assert common_metric([report(metrics=rows[:1])]) is None


def test_values_for_a_class_of_a_slice_or_a_difference_are_none_of_the_metric():
    rows = [
        metric('recall', 0.1, sub_key='class_id=3'),
        metric('change', 0.1, difference=True),
        metric('base', 0.1, 'baseline'),
    ]
    sliced = report(metrics=rows)
    sliced['metrics'].append({'slice': [['digit', 3]], 'metrics': [metric('accuracy', 1.0)]})
    assert common_metric([sliced]) is None


@pytest.mark.parametrize(
    ('name', 'better'),
    [
        ('mean_squared_error', False),
        ('Loss', False),
        ('rmse', False),
        ('binary_crossentropy', False),
        ('false_positives', False),
        ('kl_divergence', False),
        ('f1_score', True),
    ],
)
def test_which_way_is_better_is_told_by_the_name_unless_it_is_said(name, better):
    found = report(metrics=[metric(name, 0.5)])
    assert common_metric([found]).higher_is_better is better
    assert common_metric([found], lower_is_better=better).higher_is_better is not better


def test_a_named_metric_that_one_lacks_is_refused_with_those_that_are_there():
    both = [report(metrics=[metric('auc', 0.7), metric('f1', 0.2)]), report(metrics=[metric('auc', 0.6)])]
    assert common_metric(both, 'auc').name == 'auc'
    with pytest.raises(EdgeError, match=r"Selection.metric is 'f1'.*name one of: auc, f1"):
        common_metric(both, 'f1')


def test_a_metric_that_is_no_number_in_one_report_is_still_common():
    both = [report(metrics=[metric('auc', 0.7)]), report(metrics=[metric('auc', 'nan')])]
    assert common_metric(both, 'auc') == common_metric(both) == MetricName('auc', '', higher_is_better=True)
    assert value_of(both[1], common_metric(both)) is None


def test_an_accuracy_has_the_interval_of_a_proportion():
    # Wilson's interval of 90 of 100, as scipy.stats.binomtest(90, 100).proportion_ci(method='wilson') gives it.
    value = value_of(report(0.9), MetricName(ACCURACY, '', True))
    assert value.interval == WILSON
    assert (value.low, value.high) == pytest.approx((0.8256343384950865, 0.9447708629393249), abs=1e-12)


@pytest.mark.parametrize('share', [0.0, 1.0])
def test_the_interval_of_none_or_all_stays_a_proportion(share):
    value = value_of(report(share), MetricName(ACCURACY, '', True))
    assert 0 <= value.low < value.high <= 1


def test_an_interval_of_tfma_comes_first_and_other_metrics_have_none():
    given = report(metrics=[metric(ACCURACY, 0.9, interval=[0.85, 0.93]), metric('auc', 0.8)])
    value = value_of(given, MetricName(ACCURACY, '', True))
    assert (value.low, value.high) == (0.85, 0.93)
    assert value_of(given, MetricName('auc', '', True)) == MetricValue(0.8)


@pytest.mark.parametrize('value', ['nan', 'inf', '-inf'])
def test_what_is_no_number_is_not_measured(value):
    assert value_of(report(value), MetricName(ACCURACY, '', True)) is None
    assert value_of(report(), MetricName(ACCURACY, '', True), 'baseline').value == 0.95
