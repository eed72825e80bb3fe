"""Counts, in every process of a run: imports of TensorFlow, SavedModels that are loaded, conversions.

Python imports a module of this name when it starts, if its folder is on PYTHONPATH. Each event is a line
`EVENT PID` in the file that COUNTED_IN names.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_CALLS = {
    'tensorflow.python.saved_model.load': ('load', 'load'),
    'tfx_edge.components.core.litert.conversion.saved_model_converter': ('convert_signature', 'conversion'),
}


def _note(event: str) -> None:
    with open(os.environ['COUNTED_IN'], 'a') as file:
        file.write(f'{event} {os.getpid()}\n')


def _counted(function: Callable[..., Any], event: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _note(event)
        return function(*args, **kwargs)

    return call


class _Counting(importlib.abc.Loader):
    """Executes a module, and puts counting functions into it before anyone takes them from there."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == 'tensorflow':
            _note('tensorflow')
        self._loader.exec_module(module)
        if module.__name__ in _CALLS:
            name, event = _CALLS[module.__name__]
            setattr(module, name, _counted(getattr(module, name), event))


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != 'tensorflow' and name not in _CALLS:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = _Counting(spec.loader)
        return spec


if 'COUNTED_IN' in os.environ:
    sys.meta_path.insert(0, _Finder())
