"""Measures a model: accuracy on labelled examples, sizes, and the zeros and distinct values of its kernels."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.evaluation.model_files import sizes
from tfx_edge.components.core.evaluation.model_files.models import TFLITE_FILE
from tfx_edge.components.core.examples.example_parser import ExampleParser, read_records
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.signature import Signature, TensorSpec

# A converter is a process of its own that takes most of a core and half a gigabyte.
_CONVERTERS = 2


@dataclasses.dataclass(frozen=True)
class Costs:
    """What was measured on one model, as a `.tflite` file.

    Attributes:
      accuracy: share of the examples whose largest output is the label.
      file_bytes: size of the file.
      zip_bytes: size of a DEFLATE zip of the file.
      zeros: share of zeros in the kernels.
      distinct: different integers in the kernel that has the most of them. A float model's kernels are
        quantized to int8 for this count alone, so that models before and after quantization compare.
    """

    accuracy: float
    file_bytes: int
    zip_bytes: int
    zeros: float
    distinct: int


def measure_all(
    folders: Sequence[str],
    example_files: Sequence[str],
    label_key: str,
    known: str | os.PathLike[str],
    convert: Callable[[str, Signature], bytes] = convert_saved_model,
) -> dict[str, Costs]:
    """Measures models; what was measured before is read from a file.

    Args:
      folders: serving folders, each with a SavedModel or a `.tflite` file. What lies in one never changes.
      example_files: TFRecords of labelled tf.Examples.
      label_key: the feature with the label, an index into the only output.
      known: the file to read from, and to write to; JSON.
      convert: gives the float `.tflite` of a SavedModel's folder and one of its signatures.

    Returns:
      The costs by folder.

    Raises:
      EdgeError: a model cannot be converted, or an example does not fit it.

    Example:
      >>> measure_all(['Trainer/model/2/Format-Serving'], files, 'label', 'measured.json')
    """
    path = pathlib.Path(known)
    costs = (
        {name: Costs(**row) for name, row in json.loads(path.read_text()).items()} if path.exists() else {}
    )
    missing = [folder for folder in folders if folder not in costs]
    if missing:
        records = list(read_records(example_files))
        with concurrent.futures.ThreadPoolExecutor(_CONVERTERS) as pool:
            files = pool.map(lambda folder: _tflite(folder, convert), missing)
            costs |= {
                folder: measure(model, records, label_key)
                for folder, model in zip(missing, files, strict=True)
            }
        _write(path, costs)
    return {folder: costs[folder] for folder in folders}


def measure(model: bytes, records: Sequence[bytes], label_key: str) -> Costs:
    """Measures one `.tflite` file with a single output on serialized tf.Examples.

    Example:
      >>> measure(model, records, 'label').file_bytes
      33712
    """
    content = inspect_model(model)
    deployed = content
    if any(kernel.dtype == 'float32' for kernel in content.kernels):
        deployed = inspect_model(quantize_model(model, QuantizationOptions('DYNAMIC_INT8')))
    return Costs(
        _accuracy(model, records, label_key),
        sizes.file_bytes(model),
        sizes.zip_bytes(model),
        content.kernel_zeros,
        deployed.kernel_max_distinct,
    )


def _accuracy(model: bytes, records: Sequence[bytes], label_key: str) -> float:
    runnable = LiteRTModel(model)
    specs = {name: TensorSpec((None, *x.shape[1:]), tf.float32) for name, x in runnable.inputs.items()}
    features = ExampleParser(specs, label_key=label_key)(records)
    (scores,) = runnable({name: features[name] for name in specs}).values()
    return float(np.mean(scores.argmax(axis=-1) == features[label_key].ravel()))


def _tflite(folder: str, convert: Callable[[str, Signature], bytes]) -> bytes:
    path = pathlib.Path(folder) / TFLITE_FILE
    return path.read_bytes() if path.exists() else convert(folder, choose_signature(folder))


def _write(path: pathlib.Path, costs: Mapping[str, Costs]) -> None:
    draft = path.with_name(f'{path.name}.unfinished')
    draft.write_text(json.dumps({name: dataclasses.asdict(row) for name, row in costs.items()}, indent=1))
    draft.rename(path)
