"""Labels against the outputs that they belong to."""

from __future__ import annotations

import numpy as np
import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.labels import check_classes, check_count, check_numbers


@pytest.mark.parametrize('label', [-1, 3, 1.5])
def test_what_is_no_class_is_named(label: float) -> None:
    with pytest.raises(EdgeError, match=rf"label 'y' is {label:g} in an example.*expected 0 to 2"):
        check_classes('y', np.array([[0], [label]]), 3, 'the loss')


def test_an_ignored_label_is_no_class() -> None:
    check_classes('y', np.array([0, 255, 2]), 3, 'the loss', ignored=255)


def test_another_number_of_values_is_named() -> None:
    check_count('y', np.zeros((4, 3)), (1, 3), 'the metric')
    with pytest.raises(
        EdgeError, match="label 'y' holds 3 values in each example, but the metric takes 1 or 4"
    ):
        check_count('y', np.zeros((2, 3)), (1, 4), 'the metric')


@pytest.mark.parametrize(
    'labels', [np.array([b'cat']), np.array(['cat'], object), np.array([b'cat'], object)]
)
def test_texts_are_named(labels: np.ndarray) -> None:
    with pytest.raises(EdgeError, match=r"label 'y' holds texts, such as 'cat'.*transform_graph"):
        check_numbers('y', labels, 'the metric')


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_labels_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(EdgeError, match='holds NaN or infinity'):
        check_numbers('y', np.array([1.0, value]), 'the metric')
