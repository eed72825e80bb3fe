"""Downloads the files at an object store that a step's parameters name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, MutableMapping

from google.protobuf import struct_pb2

from tfx_edge.pipelines.kubeflow import object_store_files

# Of Trainer, Transform and our components; and the folder of ExampleGen's data, which Beam reads.
_FILES = ('module_file', 'input_base')
# TFX's name for a module in a wheel: 'module@URI of the wheel', which pip is to install.
_PACKAGED = 'module_path'
_REMOTE = ('gs://', *object_store_files.STORES)


@contextlib.contextmanager
def fetched(parameters: MutableMapping[str, struct_pb2.Value], shared: str | None) -> Iterator[None]:
    """Downloads the files of a step's parameters for as long as the step runs, and sets the parameters to their paths.

    Args:
      parameters: of an ExecutorInput; are changed.
      shared: a folder that Beam's workers see too; None if there are none.

    Raises:
      EdgeError: a file is not there, or the store does not answer.
    """
    object_store_files.register()
    with contextlib.ExitStack() as stack:
        for number, name in enumerate(sorted(parameters)):
            before, uri = _remote(name, parameters[name].string_value)
            if uri:
                parent = shared or stack.enter_context(tempfile.TemporaryDirectory(prefix='tfx_edge_'))
                # Two parameters may name files of one name.
                folder = os.path.join(parent, 'files', str(number))
                parameters[name].string_value = before + object_store_files.download(uri, folder)
        yield


def _remote(name: str, value: str) -> tuple[str, str]:
    """What comes before a URI in a parameter, and the URI; '' if there is none to fetch."""
    if name == _PACKAGED and '@' in value:
        module, _, wheel = value.partition('@')
        return f'{module}@', wheel if wheel.startswith(_REMOTE) else ''
    if name in _FILES and object_store_files.is_at_store(value):
        return '', value
    return '', ''
