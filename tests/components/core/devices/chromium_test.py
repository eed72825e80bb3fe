"""Which browser and which LiteRT.js are taken, and what a browser that misbehaves comes to; none is needed here."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Iterator

import pytest

from tests.components.core.devices.browser_processes import Browsers, short_folder
from tests.golden import files as golden
from tfx_edge.components.core.devices import chromium, litert_js, web
from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure

FILE = golden.float_model('small')


@pytest.fixture
def library(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A package that looks like LiteRT.js."""
    folder = tmp_path / 'node_modules' / '@litertjs' / 'core'
    _package(folder, '@litertjs/core', '9.9.9', {'@litertjs/wasm-utils': '^9.9.9'})
    _package(tmp_path / 'node_modules' / '@litertjs' / 'wasm-utils', '@litertjs/wasm-utils', '9.9.9')
    (folder / 'wasm').mkdir()
    (folder / 'wasm' / 'kernels.wasm').write_bytes(b'wasm')
    monkeypatch.setenv(litert_js.VARIABLE, str(folder))
    return folder


@pytest.fixture
def browsers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browsers]:
    """What the scripts of `_program` start."""
    with short_folder(monkeypatch) as temporary:
        yield Browsers('Chromium 9.8.7', tmp_path / 'started', temporary)


def _package(
    folder: pathlib.Path, name: str, version: str, dependencies: dict[str, str] | None = None
) -> None:
    (folder / 'dist').mkdir(parents=True)
    (folder / 'dist' / 'index.js').write_text('export {};')
    about = {'name': name, 'version': version, 'main': './dist/index.js', 'dependencies': dependencies or {}}
    (folder / 'package.json').write_text(json.dumps(about))


def _program(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A browser that says its version, and does something else with a page."""
    program = folder / 'browser'
    program.write_text(
        f'#!/bin/sh\ntest "$1" = --version && echo Chromium 9.8.7 of nobody && exit\n'
        f'echo $$ >>{folder}/started\n{body}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv(chromium.VARIABLE, str(program))


@pytest.mark.usefixtures('library')
@pytest.mark.parametrize(
    'body', [None, 'echo "install the snap: snap install chromium"; exit 1', 'echo KubeVela 1.9']
)
def test_no_chromium_is_absent_with_the_remedy(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, body: str | None
) -> None:
    place = tmp_path / 'bin' / 'chromium'
    place.parent.mkdir()
    if body:
        place.write_text(f'#!/bin/sh\n{body}\n')
        place.chmod(0o755)
    monkeypatch.setenv(chromium.VARIABLE, str(place))
    costs = web.profile(FILE)
    assert costs == DeviceCosts('web', absent=costs.absent)
    assert costs.absent == (
        f'Chromium: TFX_EDGE_CHROMIUM names {place}, where it is not; run `apt-get install chromium`, '
        'or set TFX_EDGE_CHROMIUM to the path of Chromium or Chrome'
    )
    monkeypatch.delenv(chromium.VARIABLE)
    monkeypatch.setenv('PATH', str(place.parent))
    assert web.profile(FILE).absent.startswith(
        'Chromium: it is not installed; run `apt-get install chromium`'
    )
    pair = web.profile_pair(FILE, FILE)
    assert pair.costs == pair.baseline == web.profile(FILE)
    with pytest.raises(EdgeError, match='cannot be run in a browser: Chromium: it is not installed'):
        web.answers(FILE, {})


def test_no_litert_js_is_absent_with_the_remedy(
    tmp_path: pathlib.Path, library: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path, monkeypatch, 'exit 1')
    remedy = 'run `npm install --global @litertjs/core@2.5.3`, or set TFX_EDGE_LITERT_JS to the folder of the package'
    monkeypatch.setenv(litert_js.VARIABLE, str(tmp_path / 'nowhere'))
    absent = web.profile(FILE).absent
    assert absent == f'LiteRT.js: TFX_EDGE_LITERT_JS names {tmp_path / "nowhere"}, where it is not; {remedy}'
    monkeypatch.delenv(litert_js.VARIABLE)
    monkeypatch.setenv('PATH', str(tmp_path / 'empty'))
    monkeypatch.chdir(library)
    assert web.profile(FILE).absent == f'LiteRT.js: it is not installed; {remedy}'
    monkeypatch.chdir(tmp_path)
    assert litert_js.find().tool == '@litertjs/core 9.9.9'
    (library.parent / 'wasm-utils' / 'package.json').unlink()
    absent = web.profile(FILE).absent
    assert absent.startswith(f'LiteRT.js: {library} does not hold the whole package (')
    assert '@litertjs/wasm-utils is missing' in absent


def test_modules_are_found_where_node_finds_them(library: pathlib.Path) -> None:
    found = litert_js.find()
    assert found.imports == {
        '@litertjs/core': './@litertjs/core/dist/index.js',
        '@litertjs/wasm-utils': './@litertjs/wasm-utils/dist/index.js',
    }
    assert found.files == {
        '@litertjs/core/dist/index.js': library / 'dist' / 'index.js',
        '@litertjs/core/wasm/kernels.wasm': library / 'wasm' / 'kernels.wasm',
        '@litertjs/wasm-utils/dist/index.js': library.parent / 'wasm-utils' / 'dist' / 'index.js',
    }


@pytest.mark.usefixtures('library')
def test_browser_that_hangs_is_ended_with_its_children(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, browsers: Browsers
) -> None:
    _program(tmp_path, monkeypatch, "trap '' TERM; sleep 300 & sleep 300")
    with pytest.raises(
        EnvironmentFailure, match=r'^@litertjs/core 9\.9\.9, Chromium 9\.8\.7 did not run .* 0\.5 s'
    ):
        web.profile(FILE, timeout_seconds=0.5)
    assert len(browsers.started()) == 1
    assert browsers.left() == []
    assert browsers.temporary_files() == []


@pytest.mark.usefixtures('library')
@pytest.mark.parametrize(
    ('body', 'said'),
    [
        ('kill -KILL $$', r'\(SIGKILL\); the system ends processes that take too much memory'),
        (
            'echo "[1:FATAL:a.cc] No usable sandbox!" >&2; echo a trace >&2; exit 1',
            r'\(exit status 1: \[1:FATAL:a.cc\] No usable sandbox!\); set TFX_EDGE_CHROMIUM to another one',
        ),
        ('echo "write: No space left on device" >&2; exit 1', '.*No space left on device.*; free space on'),
        ('exit 0', r'\(exit status 0\); set TFX_EDGE_CHROMIUM to another one'),
    ],
)
def test_end_of_the_browser_is_reported_at_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, browsers: Browsers, body: str, said: str
) -> None:
    _program(tmp_path, monkeypatch, body)
    start = time.monotonic()
    with pytest.raises(EnvironmentFailure, match=f'ended before the page answered {said}') as failure:
        web.profile(FILE)
    assert time.monotonic() - start < 30
    assert '\n' not in str(failure.value)
    assert browsers.temporary_files() == []


@pytest.mark.usefixtures('library')
def test_address_of_the_page_is_not_in_the_command_line(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path, monkeypatch, f'echo "$@" >{tmp_path}/arguments; cat <&3 >{tmp_path}/asked')
    with pytest.raises(EnvironmentFailure, match='did not run'):
        web.profile(FILE, timeout_seconds=1)
    asked = json.loads((tmp_path / 'asked').read_bytes().rstrip(b'\0'))
    assert asked['params']['url'].startswith('http://127.0.0.1:')
    assert '127.0.0.1:' not in (tmp_path / 'arguments').read_text()


def test_damaged_file_is_an_edge_error_with_and_without_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(chromium.VARIABLE, '/nowhere')
    for run in (web.profile, lambda data: web.profile_pair(FILE, data), lambda data: web.answers(data, {})):
        with pytest.raises(EdgeError, match='cannot be loaded'):
            run(FILE[:900])
