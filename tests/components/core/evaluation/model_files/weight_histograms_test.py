"""Histograms of weights: every weight is counted once, in its bin, before and after."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tfx_edge.components.core.evaluation.model_files.weight_histograms import BINS, weight_histograms
from tfx_edge.components.core.litert.file.inspect import inspect_model


@pytest.mark.parametrize('mode', ['INT8', 'DYNAMIC_INT4', 'FLOAT16', 'FLOAT32'])
def test_every_weight_is_counted_before_and_after(
    float_net: bytes, quantized: Callable[..., bytes], images: np.ndarray, mode: str
) -> None:
    file = quantized(images, mode=mode) if mode != 'FLOAT32' else float_net
    kernels = {kernel.name: kernel for kernel in inspect_model(file).kernels}
    found = weight_histograms(file, float_net)
    assert [kernel.name for kernel in found] == list(kernels)
    for kernel in found:
        inside = kernels[kernel.name]
        assert sum(kernel.before) == sum(kernel.after) == inside.elements
        assert len(kernel.before) == len(kernel.after) == BINS
        assert (kernel.zeros_after, kernel.distinct_after) == (inside.zeros, inside.distinct)
        if mode == 'FLOAT32':
            assert kernel.before == kernel.after


def test_integers_lie_in_the_bins_of_their_real_numbers(
    float_net: bytes, quantized: Callable[..., bytes], images: np.ndarray
) -> None:
    """Rounding to int8 moves a weight by less than a bin, so at most some of a bin's weights cross its edge."""
    for kernel in weight_histograms(quantized(images), float_net):
        before, after = (np.cumsum(counts) for counts in (kernel.before, kernel.after))
        moved = np.abs(before - after)[:-1].sum()
        assert moved <= sum(kernel.before) * 0.5
