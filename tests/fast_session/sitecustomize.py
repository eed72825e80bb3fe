"""What a fast session of the tests may not import.

Python imports a module of this name when it starts, if it finds one: with this folder on PYTHONPATH no process that a
test starts can load TensorFlow, without which nothing is converted, or TFX.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Sequence


class _Refusal(importlib.abc.MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in self._names:
            raise RuntimeError(f'{name} is not for `make test-fast`; give the test the mark slow')


def refuse(*names: str) -> None:
    """From now on the import of one of these packages is an error."""
    sys.meta_path.insert(0, _Refusal(names))


if __name__ == 'sitecustomize':
    refuse('tensorflow', 'tfx')
