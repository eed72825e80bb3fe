"""Whether two float files are the same but for the last bits of their constants, which processors round differently."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer

# Of the largest value of a constant: a square root's reciprocal differs in its last bits between processors.
_TOLERANCE = 1e-6


def assert_same_but_for_rounding(made: bytes, golden: bytes) -> None:
    """Raises AssertionError where two files differ in more than the last bits of float32 constants."""
    if made == golden:
        return
    files = flatbuffer.read(made), flatbuffer.read(golden)
    for graph, wanted in zip(*(file.subgraphs for file in files), strict=True):
        for tensor, like in zip(graph.tensors, wanted.tensors, strict=True):
            found, expected = flatbuffer.constant(files[0], tensor), flatbuffer.constant(files[1], like)
            if expected is None or expected.dtype != np.float32 or not expected.size:
                continue
            assert found is not None
            limit = _TOLERANCE * float(np.abs(expected).max())
            np.testing.assert_allclose(found, expected, rtol=0, atol=limit, err_msg=str(like.name))
            files[0].buffers[tensor.buffer].data = files[1].buffers[like.buffer].data
    # With these constants, the rest is the same to the last byte.
    assert flatbuffer.write(files[0]) == flatbuffer.write(files[1])
