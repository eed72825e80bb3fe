"""Runs a `.tflite` file: real numbers in and out by signature name, in any batch size."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import struct
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import affine
from tfx_edge.components.core.litert.file.tensor_runner import TensorRunner

# Larger batches are slower per example on a CPU.
MAX_BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class TensorDetail:
    """An input or output of a file.

    Attributes:
      shape: None for each dimension left open; dimension 0 is the batch.
      dtype: as stored.
      scale: real size of one step; 0.0 when the tensor is not quantized.
      zero_point: the integer that means 0.
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype
    scale: float
    zero_point: int


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What runs a file.

    Attributes:
      package: of the runtime, with its version.
      kernels: that it chooses among.
      threads: of the CPU.
      largest_batch: rows in one invocation at most.
    """

    package: str
    kernels: str
    threads: int
    largest_batch: int


# What LiteRTModel runs files with unless another is asked for.
RUNTIME = Runtime(
    f'ai-edge-litert {importlib.metadata.version("ai-edge-litert")}',
    'XNNPACK, built-in kernels for what it does not have',
    1,
    MAX_BATCH_SIZE,
)


class LiteRTModel:
    """A `.tflite` file ready to run on the LiteRT runtime with the XNNPACK kernels that phones use.

    Not to be pickled: make one in each process. The state of recurrent layers is reset before each invocation.

    Attributes:
      signature_name: of the file's signature, '' if it has none.
      inputs: by the signature's names, or those of `file_ends`.
      outputs: likewise.
      whole_outputs: the outputs without a batch dimension: scalars, and those whose first size is not the batch's.

    Args:
      model: bytes of the file; it must not hold several signatures.
      num_threads: CPU threads.
      max_batch_size: rows in one invocation at most; larger batches are split.
      preserve_all_tensors: keep the values of all tensors readable after a run.

    Raises:
      EdgeError: the bytes are no valid `.tflite` file, or hold several signatures.

    Example:
      >>> model = LiteRTModel(pathlib.Path('digits.tflite').read_bytes())
      >>> model({'image': images})['output_0'].shape
      (359, 10)
    """

    def __init__(
        self,
        model: bytes,
        *,
        num_threads: int = 1,
        max_batch_size: int = MAX_BATCH_SIZE,
        preserve_all_tensors: bool = False,
    ) -> None:
        self._interpreter = load(model, num_threads=num_threads, preserve_all_tensors=preserve_all_tensors)
        names = list(self._interpreter.get_signature_list())
        if len(names) > 1:
            raise EdgeError(
                f'the .tflite file holds {len(names)} signatures ({", ".join(names)}); '
                'expected one. Convert a SavedModel with TFLiteQuantizer.'
            )
        self.signature_name: str = names[0] if names else ''
        self._runner = (
            self._interpreter.get_signature_runner(self.signature_name)
            if names
            else TensorRunner(self._interpreter)
        )
        self.inputs: Mapping[str, TensorDetail] = _details(self._runner.get_input_details())
        self.outputs: Mapping[str, TensorDetail] = _details(self._runner.get_output_details())
        self.whole_outputs = self._whole_outputs()
        self._max_batch_size = max_batch_size

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a batch.

        Args:
          inputs: by signature input name, arrays of shape (batch, ...). Integer inputs take real numbers,
            which are rounded and clipped, or integers of their own type as they are. Other names are ignored.

        Returns:
          By signature output name, arrays of shape (batch, ...); quantized outputs as float32. An output without a
          batch dimension is repeated for each row.

        Raises:
          EdgeError: an input is missing, or has another shape or type, or the file cannot run.
        """
        stored = self.stored(inputs)
        sizes = {len(values) for values in stored.values()}
        if len(sizes) != 1 or 0 in sizes:
            raise EdgeError(
                f'the inputs have batches of {sorted(sizes)} rows; expected one size, at least 1.'
            )
        (size,) = sizes
        step = self.fixed_batch_size or self._max_batch_size
        results: dict[str, list[np.ndarray]] = {name: [] for name in self.outputs}
        for start in range(0, size, step):
            rows = {name: values[start : start + step] for name, values in stored.items()}
            for name, values in self._run(rows).items():
                results[name].append(values)
        return {name: self._as_real(name, np.concatenate(values)) for name, values in results.items()}

    def stored(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs as the file takes them: those that are integers there rounded and clipped.

        Args:
          inputs: as for a run.

        Raises:
          EdgeError: an input is missing, or has another shape or type.
        """
        return {name: self._as_stored(name, inputs) for name in self.inputs}

    @property
    def fixed_batch_size(self) -> int | None:
        """The only batch size the file takes, or None."""
        sizes = {detail.shape[0] for detail in self.inputs.values() if detail.shape}
        fixed = [size for size in sizes if size is not None]
        return max(fixed, default=None)

    @property
    def interpreter(self) -> litert.Interpreter:
        """The runtime's own object, to read tensors after a run."""
        return self._interpreter

    def _run(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        count = len(next(iter(rows.values())))
        missing = (self.fixed_batch_size or count) - count
        if missing:
            # Repeated rows fill up a fixed batch; what they yield is dropped.
            rows = {name: np.concatenate([v, np.repeat(v[-1:], missing, axis=0)]) for name, v in rows.items()}
        try:
            # Otherwise the last state of an RNN would be the first of the next batch.
            self._interpreter.reset_all_variables()
            outputs = self._runner(**rows)
        except (RuntimeError, ValueError) as error:
            raise EdgeError(
                f'the .tflite file does not run on a batch of {count} ({_one_line(error)}); '
                'give examples that fit the inputs, or convert the model again.'
            ) from error
        return {name: self._rows(name, values, count) for name, values in outputs.items()}

    def _whole_outputs(self) -> frozenset[str]:
        # The converter may write 1 for an open size that it lost.
        batches = (None, 1, self.fixed_batch_size)
        shapes = {name: detail.shape for name, detail in self.outputs.items()}
        return frozenset(name for name, shape in shapes.items() if not shape or shape[0] not in batches)

    def _rows(self, name: str, values: Any, count: int) -> np.ndarray:
        values = np.asarray(values)
        # A shape of no dimension also stands for one that the converter does not know.
        whole = name in self.whole_outputs and values.shape[:1] == self.outputs[name].shape[:1]
        return np.repeat(values[np.newaxis], count, axis=0) if whole else values[:count]

    def _as_stored(self, name: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        detail = self.inputs[name]
        if name not in inputs:
            raise EdgeError(
                f'input {name!r} of the .tflite file is missing (given: {", ".join(sorted(inputs)) or "none"}); '
                'give an array of that name.'
            )
        values = np.asarray(inputs[name])
        expected = detail.shape[1:]
        if values.ndim != len(detail.shape) or any(
            want not in (None, have) for want, have in zip(expected, values.shape[1:], strict=True)
        ):
            raise EdgeError(
                f'input {name!r} has the shape {values.shape}; expected (batch, {", ".join(map(str, expected))}).'
            )
        if values.dtype == detail.dtype:
            return values
        if detail.scale:
            return affine.quantize(values, detail.scale, detail.zero_point, detail.dtype)
        cast = values.astype(detail.dtype)
        if not np.issubdtype(detail.dtype, np.floating) and not np.array_equal(cast, values):
            raise EdgeError(
                f'input {name!r} holds values that are not {detail.dtype.name}; correct the examples.'
            )
        return cast

    def _as_real(self, name: str, values: np.ndarray) -> np.ndarray:
        detail = self.outputs[name]
        return affine.dequantize(values, detail.scale, detail.zero_point) if detail.scale else values


def load(
    model: bytes, *, num_threads: int = 1, preserve_all_tensors: bool = False, allocate: bool = True
) -> litert.Interpreter:
    """Verifies and opens a `.tflite` file with XNNPACK kernels, ready to invoke unless not allocated.

    Raises:
      EdgeError: the bytes are no valid `.tflite` file, or it cannot run.
    """
    with warnings.catch_warnings():
        # It warns that kept tensors take memory: they are asked for.
        warnings.simplefilter('ignore')
        _require_graphs(model)
        try:
            interpreter = litert.Interpreter(
                model_content=model,
                num_threads=num_threads,
                experimental_preserve_all_tensors=preserve_all_tensors,
            )
            if allocate:
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError, TypeError) as error:
            raise _unreadable(model, _one_line(error)) from error
    return interpreter


def _require_graphs(model: bytes) -> None:
    """Refuses a file without a list of graphs, on which the runtime would end the process."""
    # The runtime verifies the offsets that cannot be followed here.
    with contextlib.suppress(struct.error, IndexError, TypeError, OverflowError):
        if schema.Model.GetRootAs(model).SubgraphsIsNone():
            raise _unreadable(model, 'it has no list of graphs')


def _unreadable(model: bytes, reason: str) -> EdgeError:
    return EdgeError(
        f'the .tflite file ({len(model)} bytes) cannot be loaded ({reason}); '
        'it is no .tflite file, or damaged or truncated: make it again.'
    )


def _details(details: Mapping[str, Any]) -> dict[str, TensorDetail]:
    return {name: _detail(details[name]) for name in sorted(details)}


def _detail(detail: Mapping[str, Any]) -> TensorDetail:
    parameters = detail['quantization_parameters']
    quantized = len(parameters['scales']) == 1
    return TensorDetail(
        shape=tuple(None if size < 0 else int(size) for size in detail['shape_signature']),
        dtype=np.dtype(detail['dtype']),
        scale=float(parameters['scales'][0]) if quantized else 0.0,
        zero_point=int(parameters['zero_points'][0]) if quantized else 0,
    )


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())
