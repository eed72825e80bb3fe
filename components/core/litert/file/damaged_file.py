"""Damage that the runtime's verifier lets pass, such as an index beyond the end of a list, raised in one line."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from tfx_edge.components.core.errors import EdgeError


@contextlib.contextmanager
def damage_as_edge_error() -> Iterator[None]:
    """Context manager and decorator for code that follows indices and names of a file of any origin.

    Raises:
      EdgeError: the file contradicts itself.

    Example:
      >>> @damage_as_edge_error()
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
        details = ' '.join(str(error).split()) or 'no details'
        raise EdgeError(
            f'the .tflite file contradicts itself ({type(error).__name__}: {details}); it is damaged: make it again.'
        ) from error
