"""Converts the incoming model to a float `.tflite` file, so that one that cannot be converted is never trained."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.float_files import FloatFiles
from tfx_edge.components.core.signature import Signature


@contextlib.contextmanager
def converting_meanwhile(
    files: FloatFiles, saved_model_dir: str, signature: Signature, unless: str = ''
) -> Iterator[Callable[[], bytes]]:
    """Converts a model while the `with` block runs; the end of the block waits for the conversion.

    Args:
      files: keeps the file.
      saved_model_dir: the folder of the SavedModel.
      signature: of `choose_signature`.
      unless: the field that switches the conversion off, for the error; '' where the file is always needed.

    Yields:
      A function that waits for the file and returns it; it raises an EdgeError where there is none.

    Example:
      >>> with converting_meanwhile(files, folder, signature, 'Pruning.saved_model_only') as file:
      ...   graph = ServingGraph(folder, signature)
      ...   file()
    """
    # The conversion has a process of its own; the thread only waits for it.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        conversion = pool.submit(files.convert, saved_model_dir, signature)

        def file() -> bytes:
            try:
                return conversion.result()
            except EdgeError as error:
                if not unless:
                    raise
                raise EdgeError(
                    f'{error} Where the SavedModel is all that is wanted, set {unless}.'
                ) from None

        yield file
