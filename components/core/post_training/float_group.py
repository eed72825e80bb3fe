"""The operators at which a file loses accuracy: a minimal group that restores it when it stays float."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.inspect import HYBRID, INTEGER, OperatorSummary, inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantized_file
from tfx_edge.components.core.post_training.complete_ranges import complete_ranges
from tfx_edge.components.core.post_training.fidelity import compare
from tfx_edge.components.core.post_training.sensitivity import exactly

_LOG = logging.getLogger(__name__)

Ranges = Mapping[str, tuple[float, float]]
# If more than one operator in _ONE_IN (and more than _FEW) lose accuracy, the mode is the cause.
_ONE_IN = 3
_FEW = 4
_INTEGER_KERNELS = ('int4', 'int8')


@dataclasses.dataclass(frozen=True)
class LossyOperators:
    """Where a file loses accuracy.

    Attributes:
      operators: name and first output of each, in order of execution.
      keep_float: a regular expression for each, found in its output tensor's name only.
      db_before: fidelity of the file in which none of them stays float.
      db_after: fidelity of the file in which all of them stay float.
      bytes_more: how much larger the second file is than the first; 0 where the first cannot be made.
      engine: the engine that makes both.
      quantizes: whether the second file still quantizes other operators.
    """

    operators: tuple[str, ...]
    keep_float: tuple[str, ...]
    db_before: float
    db_after: float
    bytes_more: int
    engine: str
    quantizes: bool


def find_lossy_operators(
    float_model: bytes | ModelFile,
    options: QuantizationOptions,
    ranges: Ranges | None,
    samples: Mapping[str, np.ndarray],
    answers: Mapping[str, np.ndarray],
    wanted_db: float,
) -> LossyOperators:
    """Looks for the first operator at which the answers are lost, keeps it float, and looks for the next.

    What is quantized up to an operator, and float behind it, shows whether the answers are lost there: so the first is
    found by bisection. At the end each operator that is not needed is quantized again. The same arguments give the same
    group.

    Args:
      float_model: a float32 `.tflite` file.
      options: which file to make, with engine LITERT or CONVERTER.
      ranges: (minimum, maximum) by tensor name for modes with integer activations.
      samples: by signature input name, arrays of shape (rows, ...).
      answers: of the float model to them, by output name.
      wanted_db: the fidelity to reach.

    Returns:
      The group. Where no group of a third of the operators (at least four) reaches `wanted_db`, what was found by then.

    Example:
      >>> find_lossy_operators(model, options, ranges, samples, answers, 10.0).operators
      ("ADD 'attention/add'", "SOFTMAX 'attention/softmax'")
    """
    trials = _Trials(ModelFile.of(float_model), options, ranges or {}, samples, answers)
    _LOG.info('looking for the operators at which the file loses the answers')
    before, most = trials.db(()), max(_FEW, len(trials.operators) // _ONE_IN)
    kept: list[int] = []
    start = 0
    while trials.db(tuple(kept)) < wanted_db and len(kept) < most:
        lost = trials.first_lost(kept, start, wanted_db)
        if lost is None:
            break
        kept.append(lost)
        start = lost
    kept = trials.without_spare(kept, wanted_db)
    chosen = tuple(kept)
    file, unchanged = trials.file(chosen), trials.file(())
    quantizes = file is not None and _quantizes(file)
    more = len(file.data) - len(unchanged.data) if file and unchanged else 0
    return LossyOperators(
        tuple(f'{trials.operators[n].name} {trials.operators[n].output.split(";")[0]!r}' for n in kept),
        tuple(exactly(trials.operators[n].output) for n in kept),
        before,
        trials.db(chosen),
        more,
        options.engine,
        quantizes,
    )


def _ranges(
    float_file: ModelFile, options: QuantizationOptions, ranges: Ranges
) -> tuple[Ranges | None, Ranges | None]:
    """A range for each tensor, whichever of its neighbours stay float; and `CompleteRanges.settled`."""
    if not options.needs_ranges:
        return None, None
    with _without_chatter():
        completed = complete_ranges(float_file, options, ranges)
    # A range that an integer neighbour widens need not be widened beside a float one.
    settled = completed.settled
    if settled is not None and any(ranges.get(name, limits) != limits for name, limits in settled.items()):
        settled = None
    return {**completed.ranges, **ranges}, settled


def _quantizes(file: ModelFile) -> bool:
    """Whether something is integer in a file: what an operator computes, or a kernel that is dequantized for it."""
    summary = inspect_model(file)
    integers = any(op.arithmetic in (INTEGER, HYBRID) for op in summary.operators)
    return integers or any(kernel.dtype in _INTEGER_KERNELS for kernel in summary.kernels)


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Silences what making trial files would log; what is logged is about the file that is kept."""
    logger = logging.getLogger(quantized_file.__module__.rpartition('.')[0])
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Trials:
    """Makes files in which some operators stay float, given by their numbers, and compares their answers."""

    def __init__(
        self,
        float_file: ModelFile,
        options: QuantizationOptions,
        ranges: Ranges,
        samples: Mapping[str, np.ndarray],
        answers: Mapping[str, np.ndarray],
    ) -> None:
        self.operators: list[OperatorSummary] = [
            op for op in inspect_model(float_file).float_ops if op.output
        ]
        self._float_file = float_file
        self._options = options
        self._ranges, self._settled = _ranges(float_file, options, ranges)
        self._samples, self._answers = samples, answers
        self._files: dict[tuple[int, ...], ModelFile | None] = {}
        self._db: dict[tuple[int, ...], float] = {}

    def file(self, kept: tuple[int, ...]) -> ModelFile | None:
        """The file; None where there is none of this kind."""
        kept = tuple(sorted(kept))
        if kept not in self._files:
            self._files[kept] = self._made(kept)
        return self._files[kept]

    def db(self, kept: tuple[int, ...]) -> float:
        """Fidelity of the file; minus infinity where it cannot be made or does not run."""
        kept = tuple(sorted(kept))
        if kept not in self._db:
            file = self.file(kept)
            self._db[kept] = -math.inf if file is None else self._compared(file)
        return self._db[kept]

    def first_lost(self, kept: list[int], start: int, wanted_db: float) -> int | None:
        """The first operator from `start` on that loses accuracy when it and all before it but `kept` are quantized."""
        count = len(self.operators)
        low, high = start, count
        # Quantized up to `low` the answers are kept, up to `high` they are lost.
        if low and self._up_to(low, kept) < wanted_db:
            low = 0
        while high - low > 1:
            middle = (low + high) // 2
            if self._up_to(middle, kept) < wanted_db:
                high = middle
            else:
                low = middle
        return high - 1 if high - 1 not in kept else None

    def without_spare(self, kept: list[int], wanted_db: float) -> list[int]:
        """Those of the kept without which the answers would be lost, in order of execution."""
        needed = sorted(kept)
        if self.db(tuple(needed)) < wanted_db:
            return needed
        for number in sorted(kept):
            fewer = [other for other in needed if other != number]
            if self.db(tuple(fewer)) >= wanted_db:
                needed = fewer
        return needed

    def _up_to(self, number: int, kept: list[int]) -> float:
        """Fidelity with the first `number` operators but `kept` quantized, and all others float."""
        return self.db((*(n for n in kept if n < number), *range(number, len(self.operators))))

    def _compared(self, file: ModelFile) -> float:
        try:
            return compare(self._answers, LiteRTModel(file.data)(self._samples)).db
        except EdgeError as error:
            # It ran on zeros when it was made, but does not run on the samples.
            _LOG.debug('a file does not run: %s', error)
            return -math.inf

    def _made(self, kept: tuple[int, ...]) -> ModelFile | None:
        if len(kept) == len(self.operators):
            return self._float_file
        # One expression, for the search in a name is the costly part.
        expression = '|'.join(exactly(self.operators[n].output) for n in kept)
        options = dataclasses.replace(
            self._options, keep_float=(*self._options.keep_float, *([expression] if kept else ()))
        )
        try:
            with _without_chatter():
                return quantized_file(
                    self._float_file,
                    options,
                    self._ranges,
                    settled=self._settled,
                )
        except EdgeError as error:
            _LOG.debug('no file with %d operators float: %s', len(kept), error)
            return None
