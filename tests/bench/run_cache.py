"""Finished runs of a bench in a folder, from which an interrupted one goes on."""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
from collections.abc import Callable, Mapping


def add_cache_argument(parser: argparse.ArgumentParser) -> None:
    """Lets the user name the folder."""
    parser.add_argument(
        '--cache', type=pathlib.Path, help='folder that keeps finished runs; none: they are not kept'
    )


class Cache:
    """What one seed's runs on one data set left: models that others start from, and figures."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)

    def made(self, name: str, make: Callable[[pathlib.Path], None]) -> pathlib.Path:
        """The folder of this name; where there is none, what `make` writes into it, whole or not at all."""
        target = self.folder / name
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=self.folder) as unfinished:
                draft = pathlib.Path(unfinished) / 'draft'
                draft.mkdir()
                make(draft)
                draft.rename(target)
        return target

    def found(self, name: str) -> dict[str, float] | None:
        """What `keep` kept; None where it did not."""
        if not self._file(name).exists():
            return None
        found: dict[str, float] = json.loads(self._file(name).read_text())
        return found

    def keep(self, name: str, measured: Mapping[str, float]) -> None:
        """Keeps the figures of a finished run, whole or not at all."""
        draft = self._file(name).with_suffix('.draft')
        draft.write_text(json.dumps(measured) + '\n')
        draft.rename(self._file(name))

    def _file(self, name: str) -> pathlib.Path:
        return self.folder / f'{name}.json'
