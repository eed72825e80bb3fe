"""Trained members: what moves, what stays, and in which unit."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.compression.constraints.codebook import Codebook
from tfx_edge.components.core.compression.constraints.trained_codebook import TrainedCodebook

_WEIGHT = np.array([[0.5, 2.0], [-0.25, 1.0]], np.float32)


def test_integers_are_rounded_where_they_are_used_and_the_ends_do_not_move() -> None:
    trained = TrainedCodebook(Codebook(np.array([[-127, -20, 40, 127]])), _WEIGHT, False, (1,))
    unit = np.mean([0.5, 2.0]) / 127
    np.testing.assert_allclose(trained.variable.numpy(), np.array([-127, -20, 40, 127]) * unit, rtol=1e-6)
    trained.variable.assign_add(np.array([9, 0.6, -3.2, 9], np.float32) * np.float32(unit))
    np.testing.assert_array_equal(trained.members(), [[-127, -19, 37, 127]])


def test_a_member_never_leaves_the_integers_of_eight_bits() -> None:
    trained = TrainedCodebook(Codebook(np.array([[-127, -20, 40, 127]])), _WEIGHT, False, (1,))
    trained.variable.assign(np.array([0, -50, 50, 0], np.float32))
    np.testing.assert_array_equal(trained.members(), [[-127, -127, 127, 127]])


def test_with_a_mask_zero_stays_and_no_other_member_becomes_it() -> None:
    trained = TrainedCodebook(Codebook(np.array([[-127, 0, 1, 127]])), _WEIGHT, True, (1,))
    trained.variable.assign(np.zeros(4, np.float32))
    # The place of the zero is taken by its neighbour: kept weights have no member 0.
    np.testing.assert_array_equal(trained.members(), [[-127, 1, 1, 127]])


def test_floats_move_and_stay_sorted() -> None:
    trained = TrainedCodebook(
        Codebook(np.array([[-1.0, 0.5, 2.0]], np.float32), 'TENSOR'), _WEIGHT, False, (1,)
    )
    trained.variable.assign([0.7, 0.5, 3.0])
    np.testing.assert_allclose(trained.members(), [[0.5, 0.7, 3.0]])


def test_repeated_members_stay_one() -> None:
    trained = TrainedCodebook(
        Codebook(np.array([[-1.0, 2.0, 2.0]], np.float32), 'CHANNEL'), _WEIGHT, False, (1,)
    )
    trained.variable.assign([-1.0, 3.0, 5.0])
    np.testing.assert_allclose(trained.members(), [[-1.0, 3.0, 3.0]])
