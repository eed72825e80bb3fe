"""The server of a page has what is in its table, and nothing else."""

from __future__ import annotations

import http.client
import json
import pathlib
import queue
import urllib.parse
from collections.abc import Iterator

import pytest

from tfx_edge.components.core.devices.page_server import PageServer


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[PageServer]:
    (tmp_path / 'kernels.wasm').write_bytes(b'\0asm')
    (tmp_path / 'secret').write_text('a secret')
    table = {
        'page.html': b'<html>',
        'lib/index.js': b'export {};',
        'lib/kernels.wasm': tmp_path / 'kernels.wasm',
        'job.json': b'{}',
        'model/0': b'TFL3',
    }
    with PageServer(table).running() as running:
        yield running


def _ask(
    server: PageServer, path: str, method: str = 'GET', body: bytes | None = None
) -> http.client.HTTPResponse:
    """Sends a path as it is written; one without a slash in front is below the page's folder."""
    address = urllib.parse.urlsplit(server.address)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    whole = path if path.startswith('/') else address.path.removesuffix('page.html') + path
    connection.request(method, whole, body)
    return connection.getresponse()


@pytest.mark.parametrize(
    ('path', 'mime', 'content'),
    [
        ('page.html', 'text/html; charset=utf-8', b'<html>'),
        ('lib/index.js', 'text/javascript; charset=utf-8', b'export {};'),
        ('lib/kernels.wasm', 'application/wasm', b'\0asm'),
        ('job.json', 'application/json', b'{}'),
        ('model/0', 'application/octet-stream', b'TFL3'),
    ],
)
def test_table_is_served_to_an_isolated_page(
    server: PageServer, path: str, mime: str, content: bytes
) -> None:
    answer = _ask(server, path)
    assert (answer.status, answer.headers['Content-Type'], answer.read()) == (200, mime, content)
    assert answer.headers['Cross-Origin-Opener-Policy'] == 'same-origin'
    assert answer.headers['Cross-Origin-Embedder-Policy'] == 'require-corp'


@pytest.mark.parametrize(
    'path',
    [
        '',
        'lib',
        'lib/',
        'secret',
        'lib/../secret',
        'lib/..%2fsecret',
        '../../../../etc/passwd',
        'lib/../page.html',
        'page.html?x',
        './page.html',
        'result',
        '/',
        '/page.html',
        '/model/0',
        '/etc/passwd',
        '//etc/passwd',
    ],
)
def test_everything_else_is_refused(server: PageServer, path: str) -> None:
    answer = _ask(server, path)
    assert (answer.status, answer.read()) == (404, b'')


def test_result_is_taken_at_its_address_alone(server: PageServer) -> None:
    for path in ('/result', '/guessed/result', 'model/0'):
        assert _ask(server, path, 'POST', b'{"a": 1}').status == 404
    with pytest.raises(queue.Empty):
        server.result(0.01)
    assert _ask(server, 'result', 'POST', json.dumps({'a': 1}).encode()).status == 200
    assert server.result(10) == {'a': 1}


def test_page_that_goes_away_is_seen(server: PageServer) -> None:
    address = urllib.parse.urlsplit(server.address)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    connection.request('GET', address.path.removesuffix('page.html') + 'alive')
    with pytest.raises(queue.Empty):
        server.result(0.3)
    connection.close()
    assert server.result(10) is None


def test_server_is_on_this_host_alone_and_each_has_a_path_of_its_own() -> None:
    with PageServer({}).running() as one, PageServer({}).running() as another:
        first, second = (urllib.parse.urlsplit(server.address) for server in (one, another))
    assert first.hostname == second.hostname == '127.0.0.1'
    assert first.path != second.path
    assert len(first.path) > 20
