"""How the weights of a `.tflite` file are distributed, beside those of another one of the same model."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfx_edge.components.core.litert.file import damaged_file, flatbuffer
from tfx_edge.components.core.litert.file.inspect import kernel_indices
from tfx_edge.components.core.litert.file.model_file import ModelFile

# Odd, so that zero lies in the middle of a bin.
BINS = 41


@dataclasses.dataclass(frozen=True)
class WeightHistogram:
    """A kernel that both files have.

    Attributes:
      name: of the kernel.
      limit: the bins reach from -limit to limit, the largest magnitude in either file.
      before: how many of the baseline's weights lie in each bin.
      after: how many of the candidate's.
      distinct_before: how many different stored values the baseline's has.
      distinct_after: the candidate's.
      zeros_before: how many of the baseline's weights are 0.
      zeros_after: how many of the candidate's.
    """

    name: str
    limit: float
    before: tuple[int, ...]
    after: tuple[int, ...]
    distinct_before: int
    distinct_after: int
    zeros_before: int
    zeros_after: int


@damaged_file.damage_as_edge_error()
def weight_histograms(model: bytes | ModelFile, baseline: bytes | ModelFile) -> tuple[WeightHistogram, ...]:
    """Compares the kernels that have the same name and shape, as real numbers.

    Args:
      model: a `.tflite` file.
      baseline: another one, such as the float one of the model that it was made of.

    Returns:
      The histograms, in the order of the first file's kernels; kernels without a counterpart are left out.

    Raises:
      EdgeError: a file is damaged.

    Example:
      >>> [(kernel.name, kernel.zeros_after) for kernel in weight_histograms(int8_file, float_file)][:1]
      [('dense/kernel', 384)]
    """
    ours, theirs = (_kernels(ModelFile.of(file).content) for file in (model, baseline))
    return tuple(
        _histogram(name, theirs[name], kernel)
        for name, kernel in ours.items()
        if name in theirs and theirs[name].real.shape == kernel.real.shape and kernel.real.size
    )


@dataclasses.dataclass(frozen=True)
class _Kernel:
    real: np.ndarray
    distinct: int

    @property
    def zeros(self) -> int:
        return self.real.size - int(np.count_nonzero(self.real))


def _histogram(name: str, before: _Kernel, after: _Kernel) -> WeightHistogram:
    limit = float(max(np.abs(before.real).max(), np.abs(after.real).max())) or 1.0
    return WeightHistogram(
        name,
        limit,
        _counts(before, limit),
        _counts(after, limit),
        before.distinct,
        after.distinct,
        before.zeros,
        after.zeros,
    )


def _counts(kernel: _Kernel, limit: float) -> tuple[int, ...]:
    return tuple(np.histogram(kernel.real, BINS, (-limit, limit))[0].tolist())


def _kernels(content: flatbuffer.schema.ModelT) -> dict[str, _Kernel]:
    graph = content.subgraphs[0]
    found = {}
    for index in kernel_indices(content, graph):
        tensor = graph.tensors[index]
        stored = flatbuffer.constant(content, tensor) if tensor.sparsity is None else None
        if stored is not None:
            found[flatbuffer.tensor_name(tensor)] = _Kernel(_real(tensor, stored), len(np.unique(stored)))
    return found


def _real(tensor: flatbuffer.schema.TensorT, stored: np.ndarray) -> np.ndarray:
    parameters = tensor.quantization
    if parameters is None or parameters.scale is None or not len(parameters.scale):
        return stored.astype(np.float64)
    shape = [1] * stored.ndim
    if len(parameters.scale) > 1:
        shape[int(parameters.quantizedDimension)] = -1
    points = parameters.zeroPoint if parameters.zeroPoint is not None else [0]
    scales, zeros = (np.asarray(part, np.float64).reshape(shape) for part in (parameters.scale, points))
    return (stored - zeros) * scales
