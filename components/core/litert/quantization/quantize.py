"""Float `.tflite` in, quantized `.tflite` out."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model, kernel_indices
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import (
    coarse_divisions,
    converter_engine,
    finished_file,
    kernel_ranges,
    litert_engine,
    minimum_ranges,
    quantized_activations,
)
from tfx_edge.components.core.litert.quantization.quantization_options import (
    AUTO,
    CONVERTER,
    LITERT,
    QuantizationOptions,
    require_possible,
)

_LOG = logging.getLogger(__name__)

Ranges = Mapping[str, tuple[float, float]]
# A kernel counts as clustered if it has at most _CODEBOOK distinct integers, and each of them stands for at least
# _WEIGHTS_TO_A_MEMBER weights on average.
_CODEBOOK = 64
_WEIGHTS_TO_A_MEMBER = 4
# In dB; a smaller difference does not decide between two files. 3 dB are twice the power of the error.
_NEARER = 3.0
_NOTHING_LEFT = 'it leaves no operator float'


@dataclasses.dataclass(frozen=True)
class Judge:
    """What decides between the engines where both make a file.

    Attributes:
      db: measures a file's fidelity to the float model, in dB.
      enough_db: from this fidelity on, the second engine is tried only where operators are left float.
    """

    db: Callable[[ModelFile], float]
    enough_db: float


@dataclasses.dataclass(frozen=True)
class QuantizedFile:
    """A file, and who made it.

    Attributes:
      file: the file itself.
      engine: LITERT or CONVERTER; NONE for a file as it was converted.
      reason: why that engine, as the end of a sentence.
      activations: those that become integers with these options in any file of this graph; None where not known.
    """

    file: ModelFile
    engine: str
    reason: str
    activations: tuple[quantized_activations.ActivationTensor, ...] | None = None

    @property
    def model(self) -> bytes:
        """The bytes of the file."""
        return self.file.data


def quantize_model(
    float_model: bytes | ModelFile, options: QuantizationOptions, ranges: Ranges | None = None
) -> bytes:
    """Quantizes a float file; see `make_file`.

    Args:
      float_model: a float32 `.tflite` file.
      options: which file to make.
      ranges: (minimum, maximum) by tensor name for modes with integer activations.

    Returns:
      The file's bytes.

    Raises:
      EdgeError: see `make_file`.

    Example:
      >>> quantize_model(model, QuantizationOptions('INT8'), ranges)
    """
    return quantized_file(float_model, options, ranges).data


def quantized_file(
    float_model: bytes | ModelFile,
    options: QuantizationOptions,
    ranges: Ranges | None = None,
    *,
    settled: Ranges | None = None,
) -> ModelFile:
    """`quantize_model` that returns a ModelFile; see `make_file` for the arguments."""
    made = make_file(float_model, options, ranges, settled=settled)
    if options.engine == AUTO and options.converter_can:
        _LOG.info('engine %s: %s', made.engine, made.reason)
    return made.file


def make_file(
    float_model: bytes | ModelFile,
    options: QuantizationOptions,
    ranges: Ranges | None = None,
    *,
    known: tuple[quantized_activations.ActivationTensor, ...] | None = None,
    settled: Ranges | None = None,
    judge: Judge | None = None,
) -> QuantizedFile:
    """Quantizes a float file, by the engine asked for or the better of the two.

    Kernels are quantized per output channel, symmetric and narrow (-127 to 127; int4: -7 to 7), scale = max|w| / 127
    (7), as in Jacob et al., 2017 (arXiv:1712.05877) and the LiteRT quantization specification; those of fully
    connected layers with one scale each where `dense_scales` is PER_TENSOR. Same arguments, same bytes. The file was
    run once, on zeros. (TensorFlow 2.16's engine CONVERTER gives a dense kernel one scale in any case.)

    Args:
      float_model: a float32 `.tflite` file.
      options: which file to make. With engine AUTO the converter is asked only when litert-quantizer leaves an
        operator float that `keep_float` does not name, or its file is not near enough for the judge. Its file is
        not taken where a clustered kernel has more distinct integers in it.
      ranges: (minimum, maximum) by tensor name for modes with integer activations.
      known: which activations become integer, as `QuantizedFile.activations` of a file with other constants says;
        None to ask the quantizer.
      settled: `CompleteRanges.settled`; None to find out what range each activation takes.
      judge: measures the fidelity of the files; None to count only the operators that they leave float.

    Returns:
      The file, its engine, and why.

    Raises:
      EdgeError: a weight is NaN, a range is missing, no engine can quantize the graph, or the file does not run.

    Example:
      >>> make_file(model, QuantizationOptions('INT8'), ranges).reason
      'it leaves no operator float'
    """
    require_possible(options)
    file = ModelFile.of(float_model)
    require_finite_weights(file, half=options.row.has_float16_weights)
    if not options.row.quantizes:
        litert_engine.kept_float(file.content, options.keep_float)
        return QuantizedFile(file, 'NONE', f'mode {options.mode} takes the file as it was converted')
    if settled is not None and options.engine != CONVERTER:
        made = _made_of_settled(file, options, settled)
        if made is not None:
            return made
    job = _Job(file, options, ranges or {}, known)
    if missing := job.missing:
        raise EdgeError(
            f'the calibration has no range for tensor {missing[0]!r} ({len(missing)} missing); it belongs to another '
            'model, or to another export of it. Calibrate again: give examples, or run QATTrainer again.'
        )
    return dataclasses.replace(_made(_with_exact_divisions(job), judge), activations=job.tensors)


def _with_exact_divisions(job: _Job) -> _Job:
    """The same with divisions float that the integer kernel would answer wrong."""
    if not job.options.needs_ranges:
        return job
    live = minimum_ranges.wide_enough(job.content, job.tensors, job.ranges, job.options.mode)
    outputs = coarse_divisions.coarse_divisions(job.content, live, job.options.mode)
    if not outputs:
        return job
    kept = [*job.options.keep_float, *(f'^{re.escape(output)}$' for output in outputs)]
    return _Job(job.file, dataclasses.replace(job.options, keep_float=tuple(kept)), {**job.ranges, **live})


def _made(job: _Job, judge: Judge | None) -> QuantizedFile:
    options = job.options
    if options.engine == CONVERTER:
        return QuantizedFile(_by_converter(job), CONVERTER, 'it was asked for')
    if options.engine == AUTO and options.converter_can:
        return _better(job, judge)
    return QuantizedFile(_by_litert(job, job.live_ranges()), LITERT, _why_litert(options))


def _made_of_settled(file: ModelFile, options: QuantizationOptions, settled: Ranges) -> QuantizedFile | None:
    """The file, made without asking first which activations become integer; None where the quantizer must be asked."""
    if coarse_divisions.coarse_divisions(file.content, settled, options.mode):
        return None
    job = _Job(file, options, settled, ())
    try:
        made = _by_litert(job, settled)
    except EdgeError:
        # The usual way raises the error again, or takes the other engine.
        return None
    if not (options.engine == AUTO and options.converter_can):
        return QuantizedFile(made, LITERT, _why_litert(options))
    # Where operators are left float, `_better` tries the converter too.
    return None if job.left_float(made) else QuantizedFile(made, LITERT, _NOTHING_LEFT)


def _why_litert(options: QuantizationOptions) -> str:
    return 'it was asked for' if options.engine == LITERT else 'engine CONVERTER makes no such file'


class _Job:
    """What is to be quantized, and which of its activations."""

    def __init__(
        self,
        file: ModelFile,
        options: QuantizationOptions,
        ranges: Ranges,
        known: tuple[quantized_activations.ActivationTensor, ...] | None = None,
    ) -> None:
        self.file = file
        self.content = file.content
        self.options = options
        self.ranges = ranges
        self.kept_scopes = litert_engine.kept_float(self.content, options.keep_float)
        self.tensors: tuple[quantized_activations.ActivationTensor, ...] = known or ()
        if options.needs_ranges and known is None:
            self.tensors = quantized_activations.quantized_activations(
                file, keep_float=options.keep_float, mode=options.mode, io=options.io
            )

    @property
    def missing(self) -> list[str]:
        """The tensors whose range is needed and not there, sorted."""
        needed = {tensor.group for tensor in self.tensors if tensor.fixed is None}
        if self.options.engine == CONVERTER:
            needed |= {*converter_engine.needed_ranges(self.content)} - {
                tensor.name for tensor in self.tensors
            }
        return sorted(needed - {*self.ranges})

    def live_ranges(self) -> dict[str, tuple[float, float]]:
        """The range of each tensor that becomes integer."""
        return minimum_ranges.widened(self.content, self.tensors, self.ranges, self.options.mode)

    def left_float(self, model: ModelFile) -> list[str]:
        """The operators of a file that stay float though nobody asked for it."""
        patterns = self.options.keep_float
        return [
            op.name for op in inspect_model(model).float_ops if not litert_engine.is_kept(op.output, patterns)
        ]


def _better(job: _Job, judge: Judge | None) -> QuantizedFile:
    """The file that comes nearer to the float model; of two about as near, the one with fewer float operators.

    litert-quantizer's when both leave as many.
    """
    first, fault = None, None
    left: list[str] = []
    try:
        first = _by_litert(job, job.live_ranges())
        left = job.left_float(first)
    except EdgeError as error:
        fault = error
    near = judge.db(first) if judge is not None and first is not None else math.inf
    if first is not None and not left and (judge is None or near >= judge.enough_db):
        return QuantizedFile(first, LITERT, _NOTHING_LEFT)
    try:
        second = _by_converter(job)
    except EdgeError as error:
        if first is None:
            raise fault or error from None
        reason = f'it leaves {_listed(left)} float, and engine CONVERTER does not serve: {error}'
        return QuantizedFile(first, LITERT, reason)
    also_left = job.left_float(second)
    if first is None:
        return QuantizedFile(second, CONVERTER, f'engine LITERT does not serve: {fault}')
    if spread := _spread_codebooks(first, second):
        reason = f'engine CONVERTER spreads the clusters of {", ".join(spread)}'
        return QuantizedFile(first, LITERT, reason)
    also_near = math.inf if judge is None else judge.db(second)
    if abs(also_near - near) > _NEARER:
        return _nearer(first, near, second, also_near)
    if len(also_left) < len(left):
        reason = f'it leaves {_listed(also_left)} float, engine LITERT {_listed(left)}'
        return QuantizedFile(second, CONVERTER, reason)
    return QuantizedFile(
        first, LITERT, f'it leaves {_listed(left)} float, engine CONVERTER {_listed(also_left)}'
    )


def _nearer(first: ModelFile, near: float, second: ModelFile, also_near: float) -> QuantizedFile:
    if also_near > near:
        reason = f'fidelity to the float model {also_near:.1f} dB, with engine LITERT {near:.1f} dB'
        return QuantizedFile(second, CONVERTER, reason)
    reason = f'fidelity to the float model {near:.1f} dB, with engine CONVERTER {also_near:.1f} dB'
    return QuantizedFile(first, LITERT, reason)


def _spread_codebooks(first: ModelFile, second: ModelFile) -> list[str]:
    """Kernels of few distinct integers that have more of them in the second file, by name."""
    few = {
        kernel.name: kernel.distinct
        for kernel in inspect_model(first).kernels
        if kernel.distinct <= _CODEBOOK and kernel.distinct * _WEIGHTS_TO_A_MEMBER <= kernel.elements
    }
    kernels = inspect_model(second).kernels
    return [kernel.name for kernel in kernels if kernel.distinct > few.get(kernel.name, kernel.distinct)]


def _listed(kinds: Sequence[str]) -> str:
    return f'{len(kinds)} ({", ".join(sorted(set(kinds)))})' if kinds else 'none'


def _by_litert(job: _Job, live: Ranges) -> ModelFile:
    """litert-quantizer's file, with the range that each activation takes."""
    statistics = None
    if job.options.needs_ranges:
        statistics = {name: litert_engine.entry(*limits) for name, limits in live.items()}
        statistics |= kernel_ranges.for_large_biases(
            job.content, statistics, job.options.mode, job.options.dense_scales
        )
    quantized = ModelFile(litert_engine.run(job.file, job.options, job.kept_scopes, statistics))
    return finished_file.finish(quantized.changeable(), job.file, job.options)


def _by_converter(job: _Job) -> ModelFile:
    """The converter's file, with the ranges that litert-quantizer takes, so that both files have the same scales."""
    shared = job.live_ranges()
    others = {
        name: job.ranges[name] for name in converter_engine.needed_ranges(job.content) if name in job.ranges
    }
    outputs = [
        flatbuffer.tensor_name(graph.tensors[index])
        for graph in job.content.subgraphs
        for operator in graph.operators
        for index in operator.outputs
    ]
    kept = [name for name in outputs if litert_engine.is_kept(name, job.options.keep_float)]
    return converter_engine.run(job.file, job.options, kept, {**others, **shared})


def require_finite_weights(float_model: bytes | ModelFile, *, half: bool = False) -> None:
    """Refuses weights that no file should hold.

    Args:
      float_model: a float32 `.tflite` file.
      half: float16 must hold them too.

    Raises:
      EdgeError: a constant holds NaN, a kernel infinity, or (half) a constant a number beyond float16.
    """
    file = ModelFile.of(float_model)
    file.once(('finite weights', half), lambda: _require_finite(file.content, half))


def _require_finite(content: flatbuffer.schema.ModelT, half: bool) -> None:
    for graph in content.subgraphs:
        kernels = kernel_indices(content, graph)
        for index, tensor in enumerate(graph.tensors):
            values = flatbuffer.constant(content, tensor)
            if values is None or not np.issubdtype(values.dtype, np.floating):
                continue
            name = flatbuffer.tensor_name(tensor).split(';')[0]
            # Masks and the padding of a maximum may hold infinity, but no kernel may.
            if np.isnan(values).any() or (index in kernels and np.isinf(values).any()):
                held = 'NaN' if np.isnan(values).any() else 'infinity'
                raise EdgeError(
                    f'the weights {name!r} hold {held}; expected finite numbers. '
                    'Train the model again (a lower learning rate, or finite training data).'
                )
            finite = values[np.isfinite(values)]
            if half and len(finite) and np.abs(finite).max() > np.finfo(np.float16).max:
                raise EdgeError(
                    f'the weights {name!r} reach {np.abs(finite).max():g}, which float16 cannot hold (65504); '
                    'choose another mode.'
                )


def missing_ranges(float_model: bytes | ModelFile, options: QuantizationOptions, ranges: Ranges) -> list[str]:
    """The tensors whose range the file needs and `ranges` lacks, sorted.

    Args:
      float_model: a float32 `.tflite` file.
      options: which file to make, in a mode with integer activations.
      ranges: (minimum, maximum) by tensor name.

    Returns:
      Names of tensors of the float file; with engine CONVERTER, of all that something reads.

    Raises:
      EdgeError: the engine cannot quantize the graph.
    """
    return _Job(ModelFile.of(float_model), options, ranges).missing
