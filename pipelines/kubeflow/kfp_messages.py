"""Imports the messages of a PipelineSpec without kfp's compiler and client, which a step has no use for.

kfp's package imports both unless `_KFP_RUNTIME` is set, as kfp itself sets it in the containers that it runs.
"""

from __future__ import annotations

import importlib
import os

_VARIABLE = '_KFP_RUNTIME'


def import_alone() -> None:
    """Imports `kfp.pipeline_spec`; where kfp is imported already, it changes nothing.

    `from kfp import dsl` works afterwards as before; `kfp.Client` is not there in this process.

    Example:
      >>> import_alone()
      >>> 'kfp.pipeline_spec' in sys.modules
      True
    """
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = 'true'
    try:
        importlib.import_module('kfp.pipeline_spec.pipeline_spec_pb2')
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
