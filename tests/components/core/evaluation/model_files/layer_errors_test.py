"""Errors by layer: what a plain computation on the tensors gives, and where an error begins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfx_edge.components.core.evaluation.model_files.layer_errors import layer_errors
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader


def test_a_file_has_no_error_against_itself(float_net: bytes, images: np.ndarray) -> None:
    features = {'image': images[:11]}
    errors = layer_errors(float_net, float_net, features, features)
    assert [error.operator for error in errors][:3] == ['', 'CONV_2D', 'CONV_2D']
    assert all(error.error == 0 and error.share == 0 for error in errors)


def test_errors_are_the_root_mean_squares_of_the_tensors(
    float_net: bytes, quantized: Callable[..., bytes], images: np.ndarray
) -> None:
    """Of what reads the input alone, checked with a reader of float tensors and the integers of the file."""
    file = quantized(images, mode='FLOAT16')
    features = {'image': images[:11]}
    found = {error.name: error for error in layer_errors(file, float_net, features, features)}
    read, read_half = ActivationReader(float_net), ActivationReader(file)
    name = next(name for name, error in found.items() if error.operator == 'CONV_2D')
    ours, theirs = (
        np.concatenate([reader({'image': images[start : start + 8][: 11 - start]})[name] for start in (0, 8)])
        for reader in (read_half, read)
    )
    expected = np.sqrt(np.mean(np.square(ours.astype(np.float64) - theirs)))
    np.testing.assert_allclose(found[name].error, expected, rtol=1e-9)
    np.testing.assert_allclose(
        found[name].rms, np.sqrt(np.mean(np.square(theirs.astype(np.float64)))), rtol=1e-9
    )
    assert found[name].share == found[name].error / found[name].rms > 0


def test_integers_are_compared_as_real_numbers(
    float_net: bytes, quantized: Callable[..., bytes], images: np.ndarray
) -> None:
    features = {'image': images[:16]}
    errors = layer_errors(quantized(images), float_net, features, features)
    assert {error.dtype for error in errors} == {'float32', 'int8'}
    shares = {error.operator: error.share for error in errors}
    # The small half of what is concatenated has the range of the large half.
    assert shares.pop('MUL') > 0.2
    assert all(0 < share < 0.05 for operator, share in shares.items() if operator)


def test_an_error_shows_where_it_begins(
    float_net: bytes, quantized: Callable[..., bytes], images: np.ndarray
) -> None:
    """Calibrated on dark images, the first convolution is cut off, and all behind it."""
    features = {'image': images[:16]}
    errors = layer_errors(quantized(images * 0.2), float_net, features, features)
    first = next(n for n, error in enumerate(errors) if error.operator == 'CONV_2D')
    assert all(error.share is not None and error.share > 0.2 for error in errors[first : first + 3])


def test_a_baseline_of_integers_may_be_compared_too(
    quantized: Callable[..., bytes], images: np.ndarray
) -> None:
    features = {'image': images[:8]}
    file = quantized(images, io='INT8')
    assert {error.error for error in layer_errors(file, file, features, features)} == {0.0}
