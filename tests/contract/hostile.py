"""An HTTP server that does exactly what it is told, however rude: it speaks in bytes, not in answers."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


@dataclass(frozen=True)
class Asked:
    """A request as it came; names of header fields in lower case."""

    method: str
    target: str
    headers: dict[str, str]


class Wire:
    """The connection a request came on."""

    def __init__(self, connection: socket.socket, closing: threading.Event) -> None:
        self.connection = connection
        self.closing = closing

    def say(self, *parts: bytes | str) -> bool:
        """Send it all; False when nobody listens any more."""
        try:
            for part in parts:
                self.connection.sendall(part.encode() if isinstance(part, str) else part)
        except OSError:
            return False
        return True

    def drip(self, content: bytes, every: float) -> None:
        """Send one byte at a time, for ever again from the start, until somebody hangs up."""
        while not self.closing.wait(every):
            if not self.say(content[:1]):
                return
            content = content[1:] + content[:1]

    def hold(self) -> None:
        """Say nothing until the server is closed or the client hangs up."""
        with contextlib.suppress(OSError):
            while self.connection.recv(1):
                pass

    def reset(self) -> None:
        """Break the connection, so that the client sees a reset and no end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def tunnel(self, port: int) -> None:
        """Become a proxy's tunnel to a port of this machine."""
        with socket.create_connection(("127.0.0.1", port)) as far:
            self.say("HTTP/1.1 200 Here you are\r\n\r\n")
            back = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
            back.start()
            _pump(self.connection, far)
            back.join()


class Hostile:
    """Listen on a free port of loopback; `answer` is called in a thread for each request.

    `asked` holds every request that came, in order. `tls` wraps every connection.
    """

    def __init__(self, answer: Callable[[Asked, Wire], object], *, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._tls = tls
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            wire = Wire(connection, self._closing)
            if asked := _request(connection):
                self.asked.append(asked)
                self.answer(asked, wire)
        except OSError:
            pass  # the client hung up, or did not like our certificate
        finally:
            self._open.discard(connection)
            connection.close()


def reply(body: bytes = b"", status: str = "200 OK", /, **headers: str) -> bytes:
    """Make a whole answer; `content_type` and so on name header fields, "" leaves one out."""
    fields = {"content_length": str(len(body)), "connection": "close"} | headers
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode() + body


def chunked(*pieces: bytes, width: int = 1) -> bytes:
    """Put pieces into chunks, the last one included; sizes have `width` digits at least."""
    return b"".join(f"{len(piece):0{width}x}\r\n".encode() + piece + b"\r\n" for piece in (*pieces, b""))


def _request(connection: socket.socket) -> Asked | None:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (more := connection.recv(65536)):
            return None
        received += more
    first, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Asked(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
