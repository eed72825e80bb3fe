"""Files run with real numbers in and out."""

from __future__ import annotations

import numpy as np
import pytest

from tests.components.core.litert.file_edits import add_output, add_tensor, strings
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model


def test_model_answers_as_the_saved_model_does(
    digits_float: bytes, digits_saved_model: object, digits: dict[str, np.ndarray]
) -> None:
    import tensorflow as tf

    signature = tf.saved_model.load(str(digits_saved_model)).signatures['serving_default']
    expected = signature(image=tf.constant(digits['x_eval']))['output_0'].numpy()
    answered = LiteRTModel(digits_float)({'image': digits['x_eval']})
    assert list(answered) == ['output_0']
    np.testing.assert_allclose(answered['output_0'], expected, atol=1e-5)


@pytest.mark.parametrize('io', ['FLOAT', 'INT8', 'UINT8'])
def test_integer_inputs_and_outputs_take_and_give_real_numbers(
    digits_float: bytes, digits_ranges: dict, digits: dict[str, np.ndarray], io: str
) -> None:
    expected = LiteRTModel(digits_float)({'image': digits['x_eval']})['output_0']
    file = quantize_model(digits_float, QuantizationOptions('INT8', io), digits_ranges)
    answered = LiteRTModel(file)({'image': digits['x_eval']})['output_0']
    assert answered.dtype == np.float32
    assert np.mean(answered.argmax(1) == expected.argmax(1)) > 0.97


@pytest.mark.parametrize('io', ['INT8', 'UINT8'])
def test_values_beyond_the_calibrated_range_are_clipped(
    digits_float: bytes, digits_ranges: dict, digits: dict[str, np.ndarray], io: str
) -> None:
    model = LiteRTModel(quantize_model(digits_float, QuantizationOptions('INT8', io), digits_ranges))
    image = digits['x_eval'][:4]
    bright = np.where(image > 0.9, 100.0, image).astype(np.float32)
    clipped = np.clip(bright, 0, 1)
    np.testing.assert_array_equal(model({'image': bright})['output_0'], model({'image': clipped})['output_0'])


def test_answers_do_not_depend_on_the_batch(
    many_operators: tuple[bytes, dict[str, np.ndarray]],
) -> None:
    model, inputs = many_operators
    ones, eights = LiteRTModel(model, max_batch_size=1)(inputs), LiteRTModel(model)(inputs)
    for name in ones:
        np.testing.assert_array_equal(ones[name], eights[name])


def test_missing_input_is_named(digits_float: bytes) -> None:
    with pytest.raises(EdgeError, match=r"input 'image' .* is missing \(given: picture\)"):
        LiteRTModel(digits_float)({'picture': np.zeros((1, 8, 8, 1), np.float32)})


def test_wrong_shape_is_named(digits_float: bytes) -> None:
    with pytest.raises(EdgeError, match=r"input 'image' has the shape \(1, 8, 9, 1\)"):
        LiteRTModel(digits_float)({'image': np.zeros((1, 8, 9, 1), np.float32)})


@pytest.mark.parametrize('share', [0.0, 0.001, 0.1, 0.5, 0.99])
def test_truncated_file_is_refused(digits_float: bytes, share: float) -> None:
    with pytest.raises(EdgeError, match='damaged or truncated'):
        LiteRTModel(digits_float[: int(len(digits_float) * share)])


def test_other_bytes_are_refused() -> None:
    with pytest.raises(EdgeError, match='damaged or truncated'):
        LiteRTModel(np.random.default_rng(0).bytes(5000))


def test_an_output_without_a_batch_dimension_is_repeated_for_each_row(
    digits_float: bytes, digits: dict[str, np.ndarray]
) -> None:
    """Eleven rows are run as eight and three."""
    content = flatbuffer.read(digits_float)
    table = np.arange(14, dtype=np.float32).reshape(7, 2)
    texts = add_tensor(content, 'texts', 'STRING', (2,), strings([b'one', b'another']))
    add_output(content, 'sigma', add_tensor(content, 'sigma', 'FLOAT32', (), np.array(100, np.float32)))
    add_output(content, 'table', add_tensor(content, 'table', 'FLOAT32', (7, 2), table))
    add_output(content, 'texts', texts)
    model = LiteRTModel(flatbuffer.write(content))
    assert model.whole_outputs == {'sigma', 'table', 'texts'}
    images = digits['x_eval'][:11]
    answered = model({'image': images})
    np.testing.assert_array_equal(answered['sigma'], np.full(11, 100))
    np.testing.assert_array_equal(answered['table'], np.stack([table] * 11))
    assert answered['texts'].tolist() == [[b'one', b'another']] * 11
    np.testing.assert_array_equal(
        answered['output_0'], LiteRTModel(digits_float)({'image': images})['output_0']
    )
