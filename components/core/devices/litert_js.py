"""The installed package of LiteRT.js: its version, and the files that a page needs of it.

Its modules import others by the names of their packages, which a browser looks up in an import map.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import posixpath
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from tfx_edge.components.core.devices.absent_tool import AbsentTool

VARIABLE = 'TFX_EDGE_LITERT_JS'

_PACKAGE = '@litertjs/core'
_REMEDY = f'run `npm install --global {_PACKAGE}@2.5.3`, or set {VARIABLE} to the folder of the package'
_TIMEOUT_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class LiteRTJS:
    """What a page needs.

    Attributes:
      tool: name and version, such as '@litertjs/core 2.5.3'.
      library: address of its main module, relative to the page.
      wasm: address of the folder of its compiled kernels, likewise.
      imports: addresses of main modules by the packages' names: an import map.
      files: by their addresses.
    """

    tool: str
    library: str
    wasm: str
    imports: Mapping[str, str]
    files: Mapping[str, pathlib.Path]


def find() -> LiteRTJS:
    """The package in the folder that TFX_EDGE_LITERT_JS names; without it npm's global one, or ./node_modules.

    Raises:
      AbsentTool: there is none, or a package that it imports is missing.

    Example:
      ```
      litert_js.find().tool  # '@litertjs/core 2.5.3'
      ```
    """
    named = os.environ.get(VARIABLE)
    folders = [pathlib.Path(named)] if named else _usual_folders()
    for folder in folders:
        if (folder / 'package.json').is_file():
            return _read(folder.resolve())
    where = f'{VARIABLE} names {named}, where it is not' if named else 'it is not installed'
    raise AbsentTool(f'LiteRT.js: {where}; {_REMEDY}')


def _usual_folders() -> Iterator[pathlib.Path]:
    npm = shutil.which('npm')
    if npm:
        command = [npm, 'root', '--global']
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AbsentTool(
                f'LiteRT.js: npm does not say where its packages are ({error}); {_REMEDY}'
            ) from None
        if done.returncode == 0:
            yield pathlib.Path(done.stdout.strip()) / _PACKAGE
    yield pathlib.Path('node_modules') / _PACKAGE


def _read(folder: pathlib.Path) -> LiteRTJS:
    try:
        packages = _with_dependencies(folder)
        about = _about(folder)
        files = {
            f'{name}/{path.relative_to(place).as_posix()}': path
            for name, place in packages.items()
            for path in (place / _main(place)).parent.glob('*.js')
        }
        files |= {f'{_PACKAGE}/wasm/{path.name}': path for path in (folder / 'wasm').iterdir()}
        imports = {name: f'./{name}/{_main(place)}' for name, place in packages.items()}
        tool = f'{about["name"]} {about["version"]}'
    except (OSError, ValueError, KeyError) as error:
        reason = ' '.join(str(error).split())
        raise AbsentTool(
            f'LiteRT.js: {folder} does not hold the whole package ({reason}); {_REMEDY}'
        ) from None
    return LiteRTJS(tool, _PACKAGE, f'{_PACKAGE}/wasm/', imports, files)


def _with_dependencies(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The folders of the package and of all that it imports, by name."""
    found, open_ones = {}, [(_PACKAGE, folder)]
    while open_ones:
        name, place = open_ones.pop()
        found[name] = place
        open_ones += [
            (other, _dependency(place, other))
            for other in _about(place).get('dependencies', {})
            if other not in found
        ]
    return found


def _dependency(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Where Node.js looks for a package that one in `folder` imports."""
    for parent in (folder, *folder.parents):
        place = parent / 'node_modules' / name
        if (place / 'package.json').is_file():
            return place
    raise KeyError(f'{name} is missing')


def _main(folder: pathlib.Path) -> str:
    return posixpath.normpath(str(_about(folder)['main']))


def _about(folder: pathlib.Path) -> Mapping[str, Any]:
    about: Mapping[str, Any] = json.loads((folder / 'package.json').read_text('utf-8'))
    return about
