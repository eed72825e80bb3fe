"""Gates: each limit, at its border, and all of them together."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.gates import Limits, Measurements, judge
from tfx_edge.components.core.evaluation.latency import Latency
from tfx_edge.components.core.evaluation.range_use import CalibrationFit, TensorFit

FIT = CalibrationFit(200, (TensorFit('input', 0.0, None, 0.0, 1.0), TensorFit('conv', 0.03, 0.8, -1.0, 2.0)))
GOOD = Measurements(
    examples=100,
    has_baseline=True,
    not_finite=0,
    agreement=0.98,
    no_agreement='',
    file_bytes=1000,
    zip_bytes=600,
    activation_bytes=512,
    stuck_outputs=(),
    latency=Latency(0.4, 0.5, 0.8, 0.78, 0.83, rounds=51),
    no_latency='',
    float_ops=(),
    fit=FIT,
)
ALWAYS = ['finite_predictions', 'outputs_change']


def failed(limits: Limits, measured: Measurements = GOOD) -> list[str]:
    return [gate.name for gate in judge(limits, measured) if not gate.holds]


@pytest.mark.parametrize(
    ('at_limit', 'beyond', 'name'),
    [
        (Limits(max_file_bytes=1000), Limits(max_file_bytes=999), 'max_file_bytes'),
        (Limits(max_zip_bytes=600), Limits(max_zip_bytes=599), 'max_zip_bytes'),
        (Limits(min_agreement=0.98), Limits(min_agreement=0.9800001), 'min_agreement'),
        (Limits(max_latency_ratio=0.8), Limits(max_latency_ratio=0.799), 'max_latency_ratio'),
        (Limits(max_clipping=0.03), Limits(max_clipping=0.0299), 'max_clipping'),
        (Limits(min_range_used=0.8), Limits(min_range_used=0.8001), 'min_range_used'),
    ],
)
def test_a_limit_holds_at_its_value_and_not_beyond(at_limit, beyond, name):
    assert failed(at_limit) == []
    assert failed(beyond) == [name]


def test_latency_without_a_baseline_is_no_pass():
    measured = dataclasses.replace(GOOD, latency=None, no_latency='there is no baseline')
    (gate,) = (gate for gate in judge(Limits(max_latency_ratio=2.0), measured) if not gate.holds)
    assert gate.reason == 'max_latency_ratio: not measured, limit 2 (there is no baseline)'


def test_a_first_model_has_nothing_before_it_and_passes_only_if_the_user_says_so():
    measured = dataclasses.replace(
        GOOD, has_baseline=False, agreement=None, no_agreement='none yet', latency=None, no_latency='none yet'
    )
    limits = Limits(min_agreement=0.9, max_latency_ratio=2.0)
    assert failed(limits, measured) == ['min_agreement', 'max_latency_ratio']
    assert failed(dataclasses.replace(limits, bless_undecided=True), measured) == []
    # An agreement that cannot be told beside a baseline is a mistake in the configuration.
    lenient = dataclasses.replace(limits, bless_undecided=True)
    assert failed(lenient, dataclasses.replace(measured, has_baseline=True)) == [
        'min_agreement', 'max_latency_ratio',
    ]  # fmt: skip


def test_what_is_not_demanded_is_not_judged():
    assert [gate.name for gate in judge(Limits(), GOOD)] == ALWAYS


def test_one_float_op_breaks_full_integer_and_is_named():
    measured = dataclasses.replace(GOOD, float_ops=('SOFTMAX probabilities',))
    (gate,) = (gate for gate in judge(Limits(require_full_integer=True), measured) if not gate.holds)
    assert gate.reason == 'require_full_integer: 1, limit 0 (float ops: SOFTMAX probabilities)'
    assert failed(Limits(), measured) == []


def test_an_answer_that_is_no_number_always_fails():
    assert failed(Limits(), dataclasses.replace(GOOD, not_finite=1)) == ['finite_predictions']


def test_an_output_that_never_changes_always_fails_and_is_named():
    measured = dataclasses.replace(GOOD, stuck_outputs=('scores',))
    (gate,) = (gate for gate in judge(Limits(), measured) if not gate.holds)
    assert gate.reason == "outputs_change: 1, limit 0 ('scores' never changes over 100 examples that differ)"


def test_an_agreement_that_cannot_be_told_does_not_hold():
    measured = dataclasses.replace(GOOD, agreement=None, no_agreement='there is no baseline')
    (gate,) = (gate for gate in judge(Limits(min_agreement=0.5), measured) if not gate.holds)
    assert gate.reason == 'min_agreement: not measured, limit 0.5 (there is no baseline)'


@given(
    st.floats(0.01, 1.0),
    st.integers(1, 2000),
    st.integers(1, 1000),
    st.booleans(),
    st.integers(0, 1),
    st.booleans(),
)
def test_every_gate_is_judged_whatever_the_others_say(agreement, size, zipped, full, bad, has_float):
    measured = dataclasses.replace(GOOD, not_finite=bad, float_ops=('ADD x',) if has_float else ())
    limits = Limits(
        min_agreement=agreement, max_file_bytes=size, max_zip_bytes=zipped, require_full_integer=full
    )
    gates = judge(limits, measured)
    expected = {
        'finite_predictions': not bad,
        'outputs_change': True,
        'min_agreement': agreement <= 0.98,
        'max_file_bytes': size >= 1000,
        'max_zip_bytes': zipped >= 600,
        **({'require_full_integer': not has_float} if full else {}),
    }
    assert {gate.name: gate.holds for gate in gates} == expected


def test_a_range_that_does_not_fit_is_named_with_the_remedy():
    narrow, wide = (
        gate.reason for gate in judge(Limits(max_clipping=0.01, min_range_used=0.9), GOOD) if not gate.holds
    )
    assert narrow == (
        "max_clipping: 0.03, limit 0.01 (tensor 'conv' has the range -1 to 2, too narrow for these examples; "
        'calibrate on examples like those of the evaluation)'
    )
    assert wide.startswith(
        "min_range_used: 0.8, limit 0.9 (tensor 'conv' has the range -1 to 2, too wide for"
    )


@pytest.mark.parametrize(
    'fit', [CalibrationFit(0, (), 'not applicable: the file has none'), CalibrationFit(3, FIT.tensors, 'few')]
)
def test_a_calibration_that_cannot_be_judged_has_no_gate(fit):
    measured = dataclasses.replace(GOOD, fit=fit)
    gates = judge(Limits(max_clipping=0.01, min_range_used=0.9), measured)
    assert [gate.name for gate in gates] == ALWAYS


def test_a_file_that_saw_only_zeros_is_not_judged_by_the_range_it_used():
    measured = dataclasses.replace(GOOD, fit=CalibrationFit(20, FIT.tensors[:1]))
    gates = judge(Limits(max_clipping=0.01, min_range_used=0.9), measured)
    assert [gate.name for gate in gates] == [*ALWAYS, 'max_clipping']
