"""Servers of socketserver, and handlers of http.server that know when to leave a connection."""

from __future__ import annotations

import contextlib
import math
import select
import socketserver
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from overseer.errors import ConfigError
from overseer.serve.silence import end_silent
from overseer.serve.starting import ready

if TYPE_CHECKING:
    from overseer.program.state import State

_STEP = 0.05
"""Seconds between two looks at a connection of a generation that drains."""


def run(server: socketserver.BaseServer, state: State, *, linger: float) -> None:
    """See `overseer.serve.socketserver`."""
    if len(state.listeners) != 1:
        raise ConfigError("addresses", "one server of socketserver serves one address")
    if isinstance(server, socketserver.ThreadingMixIn):
        server.daemon_threads, server.block_on_close = False, True
    handler: Any = server.RequestHandlerClass
    if isinstance(handler, type) and issubclass(handler, BaseHTTPRequestHandler):
        server.RequestHandlerClass = _leaving(handler, state, linger)
    server.socket.close()  # type: ignore[attr-defined]
    server.socket = state.listener  # type: ignore[attr-defined]
    state.on_drain(lambda: _in_a_thread(server.shutdown))
    ready(state)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


def _in_a_thread(work: Any) -> None:
    """Do it where nobody waits for it: the loop of a server without threads ends behind its request.

    The thread that tells of a drain hears what the master says meanwhile, as that the whole service stops.
    """
    threading.Thread(target=work, name="overseer-leave", daemon=True).start()


def _leaving(kind: type[BaseHTTPRequestHandler], state: State, linger: float) -> type[BaseHTTPRequestHandler]:
    """Return the same handler, which knows when to leave a connection that is kept, or silent.

    Its own timeout is for silence between two requests as well, as without us.
    """

    class Leaving(kind):  # type: ignore[misc, valid-type]
        _is_last = _may_be_last = False

        def send_response_only(self, code: int, message: str | None = None) -> None:
            self._may_be_last = code >= 200
            super().send_response_only(code, message)

        def end_headers(self) -> None:
            if state.draining and self._may_be_last and not _is_more_read(self):
                self._is_last = True
                self.send_header("Connection", "close")
            super().end_headers()

        def handle_one_request(self) -> None:
            if self._is_last or not (_is_more_read(self) or _asks(self.connection, state, linger)):
                self.close_connection = True
                return
            super().handle_one_request()

    return Leaving


def _is_more_read(handler: Any) -> bool:
    """Whether something has come behind the last request, and lies where the kernel does not see it."""
    if not hasattr(handler.rfile, "peek"):  # it is not buffered
        return False
    patience = handler.connection.gettimeout()
    handler.connection.settimeout(0)
    try:
        return bool(handler.rfile.peek(1))
    except ssl.SSLWantReadError:
        return False
    finally:
        handler.connection.settimeout(patience)


def _asks(connection: Any, state: State, linger: float) -> bool:
    """Wait until a client says something; return whether it has, within its handler's patience and ours."""
    own = connection.gettimeout()
    ends = time.monotonic() + own if own is not None else math.inf
    lingers: float | None = None
    while True:
        now = time.monotonic()
        wait = select.poll()
        wait.register(connection, select.POLLIN)
        if not state.draining:
            wait.register(state.draining.fileno(), select.POLLIN)
        elif lingers is None:
            lingers = now + linger
        until = ends if lingers is None else min(ends, lingers)
        found = dict(wait.poll(max(_STEP, until - now) * 1000 if until < math.inf else None))
        if connection.fileno() in found:
            return True
        if time.monotonic() >= until:
            with contextlib.suppress(OSError):
                if end_silent(connection):
                    return False
