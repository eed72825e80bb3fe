"""`proto.QuantizationAwareTraining` is checked where it is written."""

from __future__ import annotations

from typing import Any

import pytest

from tfx_edge import proto
from tfx_edge.components.core.compression.weights.precisions import FLOAT
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.qat_trainer.options import qat_options


def test_defaults_are_those_of_the_message() -> None:
    options = qat_options(proto.QuantizationAwareTraining())
    assert (options.weight_bits, options.activation_bits, options.overrides) == (8, 8, ())
    assert options.train_ranges
    assert options.preserve_sparsity
    assert options.preserve_clusters


def test_overrides_arrive_in_order() -> None:
    overrides = [{'pattern': 'head', 'float': True}, {'pattern': '.*', 'weight_bits': 8}]
    options = qat_options(proto.QuantizationAwareTraining(overrides=overrides))
    assert options.overrides == (('head', FLOAT), ('.*', 8))


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ({'pattern': '(', 'weight_bits': 8}, r"overrides holds '\(', which is not a regular expression"),
        ({'pattern': 'head'}, "overrides holds a pattern 'head' with no precision"),
        ({'weight_bits': 8}, "overrides holds a pattern '' with no precision"),
        ({'pattern': 'head', 'float': False}, "overrides holds a pattern 'head' with no precision"),
        ({'pattern': 'head', 'weight_bits': 3}, "overrides.weight_bits is 3 for 'head'; expected 8"),
    ],
)
def test_faulty_overrides_are_refused(override: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        qat_options(proto.QuantizationAwareTraining(overrides=[override]))
