"""The values of a float file's activations while it runs."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.interpreter import MAX_BATCH_SIZE, LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile

_LOG = logging.getLogger(__name__)


class ActivationReader:
    """Runs a float file and reads its float activations.

    Activations that the runtime keeps no values of are left out: those of a loop's outputs that nothing reads. Only
    the main graph is read, not the graphs of loops and branches.

    Args:
      float_model: a float32 `.tflite` file.
      wanted: names of the activations to read; None for all.

    Raises:
      EdgeError: the file is damaged, or has no activation of a name that is wanted.

    Example:
      >>> {name: values.shape for name, values in ActivationReader(model)({'image': images[:1]}).items()}
      {'image': (1, 8, 8, 1), 'dense/Relu': (1, 32), 'softmax': (1, 10)}
    """

    def __init__(self, float_model: bytes | ModelFile, wanted: Collection[str] | None = None) -> None:
        file = ModelFile.of(float_model)
        self.model = LiteRTModel(file.data, preserve_all_tensors=True)
        indices = float_activations(file)
        for name in wanted or ():
            if name not in indices:
                raise EdgeError(
                    f'the .tflite file has no float activation {name!r}; name one of: {", ".join(list(indices)[:20])}.'
                )
        self._tensors = {
            name: self.model.interpreter.tensor(index)
            for name, index in indices.items()
            if wanted is None or name in wanted
        }

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The activations of one invocation.

        Args:
          inputs: by signature input name, arrays of shape (batch, ...); the batch is run at once.

        Returns:
          By tensor name, float32 arrays as they lie in the runtime (the batch of a file with a fixed batch
          is filled up with copies of the last row).

        Raises:
          EdgeError: the inputs do not fit, or are more rows than run at once.
        """
        return {name: values.copy() for name, values in self.views(inputs)}

    def views(self, inputs: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Name and values of each activation without copying, in order of execution.

        An array is a view of the runtime's memory, valid until this reader runs again; afterwards it must not be read.
        """
        rows = max((len(values) for values in inputs.values()), default=0)
        if rows > (self.model.fixed_batch_size or MAX_BATCH_SIZE):
            raise EdgeError(f'a batch of {rows} rows cannot be read at once; give at most {MAX_BATCH_SIZE}.')
        self.model(inputs)
        for name, tensor in self._tensors.items():
            try:
                values = tensor()
            except ValueError:
                # The runtime raises it for a tensor without memory, and for nothing else here.
                _LOG.debug('tensor %r has no values to read', name)
                continue
            yield name, values


def activation_values(
    float_model: bytes | ModelFile, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The value of each float activation on one batch.

    Args:
      float_model: a float32 `.tflite` file.
      inputs: by signature input name, arrays of shape (batch, ...), at most 8 rows.

    Returns:
      By tensor name, float32 arrays.

    Raises:
      EdgeError: the file is damaged or the inputs do not fit.

    Example:
      >>> activation_values(model, {'image': images[:8]})['dense/Relu'].shape
      (8, 32)
    """
    return ActivationReader(float_model)(inputs)


def activation_ranges(
    float_model: bytes | ModelFile, batches: Iterable[Mapping[str, np.ndarray]], most_rows: int
) -> dict[str, tuple[float, float]]:
    """The smallest and largest finite value of each float activation that has one.

    Args:
      float_model: a float32 `.tflite` file.
      batches: inputs by signature input name, arrays of shape (rows, ...), run 8 rows at once or as many as the file
        takes.
      most_rows: that are looked at.

    Returns:
      (min, max) by tensor name.

    Raises:
      EdgeError: the file is damaged or the inputs do not fit.

    Example:
      ```
      ranges = activation_ranges(model, [{'image': images}], 256)
      ```
    """
    reader = ActivationReader(float_model)
    ranges: dict[str, tuple[float, float]] = {}
    size = reader.model.fixed_batch_size or MAX_BATCH_SIZE
    left = most_rows
    for batch in batches:
        rows = min(len(next(iter(batch.values()))), left)
        for start in range(0, rows, size):
            chosen = {name: values[start : min(start + size, rows)] for name, values in batch.items()}
            for name, values in reader.views(chosen):
                low, high = _finite_limits(values)
                if low <= high:
                    known_low, known_high = ranges.get(name, (np.inf, -np.inf))
                    ranges[name] = min(low, known_low), max(high, known_high)
        left -= rows
        if not left:
            break
    return ranges


def _finite_limits(values: np.ndarray) -> tuple[float, float]:
    """Minimum and maximum of the finite values; infinity and minus infinity if there is none."""
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    if values.size and not (np.isfinite(low) and np.isfinite(high)):
        finite = values[np.isfinite(values)]
        low, high = finite.min(initial=np.inf), finite.max(initial=-np.inf)
    return float(low), float(high)


def float_activations(float_model: bytes | ModelFile) -> dict[str, int]:
    """Index in the main graph by name of each float32 tensor that is an input or computed, in order of execution."""
    content = ModelFile.of(float_model).content
    graph = content.subgraphs[0]
    computed = [*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)]
    return {
        flatbuffer.tensor_name(graph.tensors[index]): index
        for index in computed
        if flatbuffer.TENSOR_TYPES[graph.tensors[index].type] == 'FLOAT32'
    }
