"""The standard library's servers: streams of asyncio, and socketserver."""

from __future__ import annotations

import asyncio
import contextlib
import math
import select
import socketserver
import ssl
import time
import weakref
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from overseer.errors import ConfigError
from overseer.serve.accepting import stop_accepting
from overseer.serve.closing import Closing, end_soon
from overseer.serve.silence import end_silent
from overseer.serve.starting import ready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overseer.program.state import State

_STEP = 0.05
"""Seconds between two looks at the connections of a generation that drains."""
_HANDSHAKE = 5.0
"""Seconds that who was accepted before has for shaking hands."""


async def serve_streams(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    state: State,
    options: dict[str, Any],
) -> None:
    """See `overseer.serve.asyncio`."""
    loop = asyncio.get_running_loop()
    open_ones: set[_Arriving] = set()
    tasks: set[asyncio.Task[None]] = set()
    arriving: weakref.WeakSet[_Arriving] = weakref.WeakSet()
    limit = {"limit": options.pop("limit")} if "limit" in options else {}
    tls = options.get("ssl")
    closing = Closing(tls, options.pop("ssl_shutdown_timeout", None) if tls else None)

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await handler(reader, writer)
        finally:
            tasks.discard(task)
            if not writer.is_closing():
                writer.close()

    def make() -> _Arriving:
        one = _Arriving(asyncio.StreamReader(**limit, loop=loop), attend, loop=loop)
        one.arriving, one.open_ones, one.closing = arriving, open_ones, closing
        arriving.add(one)
        return one

    options |= closing.options
    servers = [await loop.create_server(make, sock=sock, **options) for sock in state.listeners]
    ready(state)
    await state.draining
    stop_accepting(servers)
    patience = loop.time() + _HANDSHAKE
    while True:
        await asyncio.sleep(_STEP)  # first of all: who was accepted a moment ago becomes a task now
        for one in open_ones:
            one.end_if_left()
        if not (open_ones or tasks) and (not arriving or loop.time() >= patience):
            break
    for server in servers:
        server.close()


class _Arriving(asyncio.StreamReaderProtocol):
    """A connection that is known from its acceptance on, and not only when it has shaken hands for TLS.

    It is open until its client has got all that was written, which may be long after its handler has ended.
    """

    arriving: weakref.WeakSet[_Arriving]
    open_ones: set[_Arriving]
    closing: Closing
    _made: asyncio.BaseTransport
    _sock: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Arrive."""
        self.arriving.discard(self)
        self.open_ones.add(self)
        self._made, self._sock = transport, transport.get_extra_info("socket")
        self.closing.watch(self, transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Be over."""
        self.open_ones.discard(self)
        self.closing.forget(self)
        super().connection_lost(exc)

    def end_if_left(self) -> None:
        """Do not wait for ever for a client that does not look at what has been closed."""
        if self._sock and self.closing.options and self._made.is_closing():
            end_soon(self._made, self._sock)
            self._sock = None


def serve_standard(server: socketserver.BaseServer, state: State, *, linger: float) -> None:
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
    state.on_drain(server.shutdown)
    ready(state)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


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
