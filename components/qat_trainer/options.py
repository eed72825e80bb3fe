"""`proto.QuantizationAwareTraining` as the options of the training, each value checked."""

from __future__ import annotations

from tfx_edge import proto
from tfx_edge.components.core.compression.quantization_aware_training import QATOptions
from tfx_edge.components.exec_properties import require, require_patterns, require_unset


def qat_options(message: proto.QuantizationAwareTraining) -> QATOptions:
    """Checks a message and fills in its defaults.

    Raises:
      EdgeError: a value is out of range, or not supported by this version.
    """
    require(message, 'weight_bits', lambda v: v == 8, '8, the only one this version supports')
    require(message, 'activation_bits', lambda v: v == 8, '8, the only one this version supports')
    require_unset(message, 'overrides')
    return QATOptions(
        train_ranges=message.train_ranges,
        preserve_sparsity=message.preserve_sparsity,
        preserve_clusters=message.preserve_clusters,
        include=require_patterns(message, 'include'),
        exclude=require_patterns(message, 'exclude'),
    )
