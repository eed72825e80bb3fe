"""A quantized file held against the float model, and what is done where it answers otherwise."""

from __future__ import annotations

import dataclasses
import logging
import math

from tfx_edge.components.core.calibration.reference import Reference
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert import activations, quantize
from tfx_edge.components.core.litert.interpreter import LiteRTModel
from tfx_edge.components.core.litert.model_file import ModelFile
from tfx_edge.components.core.litert.quantization_options import AUTO, LITERT, QuantizationOptions
from tfx_edge.components.core.post_training.fidelity import Fidelity, compare
from tfx_edge.components.core.post_training.float_group import LostAt, Ranges, find_lost

_LOG = logging.getLogger(__name__)

# Noise of 1/16 of what the answers say: above it lie the files that lose accuracy, under it no sound one was found.
MIN_DB = 12.0


@dataclasses.dataclass(frozen=True)
class Bound:
    """What is asked of a file.

    Attributes:
      min_db: fidelity to the float model, of the output that is lost most.
      repair: keep the smallest group of operators float that lifts a file over it.
      required: a file below it is an error.
      most_bytes: how much larger the file may become by the repair; None for any number.
    """

    min_db: float = MIN_DB
    repair: bool = True
    required: bool = False
    most_bytes: int | None = None

    def allows(self, lost: LostAt) -> bool:
        """Whether these operators in float are enough, leave something to quantize, and are no larger than allowed."""
        affordable = self.most_bytes is None or lost.bytes_more <= self.most_bytes
        return bool(lost.keep_float) and lost.quantizes and lost.db_after >= self.min_db and affordable


@dataclasses.dataclass(frozen=True)
class HeldFile:
    """A file, and how near it comes.

    Attributes:
      made: the file.
      mode: of the file.
      held_out: whether nothing was calibrated or trained on what was compared.
      min_db: of the bound.
      fidelity: of the file to the float model.
      float_fidelity: of the float `.tflite` file to the float model.
      lost: where the answers were lost; None where they were not.
      repaired: whether those operators stay float in the file.
      other_modes: fidelity by mode, of those that were tried and reach the bound.
    """

    made: quantize.QuantizedFile
    mode: str
    held_out: bool
    min_db: float
    fidelity: Fidelity
    float_fidelity: Fidelity
    lost: LostAt | None = None
    repaired: bool = False
    other_modes: tuple[tuple[str, float], ...] = ()

    @property
    def is_low(self) -> bool:
        """Whether the file answers otherwise than the float model."""
        return self.fidelity.db < self.min_db


def make_held(
    float_model: bytes | ModelFile,
    options: QuantizationOptions,
    ranges: Ranges | None,
    reference: Reference,
    bound: Bound,
    *,
    known: tuple[activations.ActivationTensor, ...] | None = None,
) -> HeldFile:
    """Makes a file and holds it against the float model.

    Where both engines make one, the nearer is taken. Where it is below the bound, the operators at which the answers
    are lost are looked for; they stay float where the bound says so and that is enough (with weights of four bits:
    enough for eight). Otherwise other modes are tried too, to be named.

    Args:
      float_model: a float32 `.tflite` file.
      options: which file to make.
      ranges: (minimum, maximum) by tensor name for modes with integer activations.
      reference: what the float model answers; at least one example.
      bound: what is asked of the file.
      known: see `quantize.make_file`.

    Returns:
      The file, and what was found out about it.

    Raises:
      EdgeError: see `quantize.make_file`; its outputs are not those of the reference.

    Example:
      >>> make_held(model, QuantizationOptions('INT8'), ranges, reference, Bound()).fidelity.db
      31.6
    """
    file = ModelFile.of(float_model)
    judge = quantize.Judge(lambda candidate: _db(candidate, reference), bound.min_db)
    float_fidelity = fidelity_of(file, reference)

    def held(made: quantize.QuantizedFile, lost: LostAt | None = None) -> HeldFile:
        near = fidelity_of(made.file, reference)
        repaired = lost is not None
        return HeldFile(
            made, options.mode, reference.held_out, bound.min_db, near, float_fidelity, lost, repaired
        )

    try:
        first = held(quantize.make_file(file, options, ranges, known=known, judge=judge))
    except EdgeError:
        # A file that does not run, or of other ranges than its values have: float operators may make one.
        lost = _lost(file, options, LITERT, ranges, reference, bound) if bound.repair else None
        if lost is None or not bound.allows(lost):
            raise
        return held(_repaired(file, options, ranges, lost), lost)
    if not first.is_low or float_fidelity.db < bound.min_db or not options.row.quantizes:
        return first
    lost = _lost(file, _with_eight_bits(options), first.made.engine, ranges, reference, bound)
    if bound.repair and bound.allows(lost):
        return held(_repaired(file, options, ranges, lost), lost)
    if options.row.with_int8_weights:
        lost = _lost(file, options, first.made.engine, ranges, reference, bound)
    modes = _other_modes(file, options, ranges, reference, bound)
    return dataclasses.replace(first, lost=lost, other_modes=modes)


def _with_eight_bits(options: QuantizationOptions) -> QuantizationOptions:
    """The same with weights of eight bits: what four lose is the mode's, and a float kernel is eight times as large."""
    return dataclasses.replace(options, mode=options.row.with_int8_weights or options.mode)


def _lost(
    file: ModelFile,
    options: QuantizationOptions,
    engine: str,
    ranges: Ranges | None,
    reference: Reference,
    bound: Bound,
) -> LostAt:
    # The converter cannot leave operators out in every mode.
    possible = engine == LITERT or dataclasses.replace(options, keep_float=('.',)).converter_can
    found = engine if possible else LITERT
    chosen = dataclasses.replace(options, engine=found if options.engine == AUTO else options.engine)
    return find_lost(file, chosen, ranges, reference.inputs, reference.answers, bound.min_db)


def _repaired(
    file: ModelFile, options: QuantizationOptions, ranges: Ranges | None, lost: LostAt
) -> quantize.QuantizedFile:
    kept = (*options.keep_float, *lost.keep_float)
    return quantize.make_file(file, dataclasses.replace(options, engine=lost.engine, keep_float=kept), ranges)


def fidelity_of(model: ModelFile, reference: Reference) -> Fidelity:
    """How near a file comes to the float model.

    Args:
      model: a `.tflite` file with the float model's inputs and outputs.
      reference: what the float model answers.

    Raises:
      EdgeError: the file takes other inputs, or has not these outputs.
    """
    return compare(reference.answers, LiteRTModel(model.data)(reference.inputs))


def _db(candidate: ModelFile, reference: Reference) -> float:
    """Fidelity; minus infinity of a file that runs on zeros, but not on the examples."""
    try:
        return fidelity_of(candidate, reference).db
    except EdgeError as error:
        _LOG.debug('a file does not run on the examples: %s', error)
        return -math.inf


def _other_modes(
    file: ModelFile,
    options: QuantizationOptions,
    ranges: Ranges | None,
    reference: Reference,
    bound: Bound,
) -> tuple[tuple[str, float], ...]:
    found = []
    for mode in options.row.alternatives:
        other = dataclasses.replace(options, mode=mode, io='FLOAT', engine=LITERT)
        try:
            db = fidelity_of(quantize.quantized_file(file, other, ranges), reference).db
        except EdgeError as error:
            _LOG.debug('mode %s does not serve: %s', mode, error)
            continue
        if db >= bound.min_db:
            found.append((mode, db))
    return tuple(found)
