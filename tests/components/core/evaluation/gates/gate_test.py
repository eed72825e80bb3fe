"""Gates: each limit, at its border, and what their reasons say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.gates.gate import Gate, at_most
from tfx_edge.components.core.evaluation.measurements.agreement import agreement_gates
from tfx_edge.components.core.evaluation.measurements.baseline_file import latency_gates
from tfx_edge.components.core.evaluation.measurements.outputs_change import change_gate
from tfx_edge.components.core.evaluation.measurements.ranges_fit import fit_gates
from tfx_edge.components.core.evaluation.model_files.latency import Latency
from tfx_edge.components.core.evaluation.model_files.range_use import CalibrationFit, TensorFit
from tfx_edge.components.core.evaluation.statistics.output_use import OutputsUse, OutputUse, Sameness

FIT = CalibrationFit(200, (TensorFit('input', 0.0, None, 0.0, 1.0), TensorFit('conv', 0.03, 0.8, -1.0, 2.0)))
LATENCY = Latency(0.4, 0.5, 0.8, 0.78, 0.83, rounds=51)


def failed(*gates: Gate) -> list[str]:
    return [gate.name for gate in gates if not gate.holds]


@pytest.mark.parametrize(
    ('at_limit', 'beyond', 'name'),
    [
        (at_most('max_file_bytes', 1000, 1000), at_most('max_file_bytes', 1000, 999), 'max_file_bytes'),
        (agreement_gates(0.98, 0.98), agreement_gates(0.98, 0.9800001), 'min_agreement'),
        (latency_gates(LATENCY, 0.8), latency_gates(LATENCY, 0.799), 'max_latency_ratio'),
        (fit_gates(FIT, 0.03, None), fit_gates(FIT, 0.0299, None), 'max_clipping'),
        (fit_gates(FIT, None, 0.8), fit_gates(FIT, None, 0.8001), 'min_range_used'),
    ],
)
def test_a_limit_holds_at_its_value_and_not_beyond(at_limit, beyond, name):
    assert [gate.name for gate in at_limit] == [name]
    assert failed(*at_limit) == []
    assert failed(*beyond) == [name]


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_a_gate_keeps_what_was_measured_and_its_limit(measured, limit):
    (gate,) = at_most('max_zip_bytes', measured, limit)
    assert (gate.measured, gate.limit, gate.holds) == (measured, limit, measured <= limit)


def test_what_is_not_demanded_is_not_judged():
    assert at_most('max_file_bytes', 1000, None) == ()
    assert agreement_gates(0.5, None) == ()
    assert latency_gates(None, None, 'there is no baseline') == ()
    assert fit_gates(FIT, None, None) == ()


def test_latency_without_a_baseline_is_no_pass():
    (gate,) = latency_gates(None, 2.0, 'there is no baseline')
    assert not gate.holds
    assert gate.reason == 'max_latency_ratio: not measured, limit 2 (there is no baseline)'


def test_a_first_model_has_nothing_before_it_and_passes_only_if_the_user_says_so():
    assert failed(*agreement_gates(None, 0.9, 'none yet'), *latency_gates(None, 2.0, 'none yet')) == [
        'min_agreement', 'max_latency_ratio',
    ]  # fmt: skip
    assert not failed(
        *agreement_gates(None, 0.9, 'none yet', undecided_holds=True),
        *latency_gates(None, 2.0, 'none yet', undecided_holds=True),
    )


def test_an_output_that_never_changes_always_fails_and_is_named():
    use = OutputsUse(Sameness(differs=True), 100, {'scores': OutputUse(Sameness('same'))})
    gate = change_gate(use)
    assert not gate.holds
    assert gate.reason == "outputs_change: 1, limit 0 ('scores' never changes over 100 examples that differ)"


def test_an_agreement_that_cannot_be_measured_does_not_hold():
    (gate,) = agreement_gates(None, 0.5, 'there is no baseline')
    assert not gate.holds
    assert gate.reason == 'min_agreement: not measured, limit 0.5 (there is no baseline)'


def test_a_range_that_does_not_fit_is_named_with_the_remedy():
    narrow, wide = (gate.reason for gate in fit_gates(FIT, 0.01, 0.9) if not gate.holds)
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
    assert fit_gates(fit, 0.01, 0.9) == ()


def test_a_file_that_saw_only_zeros_is_not_judged_by_the_range_it_used():
    gates = fit_gates(CalibrationFit(20, FIT.tensors[:1]), 0.01, 0.9)
    assert [gate.name for gate in gates] == ['max_clipping']
