"""Who reads slowly: a long answer is not cut, however long its client takes, also over TLS."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame, WindowUpdateFrame

from tests.process.service import DEADLINE, Service, until
from tests.process.test_serve import ASGI, UVLOOP
from tests.process.test_serve_aiohttp import AIOHTTP
from tests.process.test_serve_ends import of
from tests.process.test_serve_granian import GRANIAN
from tests.process.test_serve_grpc import GRPC, Frames
from tests.process.test_serve_hypercorn import HYPERCORN
from tests.process.test_serve_storm import STREAMED
from tests.process.test_serve_storm_tls import certified
from tests.process.test_serve_wsgi import WSGI

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.long

BIG = 20_000_000
"""Bytes: more than the kernel keeps for a client that reads nothing."""
HASTE = """
import asyncio.constants
asyncio.constants.SSL_SHUTDOWN_TIMEOUT = 1.0
"""
"""Before the source of a server: asyncio's TLS, left to itself, cuts who has not come to the end by then."""
BRIEF = """
import overseer.serve.closing
overseer.serve.closing.PATIENCE = 1.0
"""
"""The same for the patience of overseer's own: seconds in which a client takes nothing at all."""
LEFT = STREAMED.replace("await writer.drain()", "return")
"""A server whose handler has ended long before its client has the answer."""
SLOWLY = 5.0
"""Seconds that a client takes for the first part of an answer: several times as long."""
UVLOOPS = 33.0
"""The same for uvloop, whose half a minute cannot be changed."""


def big(source: str, size: int = BIG) -> str:
    """Return the same server with long answers."""
    return (
        source.replace('b"%d %d" % ', f'b"x" * {size} + b"%d %d" % ')
        .replace('text=f"{', f'text="x" * {size} + f"{{')
        .replace('b"%d %s" % ', f'b"x" * {size} + b"%d %s" % ')
    )


def context(ca: Path, *protocols: str) -> ssl.SSLContext:
    """Return how a client speaks TLS."""
    made = ssl.create_default_context(cafile=str(ca))
    made.set_alpn_protocols(protocols)
    return made


def connected(port: int, tls: ssl.SSLContext, *, room: int = 0) -> ssl.SSLSocket:
    """Return a connection that has shaken hands, with so much room in the kernel for what comes."""
    plain = socket.socket()
    plain.settimeout(DEADLINE)
    if room:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    plain.connect(("127.0.0.1", port))
    return tls.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False)


def read_slowly(slow: socket.socket, seconds: float) -> bytes:
    """Read a little at a time for so long, and then all that is left."""
    found, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        found += slow.recv(4096)
        time.sleep(0.1)  # it is slow
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    parts = [found]
    while not parts[-1].endswith(b" 0"):  # which is nowhere else
        parts.append(slow.recv(1 << 20))
        assert parts[-1], "the end"
    return b"".join(parts)


@pytest.mark.parametrize(
    ("source", "seconds"),
    [
        (ASGI, SLOWLY),
        (UVLOOP, SLOWLY),
        pytest.param(UVLOOP, UVLOOPS, marks=pytest.mark.very_long),
        (WSGI, SLOWLY),
        (AIOHTTP, SLOWLY),
        (HYPERCORN, SLOWLY),
        (GRANIAN, SLOWLY),
        (STREAMED, SLOWLY),
        (LEFT, SLOWLY),
    ],
    ids=["asgi", "uvloop", "uvloop-33", "wsgi", "aiohttp", "hypercorn", "granian", "asyncio", "left"],
)
@pytest.mark.parametrize("asks", ["before", "meanwhile"])
def test_who_reads_slowly_over_tls_reads_to_the_end(
    service: Callable[..., Service], tmp_path: Path, source: str, seconds: float, asks: str
) -> None:
    """Of an answer that was given before its generation drained, and of one that is the last one."""
    pem, ca = certified(tmp_path)
    tls = context(ca, "http/1.1")
    app = service(HASTE + of(big(source), linger=1, pem=str(pem)), terminate_timeout=120).serves()
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    def answering() -> bytes:
        with connected(app.port, tls) as asked:
            asked.sendall(request.replace(b"Host", b"Connection: close\r\nHost"))
            return read_slowly(asked, 0)[-3:]

    slow = connected(app.port, tls, room=4096)
    if asks == "before":
        slow.sendall(request)
    until(lambda: answering() == b"1 0", "generation 1 answers")
    app.restart()
    until(lambda: answering() == b"2 0", "generation 2 answers")
    if asks == "meanwhile":
        slow.sendall(request)
    answer = read_slowly(slow, seconds)
    assert len(answer) > BIG
    assert answer.endswith(b"x1 0")
    if asks == "meanwhile":
        assert slow.recv(1) == b"", "the end, and it is said"


def test_a_call_that_is_read_slowly_is_whole(service: Callable[..., Service], tmp_path: Path) -> None:
    """A client of gRPC with wide windows: all of the answer was said long before it is there."""
    pem, ca = certified(tmp_path)
    source = of(big(GRPC, size := 300_000), linger=1, pem=str(pem))
    narrow = f"    state.listener.setsockopt({socket.SOL_SOCKET}, {socket.SO_SNDBUF}, 4096)\n"
    app = service(HASTE + source.replace("    program.gen", narrow + "    program.gen")).serves()
    sock = connected(app.port, context(ca, "h2"), room=4096)
    wide = SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1}), WindowUpdateFrame(0, 2**30)
    client = Frames(sock, *wide)
    client.call(1)
    client.next(HeadersFrame)
    app.restart()
    left = 5 + size + len(b"1 hi")
    while left:
        left -= len(client.next(DataFrame).data)
        time.sleep(0.4)  # it is slow
    assert "END_STREAM" in client.next(HeadersFrame).flags
    sock.close()
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_what_a_handler_has_left_behind_is_sent(service: Callable[..., Service]) -> None:
    """A handler of `serve.asyncio` need not wait until its client has everything; its generation does."""
    app = service(big(LEFT)).serves()
    with socket.socket() as slow:
        slow.settimeout(DEADLINE)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", app.port))
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(12) == b"HTTP/1.1 200"
        app.restart()
        until(lambda: app.status()["generations"][0]["phase"] == "draining", "generation 1 drains")
        answer = read_slowly(slow, 1.0)
    assert len(answer) > BIG
    app.logged(r"generation 1 .* left after .*: exit status 0")


@pytest.mark.parametrize("source", [ASGI, UVLOOP, LEFT], ids=["asgi", "uvloop", "left"])
def test_who_takes_nothing_is_cut(service: Callable[..., Service], tmp_path: Path, source: str) -> None:
    """When its patience is over: nobody holds a connection of TLS for ever that has been closed."""
    pem, ca = certified(tmp_path)
    app = service(BRIEF + of(big(source), linger=1, pem=str(pem))).serves()
    stuck = connected(app.port, context(ca, "http/1.1"), room=4096)
    stuck.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert stuck.recv(12) == b"HTTP/1.1 200"
    app.restart()
    app.logged(r"generation 1 .* left after .*: exit status 0")
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):  # and not an end, as TLS has it
        list(iter(lambda: stuck.recv(1 << 20), b""))
