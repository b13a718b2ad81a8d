"""Little servers that behave as told, for the load generator to find out, and how to put a load on one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING

from bench.load import Kind, Marks, Outcome, Plan, Report, run
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.errors import ErrorCodes

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BYE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


class Visit:
    """One connection as a server sees it."""

    def __init__(self, server: Server, link: socket.socket) -> None:
        self.server = server
        self.link = link
        self.rest = b""
        self.reads: list[int] = []

    def request(self) -> bytes | None:
        """Read one request with its body; None when the client has closed."""
        while b"\r\n\r\n" not in self.rest:
            if not self._read():
                return None
        head, _, rest = self.rest.partition(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or b"0")
        while len(rest) < length:
            if not self._read():
                return None
            rest = self.rest.partition(b"\r\n\r\n")[2]
        self.rest = rest[length:]
        self.server.requests += 1
        return head + b"\r\n\r\n" + rest[:length]

    def _read(self) -> bool:
        data = self.link.recv(65536)
        self.reads.append(len(data))
        self.rest += data
        return bool(data)

    def send(self, data: bytes, *, and_close: bool = False) -> None:
        """Send; with `and_close` the end of file travels in the same packet, so nobody comes between."""
        self.link.sendall(data, socket.MSG_MORE if and_close else 0)
        if and_close:
            self.link.close()

    def bye(self) -> None:
        """Say the end within TLS, and wait until the client has said it too."""
        assert isinstance(self.link, ssl.SSLSocket)
        self.link.unwrap()

    def reset(self) -> None:
        """Close so that the client is told of a reset."""
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.link.close()


class Server:
    """A listener, and a thread per connection that behaves as told."""

    def __init__(
        self, behave: Callable[[Visit], None], path: str = "", context: ssl.SSLContext | None = None
    ) -> None:
        family = socket.AF_UNIX if path else socket.AF_INET
        self.behave = behave
        self.context = context
        self.requests = 0
        self.messages: list[bytes] = []
        self.listener = socket.socket(family)
        self.listener.bind(path or ("127.0.0.1", 0))
        self.listener.listen(1024)
        scheme = "https" if context else "http"
        self.target = f"unix:{path}" if path else f"{scheme}://127.0.0.1:{self.listener.getsockname()[1]}"
        self.ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self.listener.accept()
                threading.Thread(target=self._visit, args=(link,), daemon=True).start()

    def _visit(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            if (
                link.family == socket.AF_INET
            ):  # what comes in two pieces is not to wait for an ACK of the first
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is None:
                self.behave(Visit(self, link))
                return
            with self.context.wrap_socket(link, server_side=True) as talk:
                self.behave(Visit(self, talk))

    def close(self) -> None:
        """Listen no more and wake whoever waits on `ended`."""
        self.ended.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def once(data: bytes) -> Callable[[Visit], None]:
    """Behave: read one request, send this, close."""

    def behave(visit: Visit) -> None:
        if visit.request() is not None:
            visit.send(data)

    return behave


def kind_answer(visit: Visit) -> None:
    """Behave well, on kept connections too."""
    while (request := visit.request()) is not None:
        if b"Connection: close" in request:
            visit.send(BYE)
            return
        visit.send(ANSWER)


def noting(reads: list[list[int]]) -> Callable[[Visit], None]:
    """Answer one request, and note how much of it each read brought."""

    def behave(visit: Visit) -> None:
        visit.request()
        reads.append(visit.reads)
        visit.send(BYE)

    return behave


def busy(visit: Visit) -> None:
    """Say why before the request has come, and close."""
    visit.link.recv(10)
    visit.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def put(
    target: str,
    *kinds: Kind,
    seconds: float = 0.25,
    timeout: float = 5.0,
    marks: Marks | None = None,
    ca: str = "",
) -> Report:
    """Put the load on the target, and see that every request has exactly one end."""
    plan = Plan(kinds=kinds, seconds=seconds, timeout=timeout, ca=ca)
    report = asyncio.run(run(target, plan, marks=marks))
    assert report.sent == report.ok + report.failed == sum(report.total.outcomes.values())
    assert report.sent > 0
    return report


def only(report: Report, outcome: Outcome) -> None:
    """See that every request ended so."""
    assert dict(report.total.outcomes) == {str(outcome): report.sent}, report


class Talker:
    """A WebSocket as a server sees it: opened here, then one message at a time."""

    def __init__(self, visit: Visit, more: bytes = b"") -> None:
        self.visit = visit
        request = visit.request()
        assert request is not None
        self.key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
        self.opening = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(self.key).encode() + b"\r\n" + more + b"\r\n"
        )

    def open(self) -> Talker:
        """Say that it is one."""
        self.visit.send(self.opening)
        return self

    def read(self) -> Frame | None:
        """Read one frame, which has to be masked; None when the client has closed. Messages are kept."""
        head = self._take(2)
        if head is None:
            return None
        assert head[1] & 0x80, "a client has to mask what it sends"
        assert head[1] & 0x7F < 126, "the tests send short messages"
        rest = self._take(4 + (head[1] & 0x7F))
        if rest is None:
            return None
        data = bytes(byte ^ rest[place % 4] for place, byte in enumerate(rest[4:]))
        opcode = Opcode(head[0] & 0x0F)
        if opcode is Opcode.TEXT:
            self.visit.server.messages.append(data)
        return Frame(opcode, data)

    def message(self) -> bytes | None:
        """Read up to the next message; None when the client has closed, with a frame or without."""
        while (frame := self.read()) is not None and frame.opcode is not Opcode.CLOSE:
            if frame.opcode is Opcode.TEXT:
                return bytes(frame.data)
        return None

    def _take(self, size: int) -> bytes | None:
        while len(self.visit.rest) < size:
            data = self.visit.link.recv(65536)
            if not data:
                return None
            self.visit.rest += data
        taken, self.visit.rest = self.visit.rest[:size], self.visit.rest[size:]
        return taken

    def say(self, data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> None:
        """Send a frame."""
        self.visit.send(Frame(opcode, data, fin=fin).serialize(mask=False))

    def end(self, code: int, *, politely: bool = True) -> None:
        """Send a close frame and, `politely`, read on until the client closes or sends its own."""
        self.say(code.to_bytes(2, "big") + b"as told", Opcode.CLOSE)
        while politely and (frame := self.read()) is not None and frame.opcode is not Opcode.CLOSE:
            continue


def echo(talk: Talker, count: int = 1_000_000) -> bool:
    """Send so many messages back; False when the client closed before."""
    for _ in range(count):
        data = talk.message()
        if data is None:
            return False
        talk.say(data)
    return True


class Sessions:
    """HTTP/2 as a server sees one connection: what was asked, and frames as told."""

    def __init__(self, visit: Visit, most_streams: int | None = None) -> None:
        self.visit = visit
        self.asked: deque[int] = deque()
        self.http = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        if most_streams is not None:
            self.http.local_settings = Settings(
                client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: most_streams}
            )
        self.http.initiate_connection()
        self._flush()

    def stream(self) -> int | None:
        """Wait for the next request; None when the client has closed."""
        while not self.asked:
            data = self.visit.link.recv(65536)
            if not data:
                return None
            for event in self.http.receive_data(data):
                if isinstance(event, RequestReceived):
                    self.visit.server.requests += 1
                    self.asked.append(event.stream_id)
            self._flush()
        return self.asked.popleft()

    def answer(self, number: int, status: int = 200, *more: tuple[str, str], body: bytes = b"ok") -> None:
        """Send a whole answer."""
        self.http.send_headers(number, [(":status", str(status)), *more])
        self.http.send_data(number, body, end_stream=True)
        self._flush()

    def reset(self, number: int, code: ErrorCodes) -> None:
        """Reset a stream."""
        self.http.reset_stream(number, code)
        self._flush()

    def goaway(self, last: int, code: int = 0) -> None:
        """Say GOAWAY; h2 would say nothing more after that, and this server does."""
        self.visit.send(GoAwayFrame(0, last_stream_id=last, error_code=code).serialize())

    def leave(self) -> None:
        """Close this side, and read what may have come too late: unread, it would make the end a reset."""
        self.visit.link.shutdown(socket.SHUT_WR)
        while self.visit.link.recv(65536):
            pass

    def answer_all(self) -> None:
        """Answer whatever comes until the client closes."""
        while (number := self.stream()) is not None:
            self.answer(number)

    def _flush(self) -> None:
        self.visit.send(self.http.data_to_send())
