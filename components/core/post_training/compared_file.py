"""Makes a quantized file, compares it with the float model, and repairs it where its fidelity is too low."""

from __future__ import annotations

import dataclasses
import logging
import math

from tfx_edge.components.core.calibration.reference import Reference
from tfx_edge.components.core.dense_scales import PER_CHANNEL
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import quantize, quantized_activations
from tfx_edge.components.core.litert.quantization.quantization_options import (
    AUTO,
    LITERT,
    QuantizationOptions,
)
from tfx_edge.components.core.post_training.bound import Bound
from tfx_edge.components.core.post_training.fidelity import Fidelity, compare
from tfx_edge.components.core.post_training.float_group import LossyOperators, Ranges, find_lossy_operators

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ComparedFile:
    """A file, and its fidelity to the float model.

    Attributes:
      made: the file.
      mode: of the file.
      held_out: whether nothing was calibrated or trained on the compared examples.
      min_db: of the bound.
      fidelity: of the file to the float model.
      float_fidelity: of the float `.tflite` file to the float model.
      lost: where accuracy was lost; None where it was not.
      repaired: whether those operators stay float in the file.
      other_modes: fidelity by mode, of those that were tried and reach the bound; of a file whose dense kernels have
        one scale, also the same mode with a scale for each unit.
    """

    made: quantize.QuantizedFile
    mode: str
    held_out: bool
    min_db: float
    fidelity: Fidelity
    float_fidelity: Fidelity
    lost: LossyOperators | None = None
    repaired: bool = False
    other_modes: tuple[tuple[str, float], ...] = ()

    @property
    def is_low(self) -> bool:
        """Whether the file's fidelity is below `min_db`."""
        return self.fidelity.db < self.min_db


def make_compared(
    float_model: bytes | ModelFile,
    options: QuantizationOptions,
    ranges: Ranges | None,
    reference: Reference,
    bound: Bound,
    *,
    known: tuple[quantized_activations.ActivationTensor, ...] | None = None,
) -> ComparedFile:
    """Makes a file and compares it with the float model.

    Where both engines make one, the one with the higher fidelity is taken. Where that is below the bound, the
    operators that lose the accuracy are looked for; they stay float where `bound.repair` is set and this is enough
    (with weights of four bits: enough with eight). Otherwise other modes are tried too, to be named in the report.

    Args:
      float_model: a float32 `.tflite` file.
      options: which file to make.
      ranges: (minimum, maximum) by tensor name for modes with integer activations.
      reference: what the float model answers; at least one example.
      bound: the fidelity that the file has to reach.
      known: see `quantize.make_file`.

    Returns:
      The file, and what was found out about it.

    Raises:
      EdgeError: see `quantize.make_file`; its outputs are not those of the reference.

    Example:
      >>> make_compared(model, QuantizationOptions('INT8'), ranges, reference, Bound()).fidelity.db
      31.6
    """
    file = ModelFile.of(float_model)
    judge = quantize.Judge(lambda candidate: _db(candidate, reference), bound.min_db)
    float_fidelity = fidelity_of(file, reference)

    def held(made: quantize.QuantizedFile, lost: LossyOperators | None = None) -> ComparedFile:
        near = fidelity_of(made.file, reference)
        repaired = lost is not None
        return ComparedFile(
            made, options.mode, reference.held_out, bound.min_db, near, float_fidelity, lost, repaired
        )

    try:
        first = held(quantize.make_file(file, options, ranges, known=known, judge=judge))
    except EdgeError:
        # The file does not run, or its values leave their ranges; with some operators in float it may be sound.
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
    """The options with eight-bit weights: what four bits lose is due to the mode; float kernels are 8 times larger."""
    return dataclasses.replace(options, mode=options.row.with_int8_weights or options.mode)


def _lost(
    file: ModelFile,
    options: QuantizationOptions,
    engine: str,
    ranges: Ranges | None,
    reference: Reference,
    bound: Bound,
) -> LossyOperators:
    # The converter cannot leave operators out in every mode.
    possible = engine == LITERT or dataclasses.replace(options, keep_float=('.',)).converter_can
    found = engine if possible else LITERT
    chosen = dataclasses.replace(options, engine=found if options.engine == AUTO else options.engine)
    return find_lossy_operators(file, chosen, ranges, reference.inputs, reference.answers, bound.min_db)


def _repaired(
    file: ModelFile, options: QuantizationOptions, ranges: Ranges | None, lost: LossyOperators
) -> quantize.QuantizedFile:
    kept = (*options.keep_float, *lost.keep_float)
    return quantize.make_file(file, dataclasses.replace(options, engine=lost.engine, keep_float=kept), ranges)


def fidelity_of(model: ModelFile, reference: Reference) -> Fidelity:
    """How near a file comes to the float model.

    Args:
      model: a `.tflite` file with the float model's inputs and outputs.
      reference: what the float model answers.

    Raises:
      EdgeError: the file takes other inputs, or lacks one of the outputs.
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
    others = {mode: dataclasses.replace(options, mode=mode, io='FLOAT') for mode in options.row.alternatives}
    if options.dense_scales != PER_CHANNEL:
        finer = dataclasses.replace(options, dense_scales=PER_CHANNEL)
        others = {f'{options.mode} with dense_scales {PER_CHANNEL}': finer, **others}
    found = []
    for mode, asked in others.items():
        other = dataclasses.replace(asked, engine=LITERT)
        try:
            db = fidelity_of(quantize.quantized_file(file, other, ranges), reference).db
        except EdgeError as error:
            _LOG.debug('mode %s does not serve: %s', mode, error)
            continue
        if db >= bound.min_db:
            found.append((mode, db))
    return tuple(found)
