"""The float `.tflite` file of the model that comes in: what cannot become one is refused before anything is trained."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.float_files import FloatFiles
from tfx_edge.components.core.signature import Signature


@contextlib.contextmanager
def converted_beside(
    files: FloatFiles, saved_model_dir: str, signature: Signature, unless: str = ''
) -> Iterator[Callable[[], bytes]]:
    """Converts a model while what stands within is done; leaves when the conversion has ended.

    Args:
      files: takes the file.
      saved_model_dir: the folder of the SavedModel.
      signature: of `choose_signature`.
      unless: the field that is to be set where no file is wanted; '' where one is needed in any case.

    Yields:
      A function that waits for the file and returns it; it raises an EdgeError where there is none.

    Example:
      >>> with converted_beside(files, folder, signature, 'Pruning.saved_model_only') as file:
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
