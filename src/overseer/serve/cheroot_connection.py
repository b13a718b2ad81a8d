"""A connection of cheroot's that is ended with care, and the requests on it.

An answer that ends its connection says the end behind it, and what its client still sends is read away before
the descriptor is closed: closed with something unread, TCP would reset the connection, and could take the
answer with it (RFC 9112, 9.6).
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from cheroot import errors, server

from overseer.serve.silence import end_silent, is_silent

if TYPE_CHECKING:
    from collections.abc import Callable

_HANDSHAKE = b"\x16"
"""The first byte of TLS (RFC 8446, 5.1)."""


class Request(server.HTTPRequest):
    """A request whose answer may be the last one on its connection."""

    conn: Connection
    server: Any

    def respond(self) -> None:
        """Answer; behind a body in chunks read also what the application has left of it."""
        super().respond()
        if self.chunked_read and not self.close_connection:
            while self.rfile.read(65536):
                pass
            self._read_trailer()

    def send_headers(self) -> None:
        """Send the head of the answer; it ends the connection if we leave and nothing is behind this one."""
        if self.server.leaving and not self.close_connection:
            self.outheaders = [(k, v) for k, v in self.outheaders if k.lower() != b"connection"]
            self.close_connection = not self._is_read() or not self.conn.has_more()
        super().send_headers()

    def _is_read(self) -> bool:
        """Read the request to its end, as far as that can be done before the answer."""
        if self.chunked_read:
            if self.rfile.closed:
                self._read_trailer()
            return bool(self.rfile.closed)
        while self.rfile.remaining and self.rfile.read(65536):
            pass
        return True

    def _read_trailer(self) -> None:
        if not self._trailer_read:
            self._trailer_read = True
            for _ in self.rfile.read_trailer_lines():
                pass

    _trailer_read = False


class Connection(server.HTTPConnection):
    """A connection that is ended with care."""

    RequestHandlerClass = Request

    def __init__(self, owner: Any, sock: socket.socket) -> None:
        super().__init__(owner, sock)
        self.since = 0.0  # when it began to wait
        self.ended = 0.0  # when its client was told
        self.told_the_end = False
        self._shaken = owner.ssl_adapter is None
        with contextlib.suppress(OSError):  # its client may have gone
            address = sock.getpeername()
            if isinstance(address, tuple):
                self.remote_addr, self.remote_port = address[:2]

    def communicate(self) -> bool:
        """Read a request and answer it, in one of the threads; return whether there may be another."""
        if not self._shaken and not self._shake_hands():
            return False
        return bool(super().communicate())  # type: ignore[no-untyped-call]

    def _shake_hands(self) -> bool:
        self._shaken = True
        adapter = self.server.ssl_adapter
        if self.socket.recv(1, socket.MSG_PEEK) not in (_HANDSHAKE, b""):
            text = "This port speaks HTTPS only.\n"
            Request(self.server, self).simple_response("400 Bad Request", text)
            return False
        try:
            sock, self.ssl_env = adapter.wrap(self.socket)
        except (errors.NoSSLError, errors.FatalSSLAlert) as error:
            self.server.error_log(f"{self.remote_addr}: no TLS: {error}", logging.DEBUG)
            return False
        sock.settimeout(self.server.timeout)
        self.socket = sock
        self.rfile = adapter.makefile(sock, "rb", self.rbufsize)
        self.wfile = adapter.makefile(sock, "wb", self.wbufsize)
        return True

    def has_read_more(self) -> bool:
        """Whether something was read already that belongs to the next request."""
        pending: Callable[[], int] | None = getattr(self.socket, "pending", None)
        return bool(self.rfile.has_data() or (pending and pending()))

    def has_more(self) -> bool:
        """Whether something was read, or can be, behind this request."""
        return self.has_read_more() or not is_silent(self.socket)

    def close(self) -> None:
        """Say the end, and leave the rest to the one who waits: called in one of the threads."""
        self.told_the_end = True
        self.ended = time.monotonic()
        with contextlib.suppress(OSError):
            self._end_tls(self.server.timeout)
            self.socket.shutdown(socket.SHUT_WR)
        self.server.put_conn(self)

    def end_silent(self) -> bool:
        """Say the end if nothing has come that was not read; return whether it is silent."""
        if not hasattr(self.socket, "unwrap"):
            return end_silent(self.socket)
        self.socket.settimeout(0)
        silent = is_silent(self.socket)
        if silent:
            self._end_tls(0)
        self.socket.settimeout(self.server.timeout)
        return silent

    def _end_tls(self, patience: float) -> None:
        """Say that TLS ends, if there is room for that within so many seconds; the client may do so later.

        Without it a client cannot tell a body that lasts as long as the connection from one that was cut.
        """
        unwrap: Callable[[], Any] | None = getattr(self.socket, "unwrap", None)
        if unwrap:
            room = select.poll()
            room.register(self.socket, select.POLLOUT)
            room.poll(1000 * patience)
            self.socket.settimeout(0)
            with contextlib.suppress(OSError, ValueError):  # he has not said it, or there is no TLS any more
                unwrap()
            self.socket.settimeout(self.server.timeout)

    def skip(self) -> bool:
        """Read what nobody will answer; return whether the client has said its end, too."""
        self.since = time.monotonic()
        try:
            return not self.socket.recv(65536)
        except OSError:
            return True

    def forget(self) -> None:
        """Close our descriptor of what is another's connection now: nothing is said on it."""
        for file in (self.rfile, self.wfile, self.socket):
            file.close()

    def end(self) -> None:
        """Close the descriptor."""
        self.linger = False
        with contextlib.suppress(OSError):
            super().close()
        self.socket.close()
