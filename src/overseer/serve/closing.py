"""Connections of TLS that are being closed while their clients still read.

asyncio cuts a connection of TLS half a minute after its close (`ssl_shutdown_timeout`), though its client, on
a slow line, may not have come to the end of the answer by then; and what its transport calls its write buffer
is only what the transport below it has not been given. A plain connection has as much time as it takes. Here
one of TLS has it too, as long as its client goes on taking something: that is asked of the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import termios
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ssl

PATIENCE = 30.0
"""Seconds in which a client takes nothing of what is written, or of the end of TLS, and then is cut."""
_LAST_WORD = 1.0
"""Seconds that a client which has taken everything has for its own last word, where nobody waits longer."""
_LOOKS = 10
"""How often a client is looked at within the patience."""
_AGAIN = 0.05
"""Seconds in which the loop writes more, if it has more and the kernel has room."""
_NEVER = 10 * 365 * 86400.0
"""Seconds; asyncio itself cuts nobody."""
_ACKED = struct.Struct("120xQ")
"""The kernel's tcp_info, up to tcpi_bytes_acked (tcp(7))."""
_NOTHING = struct.pack("i", 0)


class Taken(NamedTuple):
    """How much of what was written a client has taken, as the kernel knows it."""

    waiting: int
    """Bytes that it has not taken, of those that have left this process; 0 where that is not known."""
    taken: object
    """Something that changes with each byte that it takes."""


class Closing:
    """Those who watch the connections of a server until they are closed."""

    def __init__(self, tls: ssl.SSLContext | None, patience: float | None = None) -> None:
        """Watch those of a server that speaks TLS, and of no other."""
        self._patience = PATIENCE if patience is None else patience
        self._open: dict[asyncio.BaseProtocol, tuple[Any, Any, Taken | None, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.options: dict[str, Any] = {"ssl": tls, "ssl_shutdown_timeout": _NEVER} if tls else {}
        """What a server of asyncio is made with; nothing without TLS."""

    def watch(self, protocol: asyncio.BaseProtocol, transport: Any) -> None:
        """Look after a connection that has been made."""
        if self.options:
            self._open[protocol] = (transport, transport.get_extra_info("socket"), None, 0.0)
            if not self._timer:
                self._look_later()

    def forget(self, protocol: asyncio.BaseProtocol) -> None:
        """Keep nothing of a connection that is lost: what TLS has in store for one takes room."""
        self._open.pop(protocol, None)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._patience / _LOOKS, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for protocol, (transport, sock, before, since) in list(self._open.items()):
            if is_over(sock):
                self.forget(protocol)  # another protocol has had its end
            elif transport.is_closing():
                taken = take_in(sock)
                if taken != before:
                    self._open[protocol] = (transport, sock, taken, now)
                elif now >= since + self._patience:
                    _cut(transport, sock)
        self._timer = None
        if self._open:
            self._look_later()


def end_soon(transport: Any, sock: Any) -> None:
    """Do not wait long for the last word of a client, once it has taken all that was written.

    Many do not look at a connection that they keep. The transport is closed by the caller.
    """
    loop = asyncio.get_running_loop()

    def look(before: Taken | None = None) -> None:
        if is_over(sock):
            return
        taken = take_in(sock)
        if taken.waiting:
            loop.call_later(_LAST_WORD, look)
        elif taken != before:
            loop.call_later(_AGAIN, look, taken)
        else:
            _cut(transport, sock)

    loop.call_later(_LAST_WORD, look)


def is_over(sock: Any) -> bool:
    """Whether the socket of a transport has been closed."""
    return sock is None or sock.fileno() < 0


def is_taken(sock: Any) -> bool:
    """Whether a client has taken all that has left this process."""
    return not _waiting(sock)


def take_in(sock: Any) -> Taken:
    """Ask the kernel how far a client has come."""
    waiting = _waiting(sock)
    try:
        with socket.socket(fileno=os.dup(sock.fileno())) as copy:  # those that uvloop shows cannot be asked
            info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size)
        return Taken(waiting, _ACKED.unpack(info)[0])
    except (OSError, AttributeError, struct.error):
        # A Unix socket, or another kernel: who has something to take is taken to do so.
        return Taken(waiting, object() if waiting else 0)


def _waiting(sock: Any) -> int:
    try:
        found: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, _NOTHING))[0]
    except OSError:
        return 0
    return found


def _cut(transport: Any, sock: Any) -> None:
    """End it. A transport of TLS that was closed twice cannot be asked for that: the socket is, too."""
    transport.abort()
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)
