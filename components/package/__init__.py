"""TFX components that make models small and fast for edge devices.

The components are in `tfx_edge.components`, their configuration messages in `tfx_edge.proto`, whole
pipelines in `tfx_edge.pipelines`. The artifact types stand here because Kubeflow imports a type by
its name, `tfx_edge.Calibration`; they load on first use, since TFX's types take seconds to import.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

__version__ = importlib.metadata.version('tfx-edge')

_ARTIFACT_TYPES = ('Calibration', 'EdgeEvaluation', 'Selection')


def __getattr__(name: str) -> Any:
    if name in _ARTIFACT_TYPES:
        from tfx_edge.components.tfx_interface import artifact_types

        return getattr(artifact_types, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
