"""A net whose ranges are exact on any processor: weights and inputs are small multiples of powers of two.

`exact/` holds its SavedModel, and in `digests.json` the ranges of its activations on fixed examples and the SHA-256 of
the float file and of each file that is made of it.
"""

from __future__ import annotations

import hashlib
import pathlib
import tempfile
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from tfx_edge.components.core.calibration import range_methods
from tfx_edge.components.core.calibration.pipeline import calibrate
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model

FOLDER = pathlib.Path(__file__).parent / 'exact'
SAVED_MODEL = FOLDER / 'saved_model'
DIGESTS = FOLDER / 'digests.json'
OPTIONS = {
    'INT8': QuantizationOptions('INT8'),
    'INT8 io': QuantizationOptions('INT8', io='INT8'),
    'UINT8 io': QuantizationOptions('INT8', io='UINT8'),
    'DYNAMIC_INT8': QuantizationOptions('DYNAMIC_INT8'),
    'FLOAT16': QuantizationOptions('FLOAT16'),
    'INT16X8': QuantizationOptions('INT16X8'),
    'INT4X8': QuantizationOptions('INT4X8'),
    'DYNAMIC_INT4': QuantizationOptions('DYNAMIC_INT4'),
}


class Net(tf.Module):
    """Convolution, depthwise convolution, residual sum, mean, product, softmax."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)

        def variable(*shape: int) -> tf.Variable:
            return tf.Variable(random.integers(-8, 9, shape).astype(np.float32) / 8)

        self.kernel, self.bias = variable(3, 3, 1, 8), variable(8)
        self.depthwise, self.matrix = variable(3, 3, 8, 1), variable(8, 4)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name='image')])
    def predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        first = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, 'SAME') + self.bias)
        second = first + tf.nn.depthwise_conv2d(first, self.depthwise, [1, 1, 1, 1], 'SAME')
        return {'digit': tf.nn.softmax(tf.reduce_mean(second, [1, 2]) @ self.matrix)}


def content() -> dict[str, Any]:
    """What digests.json is to hold, made from `saved_model/` with the installed versions."""
    float_model = convert_saved_model(str(SAVED_MODEL), 'serving_default')
    with tempfile.TemporaryDirectory() as folder:
        ranges = _calibrated(float_model, pathlib.Path(folder))
    files = {name: quantize_model(float_model, options, ranges) for name, options in OPTIONS.items()}
    return {
        # The softmax is not exact; its range in the files is 0 to 1.
        'ranges': {name: list(map(float, np.round(limits, 4))) for name, limits in ranges.items()},
        'sha256': {
            name: hashlib.sha256(file).hexdigest() for name, file in {'float': float_model, **files}.items()
        },
    }


def _calibrated(float_model: bytes, folder: pathlib.Path) -> dict[str, tuple[float, float]]:
    images = np.random.default_rng(1).integers(0, 9, (8, 64)).astype(np.float32) / 8
    with tf.io.TFRecordWriter(str(folder / 'images')) as writer:
        for image in images:
            feature = {'image': tf.train.Feature(float_list=tf.train.FloatList(value=image))}
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))
    (folder / 'float.tflite').write_bytes(float_model)
    calibrated = calibrate(
        lambda: beam.Pipeline(runner='FnApiRunner'),
        files=[str(folder / 'images')],
        parser=ExampleParser(choose_signature(str(SAVED_MODEL), '').inputs),
        float_model_path=str(folder / 'float.tflite'),
        result_path=str(folder / 'statistics.json'),
        max_examples=8,
    )
    return range_methods.ranges(calibrated.statistics)
