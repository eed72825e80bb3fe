"""`proto.Quantization` as the options of `core`, each value checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from tfx_edge import proto
from tfx_edge.components.core.dense_scales import DENSE_SCALES
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.model_metadata import ModelMetadata
from tfx_edge.components.core.litert.quantization.modes import MODES, static_mode
from tfx_edge.components.core.litert.quantization.quantization_options import (
    AUTO,
    ENGINES,
    IO_TYPES,
    LITERT,
    QuantizationOptions,
    require_possible,
)
from tfx_edge.components.core.post_training.asked_recipe import Recipe
from tfx_edge.components.core.post_training.bound import Bound
from tfx_edge.components.tflite_quantizer.labels import require_one_source
from tfx_edge.components.tfx_interface.exec_properties import (
    decode,
    require,
    require_patterns,
    require_supported,
)
from tfx_edge.components.tfx_interface.keys import EXAMPLES, INPUT_CALIBRATION

if TYPE_CHECKING:
    from tfx_edge.components.core.calibration.arithmetic import TrainedArithmetic

QUANTIZATION = 'quantization'
_RANGE_METHODS = ('MIN_MAX', 'PERCENTILE', 'MSE', 'ENTROPY')
# Of keep_float, in place of regular expressions.
_AUTO = 'AUTO'


@dataclasses.dataclass(frozen=True)
class QuantizerOptions:
    """What TFLiteQuantizer was asked for.

    Attributes:
      recipe: which file to make, and how.
      max_calibration_examples: examples used for calibration at most.
      calibration_splits: names of the splits they come from.
      sensitivity_examples: examples that sensitivity is measured on.
      require_full_integer: operators that stay float are an error.
      for_micro: write a second file for TensorFlow Lite Micro.
      sparse_kernels: store 1x1 kernels sparse where XNNPACK computes with them so.
      metadata: of the file.
    """

    recipe: Recipe
    max_calibration_examples: int
    calibration_splits: tuple[str, ...]
    sensitivity_examples: int
    require_full_integer: bool
    for_micro: bool
    sparse_kernels: bool
    metadata: ModelMetadata


def quantizer_options(message: proto.Quantization) -> QuantizerOptions:
    """Checks a message and fills in its defaults.

    Raises:
      EdgeError: a value is out of range, not supported by this version, or without effect beside the others.
    """
    keep_float = require_patterns(message, 'keep_float')
    automatic = keep_float == (_AUTO,)
    recipe = Recipe(
        quantization=QuantizationOptions(
            mode=require_supported(message, 'mode', MODES),
            io=require_supported(message, 'io', IO_TYPES),
            keep_float=() if automatic else keep_float,
            engine=require_supported(message, 'engine', ENGINES),
            dense_scales=require_supported(message, 'dense_scales', DENSE_SCALES),
        ),
        range_method=require_supported(message, 'range_method', _RANGE_METHODS),
        percentile=require(message, 'percentile', lambda p: 50 < p <= 100, 'more than 50, at most 100'),
        equalize=message.equalize,
        correct_bias=message.correct_bias,
        float_budget_bytes=_float_budget(message, keep_float),
        report_sensitivity=message.report_sensitivity,
        bound=_bound(message),
    )
    splits = require(message, 'calibration_splits', lambda names: all(names), 'names of splits')
    require_possible(recipe.quantization)
    _require_effect(message, recipe.quantization)
    _require_integers_possible(message, recipe.quantization)
    return QuantizerOptions(
        recipe=recipe,
        max_calibration_examples=require(message, 'max_calibration_examples', lambda n: n > 0, '1 or more'),
        calibration_splits=tuple(dict.fromkeys(splits)) or ('train',),
        sensitivity_examples=require(message, 'sensitivity_examples', lambda n: n > 0, '1 or more'),
        require_full_integer=message.require_full_integer,
        for_micro=message.for_micro,
        sparse_kernels=message.sparse_kernels and recipe.quantization.row.has_float_weights,
        metadata=_metadata(message.metadata),
    )


def require_inputs(options: QuantizerOptions, *, examples: bool, calibration: bool) -> None:
    """Refuses options that do not fit the inputs of the component.

    Args:
      options: what was asked for.
      examples: whether examples are given.
      calibration: whether a calibration is given.

    Raises:
      EdgeError: an input that an option needs is missing, or an option has no effect with these inputs.
    """
    recipe = options.recipe
    if recipe.quantization.needs_ranges and not (examples or calibration):
        raise EdgeError(
            f'Quantization.mode {recipe.quantization.mode} needs the ranges of activations; give examples to '
            'calibrate on, or the calibration of a QATTrainer, or set mode to DYNAMIC_INT8.'
        )
    for field, asked in (
        ('correct_bias', recipe.correct_bias),
        ('report_sensitivity', recipe.report_sensitivity),
        ('keep_float AUTO', recipe.float_budget_bytes is not None),
        ('require_fidelity', recipe.bound.required and not calibration),
    ):
        if asked and not examples:
            raise EdgeError(f'Quantization.{field} needs examples to measure on; give examples.')
    if calibration and recipe.equalize:
        raise EdgeError(
            'Quantization.equalize changes the ranges of activations, so that those of the calibration no longer hold; '
            'leave equalize unset, or give examples and no calibration.'
        )
    if calibration and not examples and recipe.range_method != 'MIN_MAX':
        raise EdgeError(
            f'Quantization.range_method {recipe.range_method} has no effect on the ranges of a calibration; '
            'leave it unset, or give examples.'
        )


def check_parameters(properties: Mapping[str, Any], inputs: Collection[str]) -> None:
    """Refuses what the executor would refuse of the parameters alone.

    Args:
      properties: exec properties.
      inputs: keys of the inputs that have artifacts.

    Raises:
      EdgeError: names the field, and what was expected.
    """
    message = decode(properties[QUANTIZATION], proto.Quantization)
    require_one_source(message)
    require_inputs(
        quantizer_options(message), examples=EXAMPLES in inputs, calibration=INPUT_CALIBRATION in inputs
    )


def as_trained(recipe: Recipe, arithmetic: TrainedArithmetic | None) -> Recipe:
    """The recipe with what a model was trained for: the same operators stay float, and kernels have the same scales.

    Args:
      recipe: what was asked for.
      arithmetic: of the calibration; None where nothing was trained.

    Returns:
      The recipe, with engine LITERT for AUTO, whose scales the training simulates.

    Raises:
      EdgeError: the model was trained for another mode.
    """
    wanted = recipe.quantization
    if arithmetic is None or not wanted.needs_ranges:
        return recipe
    trained = static_mode(arithmetic.weight_bits.values(), arithmetic.activation_bits)
    if wanted.mode != trained:
        raise EdgeError(
            f'Quantization.mode is {wanted.mode}, but the calibration comes from training for {trained}; '
            f'set mode to {trained}, or give examples instead of the calibration.'
        )
    if wanted.dense_scales != arithmetic.dense_scales:
        raise EdgeError(
            f'Quantization.dense_scales is {wanted.dense_scales}, but the calibration comes from training for '
            f'{arithmetic.dense_scales}; set it to {arithmetic.dense_scales}, or give examples instead of the '
            'calibration.'
        )
    quantization = dataclasses.replace(
        wanted,
        keep_float=(*wanted.keep_float, *arithmetic.kept_float),
        engine=LITERT if wanted.engine == AUTO else wanted.engine,
    )
    # What is trained is what ships: QATTrainer decided what stays float.
    bound = dataclasses.replace(recipe.bound, repair=False)
    return dataclasses.replace(recipe, quantization=quantization, bound=bound, trained=True)


def _float_budget(message: proto.Quantization, keep_float: tuple[str, ...]) -> int | None:
    if keep_float != (_AUTO,):
        if _AUTO in keep_float:
            raise EdgeError(
                'Quantization.keep_float holds AUTO beside other expressions; give AUTO alone, or AUT[O] for a name.'
            )
        if message.HasField('float_budget_bytes'):
            raise EdgeError(
                'Quantization.float_budget_bytes has a meaning with keep_float AUTO only; leave it unset.'
            )
        return None
    return require(message, 'float_budget_bytes', lambda n: n > 0, '1 or more with keep_float AUTO')


def _bound(message: proto.Quantization) -> Bound:
    return Bound(
        min_db=require(message, 'min_fidelity_db', lambda db: -100 <= db <= 100, 'between -100 and 100'),
        # With require_full_integer, float operators are an error.
        repair=message.repair_fidelity and not message.require_full_integer,
        required=message.require_fidelity,
    )


def _require_effect(message: proto.Quantization, options: QuantizationOptions) -> None:
    """Refuses fields that change nothing in this mode."""
    mode = options.mode
    if message.HasField('percentile') and message.range_method != proto.Quantization.PERCENTILE:
        raise EdgeError(
            'Quantization.percentile has a meaning with range_method PERCENTILE only; leave it unset.'
        )
    if message.range_method != proto.Quantization.MIN_MAX and not options.needs_ranges:
        raise EdgeError(
            f'Quantization.range_method has no effect with mode {mode}, where activations are float; leave it unset.'
        )
    if message.for_micro and not (options.needs_ranges and {*options.row.weight_bits.values()} == {8}):
        raise EdgeError(
            f'Quantization.for_micro stores int8 kernels of integer files as look-up tables; mode is {mode}, expected '
            'INT8 or INT16X8. Set it, or leave for_micro unset.'
        )
    for field in options.row.without_effect:
        if getattr(message, field):
            raise EdgeError(f'Quantization.{field} has no effect with mode {mode}; leave it unset.')
    if message.HasField('sensitivity_examples') and not (
        message.report_sensitivity or message.float_budget_bytes
    ):
        raise EdgeError(
            'Quantization.sensitivity_examples has a meaning with report_sensitivity or keep_float AUTO only; '
            'leave it unset.'
        )


def _require_integers_possible(message: proto.Quantization, options: QuantizationOptions) -> None:
    if message.require_full_integer and (message.keep_float or not options.needs_ranges):
        beside = 'keep_float' if options.needs_ranges else f'mode {options.mode}'
        raise EdgeError(
            f'Quantization.require_full_integer cannot hold with {beside}; leave one of the two unset.'
        )


def _metadata(message: proto.Quantization.Metadata) -> ModelMetadata:
    if message.labels_output and not (message.labels or message.label_file):
        raise EdgeError('Quantization.metadata.labels_output has a meaning with labels only; leave it unset.')
    return ModelMetadata(
        name=message.name,
        version=message.version,
        author=message.author,
        license=message.license,
        description=message.description,
        inputs=dict(message.inputs),
        outputs=dict(message.outputs),
        labels=tuple(message.labels) or None,
        labels_output=message.labels_output,
    )
