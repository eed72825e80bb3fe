"""A web server on this host alone, for one page: it has a fixed table of files, and takes one result."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import queue
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES = {
    '.html': 'text/html; charset=utf-8',
    '.js': 'text/javascript; charset=utf-8',
    '.json': 'application/json',
    '.wasm': 'application/wasm',
}
# With these a page is isolated from others, and the browser gives it a clock of 5 microseconds instead of 100.
_ISOLATION = {
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Embedder-Policy': 'require-corp',
}
PAGE, ALIVE, RESULT = 'page.html', 'alive', 'result'


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that is ended breaks its connections.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class PageServer:
    """Serves what is in its table, under a path that nobody can guess.

    Attributes:
      address: of the page. All other addresses are relative to it: those of the table, ALIVE, which is never answered,
        and RESULT, which takes JSON.

    Args:
      table: contents, or files that hold them, by address.
    """

    def __init__(self, table: Mapping[str, bytes | pathlib.Path]) -> None:
        self._root = f'/{secrets.token_urlsafe(16)}/'
        self._table = {self._root + name: content for name, content in table.items()}
        self._results: queue.Queue[Any] = queue.Queue()
        self._server = _Server(('127.0.0.1', 0), self._handler())
        self.address = f'http://127.0.0.1:{self._server.server_port}{self._root}{PAGE}'

    @contextlib.contextmanager
    def running(self) -> Iterator[PageServer]:
        """Answers requests in threads of its own."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def result(self, timeout_seconds: float) -> Any:
        """What the page posted.

        Args:
          timeout_seconds: how long to wait for it.

        Returns:
          Its content; None where the page went away without one.

        Raises:
          queue.Empty: the page is still at work, or was never asked for.
        """
        return self._results.get(timeout=timeout_seconds)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        root, table, results = self._root, self._table, self._results

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self) -> None:
                if self.path == root + ALIVE:
                    # The other side writes nothing more: this returns when its connection ends.
                    with contextlib.suppress(ConnectionError):
                        self.connection.recv(1)
                    self.close_connection = True
                    results.put(None)
                elif self.path in table:
                    content = table[self.path]
                    data = content.read_bytes() if isinstance(content, pathlib.Path) else content
                    self._answer(200, data, _TYPES.get(pathlib.PurePosixPath(self.path).suffix))
                else:
                    self._answer(404)

            def do_POST(self) -> None:
                if self.path != root + RESULT:
                    self.close_connection = True
                    self._answer(404)
                    return
                results.put(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
                self._answer(200)

            def _answer(self, status: int, data: bytes = b'', mime: str | None = None) -> None:
                self.send_response(status)
                self.send_header('Content-Type', mime or 'application/octet-stream')
                self.send_header('Content-Length', str(len(data)))
                self.send_header('Cache-Control', 'no-store')
                for name, value in _ISOLATION.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *arguments: object) -> None:
                """Requests are not logged."""

        return Handler
