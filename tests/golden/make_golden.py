"""Makes the golden files beside this script: `make golden`, on the default line, whose SavedModels both lines read.

With the names of nets as arguments it makes these alone. The rest of `tests` starts from the files, and trains and
converts nothing for it.
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
from tfx_edge.components.core.litert.activation_reader import ActivationReader
from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.litert.quantize import QuantizationOptions, quantize_model
from tfx_edge.components.core.signature import choose_signature


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


def _make_exact() -> None:
    shutil.rmtree(exact.SAVED_MODEL, ignore_errors=True)
    module = exact.Net()
    tf.saved_model.save(module, str(exact.SAVED_MODEL), signatures={'serving_default': module.predict})
    exact.DIGESTS.write_text(json.dumps(exact.content(), indent=1, sort_keys=True) + '\n')


def _make(name: str) -> None:
    folder = files.FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    nets.export(name, files.saved_model(name))
    if name in files.WITH_FLOAT_FILE:
        (folder / 'float.tflite').write_bytes(float_model(name))
    if name == 'digits':
        (folder / 'ranges.json').write_text(json.dumps(digits_ranges(), indent=1) + '\n')
        (folder / 'int8.tflite').write_bytes(digits_int8())


def main(names: Sequence[str]) -> None:
    """Writes the SavedModels, and all that is made of them."""
    for name in names or ('exact', *nets.NETS):
        print(name, flush=True)
        if name == 'exact':
            _make_exact()
        else:
            _make(name)


if __name__ == '__main__':
    main(sys.argv[1:])
