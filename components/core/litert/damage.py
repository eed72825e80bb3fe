"""Damage that the runtime's verifier lets pass, such as an index beyond the end of a list, told in one line."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from tfx_edge.components.core.errors import EdgeError


@contextlib.contextmanager
def told_as_edge_error() -> Iterator[None]:
    """Around code, or a function, that follows the indices and names of a file which may come from anywhere.

    Raises:
      EdgeError: the file contradicts itself.

    Example:
      >>> @told_as_edge_error()
      ... def first_tensor(content): return content.subgraphs[0].tensors[0]
    """
    try:
        yield
    except EdgeError:
        raise
    except (
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        MemoryError,
        struct.error,
    ) as error:
        told = ' '.join(str(error).split()) or 'no details'
        raise EdgeError(
            f'the .tflite file contradicts itself ({type(error).__name__}: {told}); it is damaged: make it again.'
        ) from error
