"""A little web server that has a release for whoever asks, under any path."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Source:
    """It answers every path with the same bytes; as a context manager it leaves nothing behind."""

    def __init__(self) -> None:
        self.release = b""
        self.asked: list[str] = []
        source = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                source.asked.append(self.path)
                release = source.release
                tag = f'"{hashlib.sha256(release).hexdigest()}"'
                known = not release or self.headers["If-None-Match"] == tag
                self.send_response(404 if not release else 304 if known else 200)
                self.send_header("ETag", tag)
                self.send_header("Content-Length", "0" if known else str(len(release)))
                self.end_headers()
                if self.command == "GET" and not known:
                    self.wfile.write(release)

            do_HEAD = do_GET  # noqa: N815 - the standard library's name

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
