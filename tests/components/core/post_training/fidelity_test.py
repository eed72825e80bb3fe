"""How near answers come: what is measured, and what must not hide in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.post_training.fidelity import compare

RNG = np.random.default_rng(0)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _rounded(values: np.ndarray) -> np.ndarray:
    """As an int8 output holds them, whose range reaches from 0 or the smallest to the largest value."""
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    step = (high - low) / 255
    return np.round(values / step) * step


@given(st.integers(0, 2**31), st.floats(-3, 3), st.floats(-1000, -10))
def test_scale_and_offset_change_nothing(seed: int, power: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    # No column spreads so much less than another that it is judged by itself.
    exact = rng.permuted(np.linspace(-1, 1, 24).repeat(3).reshape(24, 3), axis=0)
    noise = rng.normal(size=(24, 3)) * 0.1
    plain = compare({'y': exact}, {'y': exact + noise}).db
    scale = 10.0**power
    moved = compare({'y': exact * scale + offset}, {'y': (exact + noise) * scale + offset}).db
    if abs(offset) < 100 * scale:
        assert moved == pytest.approx(plain, abs=1e-4)
    else:
        # A spread below a thousandth of the values' size counts as a thousandth.
        assert moved >= plain - 1e-4


@given(st.integers(0, 2**31), st.integers(1, 50))
def test_equal_answers_have_no_error_and_none_are_below_zero_noise(seed: int, rows: int) -> None:
    exact = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    found = compare({'y': exact, 'n': exact.argmax(1)}, {'y': exact, 'n': exact.argmax(1)})
    assert found.db == math.inf
    assert found.agreement == 1.0


def test_noise_of_a_sixteenth_is_12_db() -> None:
    exact = RNG.normal(size=(4000, 2))
    found = compare({'y': exact}, {'y': exact + RNG.normal(size=exact.shape) / 4})
    assert found.db == pytest.approx(12.04, abs=0.3)


def test_a_constant_answer_is_lost_whatever_its_size() -> None:
    exact = 1000 + RNG.normal(size=(64, 1))
    assert compare({'y': exact}, {'y': _rounded(exact)}).db < 6
    assert compare({'y': exact}, {'y': np.full_like(exact, 1000.0)}).db < 2


def test_a_small_column_beside_a_large_one_is_not_hidden() -> None:
    boxes = np.concatenate([RNG.uniform(0, 640, (64, 9, 4)), RNG.uniform(0, 1, (64, 9, 1))], axis=2)
    found = compare({'boxes': boxes}, {'boxes': _rounded(boxes)}).outputs[0]
    assert found.db < 6
    assert found.part == 'column 4 of 5'
    alone = boxes[..., :4]
    assert compare({'boxes': alone}, {'boxes': _rounded(alone)}).db > 40


def test_logits_beside_the_number_of_a_mask_are_not_hidden() -> None:
    logits = RNG.normal(size=(64, 10)) * 4
    masked = np.where(RNG.random((64, 10)) < 0.3, -1e9, logits)
    found = compare({'logits': masked}, {'logits': _rounded(masked)}).outputs[0]
    assert found.db < 1
    assert found.part.startswith('values below')


def test_a_class_that_never_comes_up_is_no_loss() -> None:
    logits = RNG.normal(size=(256, 6)) * 4
    logits[:, 5] -= 30
    exact = _softmax(logits)
    assert compare({'p': exact}, {'p': np.round(exact * 256) / 256}).db > 30


def test_the_output_that_is_lost_most_is_named() -> None:
    exact = {'a': RNG.normal(size=(64, 3)), 'b': RNG.normal(size=(64, 3))}
    found = compare(exact, {'a': exact['a'], 'b': -exact['b']})
    assert found.worst_output is not None
    assert found.worst_output.name == 'b'
    assert found.samples == 64


def test_answers_that_are_not_finite() -> None:
    exact = RNG.normal(size=(64, 3))
    infinite = np.where(exact > 2, -np.inf, exact)
    assert compare({'y': infinite}, {'y': infinite}).db == math.inf
    broken = exact.copy()
    broken[3, 1] = np.nan
    assert compare({'y': exact}, {'y': broken}).db == -math.inf


def test_integers_and_lists_of_the_best() -> None:
    classes = np.arange(100) % 10
    wrong = np.where(np.arange(100) < 10, classes + 1, classes)
    found = compare({'class': classes}, {'class': wrong}).outputs[0]
    assert found.agreement == 0.9
    assert found.db == pytest.approx(10.0)
    best = np.array([[3, 1, 2], [4, 5, 6]])
    assert compare({'best': best}, {'best': best[:, ::-1]}).db == math.inf
    assert compare({'best': best}, {'best': best + np.array([[0], [1]])}).agreement == pytest.approx(5 / 6)
    # Words of a sentence repeat, so their places count.
    tags = np.array([[1, 1, 2], [2, 1, 1]])
    assert compare({'tags': tags}, {'tags': tags[:, ::-1]}).agreement == pytest.approx(2 / 6)


def test_agreement_is_of_classes_or_of_sides() -> None:
    p = _softmax(RNG.normal(size=(64, 5)) * 3)
    assert compare({'p': p}, {'p': p[:, ::-1]}).agreement == pytest.approx(
        np.mean(p.argmax(1) == p[:, ::-1].argmax(1))
    )
    labels = RNG.random((64, 5))
    assert compare({'p': labels}, {'p': 1 - labels}).agreement == 0.0
    assert compare({'y': RNG.normal(size=(64, 1))}, {'y': np.zeros((64, 1))}).agreement is None


@pytest.mark.parametrize('found', [{}, {'y': np.zeros((4, 2))}])
def test_other_outputs_are_refused(found: dict[str, np.ndarray]) -> None:
    with pytest.raises(EdgeError, match=r"output 'y' of the float model has the shape \(4, 3\), the file"):
        compare({'y': np.zeros((4, 3))}, found)
