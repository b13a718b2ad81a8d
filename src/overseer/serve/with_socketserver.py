"""Servers of socketserver, and handlers of http.server that know when to leave a connection."""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections import deque
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from overseer.errors import ConfigError
from overseer.serve.handing import Handing
from overseer.serve.silence import end_silent
from overseer.serve.starting import ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from overseer.program.state import State

_STEP = 0.05
"""Seconds between two looks at a connection of a generation that drains."""


def run(server: socketserver.BaseServer, state: State, *, linger: float) -> None:
    """See `overseer.serve.socketserver`."""
    if len(state.listeners) != 1:
        raise ConfigError("addresses", "one server of socketserver serves one address")
    if isinstance(server, socketserver.ThreadingMixIn):
        server.daemon_threads, server.block_on_close = False, True
    _Serving(server, state, linger).run()


class _Serving:
    """One generation of a server, and the connections on which nothing is under way.

    What was handed over comes out of the server's own `get_request`, as if it had just been accepted. So it
    is in the server's own thread that it is looked at (`verify_request`) and given a thread of its own, or
    waits until the one before is done where there are none.
    """

    def __init__(self, server: Any, state: State, linger: float) -> None:
        self.state = state
        self.linger = linger
        self._server = server
        self._handing = Handing(state, self._take)
        self._lock = threading.RLock()  # a connection has a thread, and `Handing` is asked by one at a time
        self._handed: deque[socket.socket] = deque()
        self._bell = -1
        self._is_leaving = False

    def run(self) -> None:
        """Serve until the program drains and everybody has been answered."""
        server = self._server
        handler = server.RequestHandlerClass
        kind: Any = handler.func if isinstance(handler, partial) else handler
        speaks_http = isinstance(kind, type) and issubclass(kind, BaseHTTPRequestHandler)
        if speaks_http:
            leaving: Any = _leaving(kind, self)
            if isinstance(handler, partial):  # as the standard library itself has it, for a directory
                leaving = partial(leaving, *handler.args, **handler.keywords)
            server.RequestHandlerClass = leaving
        tls = _tls_of(server)
        server.socket.close()
        server.socket = self.state.listener
        if tls:
            server.get_request = partial(_get_shielded, server.get_request, tls)
        if speaks_http and _serves_what_it_accepts(server):
            self._open()
        self.state.on_drain(self._leave)
        ready(self.state)
        server.serve_forever(poll_interval=0.1)
        if self.state.draining:
            self._let_come()
        server.server_close()  # its threads are waited for, and still hand over
        if self.state.draining:
            self._let_come()
        with self._lock:
            self._handing.close()

    def _open(self) -> None:
        """Have the server's loop wait for what is handed over, too, and not block in `accept` meanwhile."""
        server = self._server
        server.socket.settimeout(0)
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        wait = select.epoll()
        for fd in (server.socket.fileno(), self._bell):
            wait.register(fd, select.EPOLLIN)
        server.fileno = wait.fileno
        server.get_request = partial(self._get_request, server.get_request)
        self._handing.open()

    def _take(self, sock: socket.socket) -> None:
        """Take a connection that another generation had; called in a thread of overseer's."""
        self._handed.append(sock)
        os.eventfd_write(self._bell, 1)

    def _get_request(self, accept: Callable[[], Any]) -> tuple[socket.socket, Any]:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        try:
            sock = self._handed.popleft()
        except IndexError:
            return accept()  # type: ignore[no-any-return]
        try:
            sock.setblocking(True)  # the last one may have had other ways, and both have the same flags
            return sock, sock.getpeername()
        except OSError:  # its client has gone
            sock.close()
            raise

    def _leave(self) -> None:
        """Accept no more.

        The end of the loop is not waited for here: a server without threads may be held by a request, and
        this thread hears what the master says meanwhile. Who waits behind that request need not, either.
        """
        self._begin_to_hand()
        for work in (self._server.shutdown, self._hand_waiting):
            threading.Thread(target=work, name="overseer-leave", daemon=True).start()

    def _begin_to_hand(self) -> None:
        """Look out for an heir: whoever sees first that this generation drains, as a connection's thread."""
        with self._lock:
            if not self._is_leaving:
                self._is_leaving = True
                self._handing.begin()

    def _hand_waiting(self) -> None:
        while not self._is_over:
            self._part_with_waiting()
            time.sleep(_STEP)

    def _let_come(self) -> None:
        """Serve those who have come at the last moment, if they are nobody else's."""
        while not self._is_over:
            self._part_with_waiting()
            with self._lock:
                hopes = self._handing.hopes
            for _ in range(0 if hopes else len(self._handed)):
                self._server._handle_request_noblock()  # noqa: SLF001 - what its own loop calls
            time.sleep(_STEP)

    @property
    def _is_over(self) -> bool:
        """Whether nobody waits any more, and nobody will."""
        with self._lock:
            return self._handing.is_over and not self._handed

    def _part_with_waiting(self) -> None:
        with self._lock, contextlib.suppress(IndexError):  # the loop of the server takes from them as well
            for _ in range(len(self._handed)):
                sock = self._handed.popleft()
                if self.part(sock):
                    sock.close()
                else:
                    self._handed.append(sock)

    def part(self, sock: Any) -> bool:
        """Hand a connection over of which nothing was read, or else say its end; return whether that is done.

        One that is handed over is closed here without a word, also if it is shut down afterwards. Others
        than plain ones, as under TLS, are more than a descriptor.
        """
        self._begin_to_hand()
        with self._lock:
            if type(sock) is socket.socket and self._handing.hopes:
                handed = self._handing.hand(sock)
                if handed:
                    os.close(sock.detach())
                return handed
        with contextlib.suppress(OSError):
            return end_silent(sock)
        return False


def _tls_of(server: Any) -> ssl.SSLContext | None:
    """Return what the socket that it was made with speaks TLS by, for ours takes that one's place.

    Raises:
        ConfigError: when it would have made its socket one of TLS, or something else, as it began to listen.

    """
    if isinstance(server.socket, ssl.SSLSocket):
        return server.socket.context
    usual = (socketserver.TCPServer.server_activate, socketserver.UDPServer.server_activate)
    listens = server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if type(server).server_activate not in usual and not listens:
        name = type(server).__name__
        text = f"{name}.server_activate is not called, for overseer's sockets listen already: for TLS give"
        raise ConfigError("server", f"{text} it a socket that a context has wrapped, before it is served")
    return None


def _get_shielded(accept: Callable[[], Any], tls: ssl.SSLContext) -> tuple[socket.socket, Any]:
    """Accept one who shakes hands with who reads from it: nobody else waits for that."""
    sock, address = accept()
    return tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address


def _serves_what_it_accepts(server: Any) -> bool:
    """Whether a connection is nothing but a descriptor to a server, and all of them are in this process.

    A `get_request` of its own may speak TLS, or read who the client is behind a proxy. The children of
    `ForkingMixIn` have a connection each, and would all take the heir's word from the same way.
    """
    return (
        sys.platform == "linux"
        and getattr(server.get_request, "__func__", None) is socketserver.TCPServer.get_request
        and not isinstance(server, socketserver.ForkingMixIn)
    )


def _leaving(kind: type[BaseHTTPRequestHandler], serving: _Serving) -> type[BaseHTTPRequestHandler]:
    """Return the same handler, which knows when to leave a connection that is kept, or silent.

    Its own timeout is for silence between two requests as well, as without us.
    """

    class Leaving(kind):  # type: ignore[misc, valid-type]
        _is_last = _may_be_last = False

        def send_response_only(self, code: int, message: str | None = None) -> None:
            self._may_be_last = code >= 200
            super().send_response_only(code, message)

        def end_headers(self) -> None:
            if serving.state.draining and self._may_be_last and not _is_more_read(self):
                self._is_last = True
                self.send_header("Connection", "close")
            super().end_headers()

        def handle_one_request(self) -> None:
            if self._is_last or not (_is_more_read(self) or _asks(self, serving)):
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


def _asks(handler: Any, serving: _Serving) -> bool:
    """Wait until a client says something; return whether it has, within its handler's patience and ours.

    Nothing is read here, and nothing was that has not been answered.
    """
    connection, draining = handler.connection, serving.state.draining
    own = connection.gettimeout()
    ends = time.monotonic() + own if own is not None else math.inf
    lingers: float | None = None
    while True:
        now = time.monotonic()
        wait = select.poll()
        wait.register(connection, select.POLLIN)
        if not draining:
            wait.register(draining.fileno(), select.POLLIN)
        elif lingers is None:
            lingers = now + serving.linger
        until = ends if lingers is None else min(ends, lingers)
        found = dict(wait.poll(max(_STEP, until - now) * 1000 if until < math.inf else None))
        if connection.fileno() in found:
            return True
        if time.monotonic() >= until:
            with contextlib.suppress(OSError):
                handler.wfile.flush()
                if (serving.part if draining else end_silent)(connection):
                    return False
