"""Configuration as Python: what is printed makes the same message."""

from __future__ import annotations

import pytest

from tfx_edge import proto
from tfx_edge.pipelines.tree.as_python import as_python


@pytest.mark.parametrize(
    'message',
    [
        proto.Pruning(),
        proto.Pruning(target_sparsity=0.75, scope='GLOBAL', include=['a', "b'\n"]),
        proto.Pruning(structure={'m_of_n': {'m': 2, 'n': 4}}),
        proto.Pruning(structure={'block': {'height': 4, 'pooling': 'MAX'}}),
        proto.Quantization(mode='INT16X8', for_micro=True),
        proto.QuantizationAwareTraining(overrides=[{'pattern': 'x', 'weight_bits': 4}, {'float': True}]),
        proto.DeploymentTree(selection={'objective': 'CYCLES', 'device': 'web'}, pruning=[{}]),
    ],
)
def test_what_is_printed_makes_the_same_message(message):
    assert eval(as_python(message), {'proto': proto}) == message
