"""Dense kernels that were clustered for other scales than the file's: its integers are then more than the clusters."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.dense_scales import FULLY_CONNECTED, PER_CHANNEL, PER_TENSOR
from tfx_edge.components.core.integer_types import largest
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model, kernel_indices
from tfx_edge.components.core.litert.file.model_file import ModelFile

_LOG = logging.getLogger(__name__)
# A kernel counts as clustered if it has no more values than this, and four weights or more to each on average.
_CODEBOOK = 64
_WEIGHTS_TO_A_MEMBER = 4
# Of a step of eight bits; values that are nearer are one.
_RESOLUTION = 1 / 64


def log_spread_codebooks(model: bytes | ModelFile, float_model: bytes | ModelFile) -> None:
    """Warns of dense kernels that hold more integers than the clusters that they would be with other scales.

    Args:
      model: a quantized `.tflite` file.
      float_model: the float file that it was made of.
    """
    for name, (clusters, integers, scales) in spread_codebooks(model, float_model).items():
        if scales == PER_TENSOR:
            _LOG.warning(
                'the dense kernel %r was clustered for a scale of each unit: it has %d clusters, and %d distinct '
                'integers in the file, where it has one scale. Set dense_scales of Clusterer, and of QATTrainer where '
                'there is one, to PER_TENSOR, or that of TFLiteQuantizer to PER_CHANNEL (with engine LITERT).',
                name,
                clusters,
                integers,
            )
        else:
            _LOG.warning(
                'the dense kernel %r was clustered for one scale: it has %d clusters, and %d distinct integers in the '
                'file, where each unit has a scale. Set dense_scales of TFLiteQuantizer to PER_TENSOR, or cluster with '
                'granularity DEPLOYED and dense_scales PER_CHANNEL.',
                name,
                clusters,
                integers,
            )


def spread_codebooks(
    model: bytes | ModelFile, float_model: bytes | ModelFile
) -> dict[str, tuple[int, int, str]]:
    """Finds dense kernels whose few values are many integers in the file.

    Args:
      model: a quantized `.tflite` file.
      float_model: the float file that it was made of.

    Returns:
      By name: the number of clusters, the distinct integers in the file, and the scales that the file has, PER_CHANNEL
      or PER_TENSOR, such as {'dense/MatMul': (16, 183, 'PER_TENSOR')}.

    Example:
      >>> spread_codebooks(int8_file, pathlib.Path('digits.tflite').read_bytes())
      {}
    """
    kernels = {kernel.name: kernel for kernel in inspect_model(ModelFile.of(model)).kernels}
    found = {}
    for name, values in _dense_kernels(ModelFile.of(float_model)).items():
        kernel = kernels.get(name)
        if kernel is None or not kernel.scales or values.shape[0] == 1:
            continue
        has_one = kernel.scales == 1
        clusters = _distinct(values, PER_CHANNEL if has_one else PER_TENSOR)
        if (
            clusters <= min(_CODEBOOK, values.size // _WEIGHTS_TO_A_MEMBER)
            and kernel.distinct > clusters
            and _distinct(values, PER_TENSOR if has_one else PER_CHANNEL) > clusters
        ):
            found[name] = clusters, kernel.distinct, PER_TENSOR if has_one else PER_CHANNEL
    return found


def _dense_kernels(file: ModelFile) -> Mapping[str, np.ndarray]:
    content = file.content
    kernels = {}
    for graph in content.subgraphs:
        for index, kind in kernel_indices(content, graph).items():
            values = flatbuffer.constant(content, graph.tensors[index])
            if kind == FULLY_CONNECTED and values is not None and values.dtype == np.float32:
                kernels[flatbuffer.tensor_name(graph.tensors[index])] = values
    return kernels


def _distinct(kernel: np.ndarray, scales: str) -> int:
    """How many values a kernel has in units of a scale of each unit, or of one."""
    magnitudes = np.abs(kernel)
    whole = magnitudes.max(axis=1, keepdims=True) if scales == PER_CHANNEL else magnitudes.max()
    steps = kernel / np.where(whole > 0, whole, 1) * largest(8)
    return len(np.unique(np.rint(steps / _RESOLUTION)))
