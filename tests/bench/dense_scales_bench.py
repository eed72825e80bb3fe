"""What a scale for each unit of a dense layer costs and gains: `make bench-dense-scales`.

Two nets of dense layers alone, a classifier and an autoencoder of spectra of spoken digits, are trained in Keras 3 and
quantized after training, by tfx-edge with a scale for each unit and with one for each kernel, and by TensorFlow's own
converter. Bytes are those of the file and of its DEFLATE zip; the result (accuracy, or squared error) and the ratio of
signal to noise, against the float file, are those on recordings that nothing was trained or calibrated on.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from compression_bench import activation_ranges, common_arguments, load_data

_CALIBRATED = 200
_EPOCHS = 25
_MODES = ('INT8', 'INT16X8', 'DYNAMIC_INT8', 'INT4X8')


def make_net(kind: str, inputs: int) -> Any:
    """A classifier of 170 thousand weights, or an autoencoder of 360 thousand."""
    import keras

    layers = keras.layers
    if kind == 'classifier':
        hidden = [layers.Dropout(0.2), layers.Dense(128, activation='relu'), layers.Dropout(0.3)]
        hidden += [layers.Dense(64, activation='relu'), layers.Dense(10)]
        loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        hidden = [layers.Dense(units, activation='relu') for units in (128, 128, 16, 128, 128)]
        hidden, loss = [*hidden, layers.Dense(inputs)], 'mse'
    net = keras.Sequential([layers.Input((inputs,), name='x'), *hidden])
    net.compile(keras.optimizers.Adam(1e-3), loss)
    return net


def files_of(folder: str, x_train: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """The float file of a SavedModel, the converter's own int8 file, and each mode's with both kinds of scales."""
    import tensorflow as tf

    from tfx_edge.components.core.dense_function.choice import choose_signature
    from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
    from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
    from tfx_edge.components.core.litert.quantization.quantize import make_file

    signature = choose_signature(folder, '')
    (name,) = signature.inputs
    float_file = convert_saved_model(folder, signature.name)
    yield 'float', float_file
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[np.newaxis]] for row in x_train[:_CALIBRATED])
    yield 'stock INT8', converter.convert()
    ranges = activation_ranges(float_file, name, x_train[:_CALIBRATED])
    for mode in _MODES:
        for scales in ('PER_CHANNEL', 'PER_TENSOR'):
            options = QuantizationOptions(mode, engine='LITERT', dense_scales=scales)
            yield f'{mode} {scales}', make_file(float_file, options, ranges).model


def run_seed(kind: str, seed: int, data_folder: pathlib.Path) -> dict[str, tuple[float, ...]]:
    """File bytes, zip bytes, result and decibels of each file of one net."""
    import keras

    from tfx_edge.components.core.evaluation.model_files.sizes import zip_bytes
    from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

    data = load_data(data_folder, 'spoken')
    x_train, x_test = (x.reshape(len(x), -1) for x in (data.x_train, data.x_test))
    keras.utils.set_random_seed(seed)
    net = make_net(kind, x_train.shape[1])
    net.fit(x_train, data.y_train if kind == 'classifier' else x_train, 64, _EPOCHS, verbose=0)
    measured, wanted = {}, np.zeros(0)
    with tempfile.TemporaryDirectory() as folder:
        net.export(folder, verbose=False)
        for name, file in files_of(folder, x_train):
            (answers,) = LiteRTModel(file)({'x': x_test}).values()
            wanted = answers if name == 'float' else wanted
            correct = 100 * np.mean(answers.argmax(1) == data.y_test)
            result = correct if kind == 'classifier' else 1000 * np.mean((answers - x_test) ** 2)
            noise = np.mean((answers - wanted) ** 2)
            decibels = 10 * np.log10(np.var(wanted, axis=0).mean() / noise) if noise else np.inf
            measured[name] = (len(file), zip_bytes(file), float(result), float(decibels))
    return measured


def main() -> None:
    """Runs all seeds, and prints one line for each file."""
    arguments = _arguments()
    print('result: accuracy in percent, or squared error times 1000; means over the seeds')
    print('net          file                        file bytes   zip bytes   result     dB')
    for kind in ('classifier', 'autoencoder'):
        of_files = collections.defaultdict(list)
        for seed in arguments.seeds:
            for name, figures in run_seed(kind, seed, arguments.data).items():
                of_files[name].append(figures)
        for name, of_seeds in of_files.items():
            size, zipped, result, decibels = np.mean(of_seeds, axis=0)
            print(
                f'{kind:12} {name:26} {size:11,.0f} {zipped:11,.0f} {result:8.2f} {decibels:6.1f}', flush=True
            )


def _arguments() -> argparse.Namespace:
    return common_arguments(__doc__).parse_args()


if __name__ == '__main__':
    main()
