"""Kernels that clustering or training made are told from others, whichever scales they were made for."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.post_training.few_valued_kernels import has_few_values

RANDOM = np.random.default_rng(0)
# Of five integers, in 16 units of 32 inputs; every second unit lacks the largest.
INTEGERS = RANDOM.choice([-127, -60, 0, 31, 127], (16, 32))
INTEGERS[1::2] = np.where(np.abs(INTEGERS[1::2]) == 127, 0, INTEGERS[1::2])


def test_few_integers_with_one_scale_or_one_for_each_unit() -> None:
    assert has_few_values(INTEGERS * np.float32(0.003), 0)
    scales = RANDOM.uniform(0.001, 0.1, (16, 1)).astype(np.float32)
    assert has_few_values(INTEGERS * scales, 0)


def test_integers_of_eight_bits_with_one_scale() -> None:
    """Of which a unit has about as many as weights, so that only all together are few."""
    drawn = np.clip(np.rint(RANDOM.normal(size=(64, 48)) * 40), -127, 127)
    drawn[0, 0] = 127
    assert has_few_values(drawn * np.float32(0.003), 0)


def test_weights_that_nothing_constrains() -> None:
    assert not has_few_values(RANDOM.normal(size=(64, 48)).astype(np.float32), 0)
