"""Makes the golden files beside this script: `make golden`, on Python 3.10, whose SavedModels both lines read.

It makes all files of the SavedModels that are there. Nets that are named (`make golden ARGS='digits small'`) are
exported anew before that, and trained if they are: then even the names in their SavedModels differ.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tests import digits
from tests.golden import exact, files, nets
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model


def float_model(name: str) -> bytes:
    """The float file, made of the committed SavedModel with the installed versions."""
    folder = str(files.saved_model(name))
    return convert_saved_model(folder, choose_signature(folder).name)


def digits_ranges() -> dict[str, tuple[float, float]]:
    """The ranges of the committed float file of digits."""
    images = digits.load()['x_train'][:400]
    read = ActivationReader(files.float_model('digits'))
    ranges: dict[str, tuple[float, float]] = {}
    for start in range(0, len(images), 8):
        for name, values in read({'image': images[start : start + 8]}).items():
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))
    return ranges


def digits_int8() -> bytes:
    """The int8 file, made of the committed float file and ranges."""
    return quantize_model(files.float_model('digits'), QuantizationOptions('INT8'), files.digits_ranges())


def _export(name: str) -> None:
    folder = exact.SAVED_MODEL if name == 'exact' else files.saved_model(name)
    shutil.rmtree(folder, ignore_errors=True)
    if name == 'exact':
        module = exact.Net()
        tf.saved_model.save(module, str(folder), signatures={'serving_default': module.predict})
    else:
        nets.export(name, folder)


def main(named: Sequence[str]) -> None:
    """Writes the SavedModels that are named, and all that is made of any."""
    for name in named:
        _export(name)
    exact.DIGESTS.write_text(json.dumps(exact.content(), indent=1, sort_keys=True) + '\n')
    for name in files.WITH_FLOAT_FILE:
        (files.FOLDER / name / 'float.tflite').write_bytes(float_model(name))
    folder = files.FOLDER / 'digits'
    (folder / 'ranges.json').write_text(json.dumps(digits_ranges(), indent=1) + '\n')
    (folder / 'int8.tflite').write_bytes(digits_int8())


if __name__ == '__main__':
    main(sys.argv[1:])
