"""What to simulate in training, without what trains, which imports TensorFlow."""

from __future__ import annotations

import dataclasses

from tfx_edge.components.core.dense_scales import PER_CHANNEL


@dataclasses.dataclass(frozen=True)
class QATOptions:
    """What to simulate; the fields of `proto.QuantizationAwareTraining`, with its defaults filled in."""

    train_ranges: bool
    preserve_sparsity: bool
    preserve_clusters: bool
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    weight_bits: int = 8
    activation_bits: int = 8
    # (regular expression, bits of the weights whose variable name matches; 0 for float); the first match applies.
    overrides: tuple[tuple[str, int], ...] = ()
    # Of the file's kernels of fully connected layers: PER_CHANNEL or PER_TENSOR.
    dense_scales: str = PER_CHANNEL
