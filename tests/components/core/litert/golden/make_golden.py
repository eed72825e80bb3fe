"""Makes the golden files beside this script: `make golden`.

`net.tflite` is a float file of a small net with fixed weights; `digests.json` holds the ranges of its activations on
fixed inputs and the SHA-256 of each file that is made of it.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.litert.activations import activation_values
from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.litert.quantize import QuantizationOptions, quantize_model

FOLDER = pathlib.Path(__file__).parent
OPTIONS = {
    'INT8': QuantizationOptions('INT8'),
    'INT8 io': QuantizationOptions('INT8', io='INT8'),
    'UINT8 io': QuantizationOptions('INT8', io='UINT8'),
    'DYNAMIC_INT8': QuantizationOptions('DYNAMIC_INT8'),
    'FLOAT16': QuantizationOptions('FLOAT16'),
}


class Net(tf.Module):
    """Convolution, depthwise convolution, residual sum, pooling, product, softmax."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)

        def variable(*shape: int) -> tf.Variable:
            return tf.Variable(random.normal(0, 0.3, shape).astype(np.float32))

        self.kernel, self.bias = variable(3, 3, 1, 8), variable(8)
        self.depthwise, self.matrix = variable(3, 3, 8, 1), variable(8, 4)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name='image')])
    def predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        first = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, 'SAME') + self.bias)
        second = first + tf.nn.depthwise_conv2d(first, self.depthwise, [1, 1, 1, 1], 'SAME')
        return {'digit': tf.nn.softmax(tf.reduce_mean(second, [1, 2]) @ self.matrix)}


def digests(model: bytes, ranges: dict[str, tuple[float, float]]) -> dict[str, str]:
    """SHA-256 of the file of each mode."""
    return {
        name: hashlib.sha256(quantize_model(model, options, ranges)).hexdigest()
        for name, options in OPTIONS.items()
    }


def main() -> None:
    """Writes both files."""
    module = Net()
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={'serving_default': module.predict})
        model = convert_saved_model(folder, 'serving_default')
    (FOLDER / 'net.tflite').write_bytes(model)
    images = np.random.default_rng(1).random((8, 8, 8, 1), np.float32)
    values = activation_values(model, {'image': images})
    ranges = {name: (float(value.min()), float(value.max())) for name, value in values.items()}
    content = {'ranges': ranges, 'sha256': digests(model, ranges)}
    (FOLDER / 'digests.json').write_text(json.dumps(content, indent=1, sort_keys=True) + '\n')


if __name__ == '__main__':
    main()
