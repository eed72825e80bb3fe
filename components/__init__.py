"""The components; each loads on first use, since TFX takes many seconds to import."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx_edge.components.clusterer.component import Clusterer
    from tfx_edge.components.edge_evaluator.component import EdgeEvaluator
    from tfx_edge.components.edge_selector.component import EdgeSelector
    from tfx_edge.components.pruner.component import Pruner
    from tfx_edge.components.qat_trainer.component import QATTrainer
    from tfx_edge.components.tflite_quantizer.component import TFLiteQuantizer

__all__ = ['Clusterer', 'EdgeEvaluator', 'EdgeSelector', 'Pruner', 'QATTrainer', 'TFLiteQuantizer']

_FOLDERS = {
    'Clusterer': 'clusterer',
    'EdgeEvaluator': 'edge_evaluator',
    'EdgeSelector': 'edge_selector',
    'Pruner': 'pruner',
    'QATTrainer': 'qat_trainer',
    'TFLiteQuantizer': 'tflite_quantizer',
}


def __getattr__(name: str) -> Any:
    if name in _FOLDERS:
        return getattr(importlib.import_module(f'{__name__}.{_FOLDERS[name]}.component'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
