"""How many scales the kernel of a fully connected layer has in a `.tflite` file: one for each unit, or one in all."""

from __future__ import annotations

# The names of `proto.Quantization.DenseScales`.
PER_CHANNEL, PER_TENSOR = DENSE_SCALES = ('PER_CHANNEL', 'PER_TENSOR')
# LiteRT's operator.
FULLY_CONNECTED = 'FULLY_CONNECTED'
