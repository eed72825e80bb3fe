"""`proto.QuantizationAwareTraining` as the options of the training, each value checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from tfx_edge import proto
from tfx_edge.components.core.compression.qat_options import QATOptions
from tfx_edge.components.core.compression.weights.precisions import FLOAT
from tfx_edge.components.core.dense_scales import DENSE_SCALES
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.post_training.bound import Bound
from tfx_edge.components.tfx_interface.exec_properties import (
    field_name,
    require,
    require_patterns,
    require_supported,
)
from tfx_edge.components.tfx_interface.keys import EXAMPLES
from tfx_edge.components.training.configuration import Configuration
from tfx_edge.components.training.parameter_check import check_training_parameters

QAT = Configuration('qat', proto.QuantizationAwareTraining, trains_ranges=True)

_WEIGHT_BITS = (4, 8)


def qat_options(message: proto.QuantizationAwareTraining) -> QATOptions:
    """Checks a message and fills in its defaults.

    Raises:
      EdgeError: a value is out of range, or not supported by this version.
    """
    require(message, 'weight_bits', lambda v: v in _WEIGHT_BITS, '8 or 4')
    require(message, 'activation_bits', lambda v: v in (8, 16), '8 or 16')
    overrides = _overrides(message)
    if message.activation_bits == 16 and 4 in (message.weight_bits, *(bits for _, bits in overrides)):
        raise EdgeError(
            f'{field_name(message, "activation_bits")} is 16 and weights are to have 4 bits, which LiteRT has no '
            'kernels for. Set weight_bits to 8, or activation_bits to 8.'
        )
    return QATOptions(
        train_ranges=message.train_ranges,
        preserve_sparsity=message.preserve_sparsity,
        preserve_clusters=message.preserve_clusters,
        include=require_patterns(message, 'include'),
        exclude=require_patterns(message, 'exclude'),
        weight_bits=message.weight_bits,
        activation_bits=message.activation_bits,
        overrides=overrides,
        dense_scales=require_supported(message, 'dense_scales', DENSE_SCALES),
    )


def fidelity_bound(message: proto.QuantizationAwareTraining, *, examples: bool) -> Bound:
    """The fidelity that the trained file has to reach.

    Raises:
      EdgeError: a value is out of range, or fidelity is required and there are no examples to measure it on.
    """
    if message.require_fidelity and not examples:
        raise EdgeError(
            f'{field_name(message, "require_fidelity")} needs examples to measure on; give examples.'
        )
    return Bound(
        min_db=require(message, 'min_fidelity_db', lambda db: -100 <= db <= 100, 'between -100 and 100'),
        repair=message.repair_fidelity,
        required=message.require_fidelity,
    )


def check_parameters(properties: Mapping[str, Any], inputs: Collection[str]) -> None:
    """Refuses what the executor would refuse of the parameters alone; see `check_training_parameters`."""

    def check(message: proto.QuantizationAwareTraining) -> None:
        qat_options(message)
        fidelity_bound(message, examples=EXAMPLES in inputs)

    check_training_parameters(QAT, check, properties, inputs)


def _overrides(message: proto.QuantizationAwareTraining) -> tuple[tuple[str, int], ...]:
    name = field_name(message, 'overrides')
    overrides = []
    for override in message.overrides:
        try:
            re.compile(override.pattern)
        except re.error as error:
            raise EdgeError(
                f'{name} holds {override.pattern!r}, which is not a regular expression ({error}); correct it.'
            ) from error
        precision = override.WhichOneof('precision')
        if precision is None or not override.pattern or (precision == 'float' and not override.float):
            raise EdgeError(
                f'{name} holds a pattern {override.pattern!r} with no precision; expected a pattern, and weight_bits '
                'or float: true. Complete it.'
            )
        if precision == 'weight_bits' and override.weight_bits not in _WEIGHT_BITS:
            raise EdgeError(
                f'{name}.weight_bits is {override.weight_bits} for {override.pattern!r}; expected 8 or 4.'
            )
        overrides.append((override.pattern, FLOAT if precision == 'float' else int(override.weight_bits)))
    return tuple(overrides)
