"""Ends that take two: TLS that is being agreed on, WebSockets, requests behind one another."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from overseer.serve.accepting import stop_accepting
from tests.process.service import DEADLINE, Service, until
from tests.process.test_serve import ALONE, ASGI, KEPT, STREAMS, UVLOOP, Witness, ask, certificates, read_all
from tests.process.test_serve_aiohttp import AIOHTTP
from tests.process.test_serve_granian import GRANIAN
from tests.process.test_serve_grpc import GRPC
from tests.process.test_serve_hypercorn import HYPERCORN
from tests.process.test_serve_wsgi import WSGI

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.long

CONTEXT = """
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain({pem!r})
    app = """


def of(source: str, *, linger: float, pem: str = "") -> str:
    """Return a program of the neighbours, with TLS if there is a certificate."""
    if pem and "serve.aiohttp(" in source:
        source = source.replace("\n    app = ", CONTEXT.format(pem=pem))
        source = source.replace("spread=0.1", "spread=0.1, ssl_context=tls")
    elif pem and "serve.asyncio(" in source:
        source = source.replace("\n    await overseer", CONTEXT.format(pem=pem) + "1\n    await overseer")
        source = source.replace("import asyncio", "import asyncio, ssl").replace(
            "r, state", "r, state, ssl=tls"
        )
    elif pem and "serve.grpc(" in source:
        context = CONTEXT.format(pem=pem) + '1\n    tls.set_alpn_protocols(["h2"])\n    await overseer'
        source = source.replace("\n    await overseer", context)
        source = source.replace("import os", "import os, ssl").replace(
            "linger=1", "linger=1, ssl_context=tls"
        )
    elif pem and '"server": "hypercorn"' in source:
        source = source.replace("linger=LINGER", f"linger=LINGER, certfile={pem!r}, keyfile={pem!r}")
    elif pem and '"server": "granian"' in source:
        source = source.replace("linger=LINGER", f"linger=LINGER, ssl_cert={pem!r}")
    elif pem:
        source = source.replace("linger=LINGER", f"linger=LINGER, ssl_certfile={pem!r}")
    return source.replace("LINGER", str(linger)).replace("PAUSE", "0")


@pytest.mark.parametrize(
    "source",
    [ASGI, UVLOOP, WSGI, AIOHTTP, STREAMS, HYPERCORN, GRANIAN],
    ids=["asgi", "uvloop", "wsgi", "aiohttp", "streams", "hypercorn", "granian"],
)
def test_who_shakes_hands_is_not_left(service: Callable[..., Service], tmp_path: Path, source: str) -> None:
    """A connection that has been accepted and speaks TLS late is answered by the one that accepted it."""
    pem = tmp_path / "cert.pem"
    context, renew = certificates(pem)
    renew()
    app = service(of(source, linger=10, pem=str(pem)), max_draining=5).serves()

    def fresh() -> socket.socket:
        return socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)

    def answer(plain: socket.socket) -> bytes:
        with context.wrap_socket(plain, server_hostname="localhost") as talk:
            talk.sendall(b"0\n" if source is STREAMS else b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            found = b""
            while not found.rstrip().endswith(b" 0"):
                found += talk.recv(1000)
            return found.rstrip()[-3:]

    early = fresh()
    until(lambda: answer(fresh()) == b"1 0", "generation 1 answers")
    for _ in range(3):  # it waits not just for a moment
        number = app.restart()
    until(lambda: answer(fresh()) == b"%d 0" % number, f"generation {number} answers")
    assert answer(early) == b"1 0"


@pytest.mark.parametrize(
    "source",
    [ASGI, UVLOOP, WSGI, AIOHTTP, HYPERCORN, GRANIAN],
    ids=["asgi", "uvloop", "wsgi", "aiohttp", "hypercorn", "granian"],
)
def test_who_does_not_look_at_what_it_keeps_holds_nobody_up(
    service: Callable[..., Service], tmp_path: Path, source: str
) -> None:
    """Most clients read nothing on an idle connection, nor that TLS ends, until they ask again.

    granian ends it without close_notify; all others say so.
    """
    pem = tmp_path / "cert.pem"
    context, renew = certificates(pem)
    renew()
    app = service(of(source, linger=1, pem=str(pem))).serves()
    plain = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    ragged = source is GRANIAN
    with context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=ragged) as rests:
        rests.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        while not found.endswith(b"1 0"):
            found += rests.recv(1000)
        app.restart()
        app.logged(r"generation 1 .* left after .*: exit status 0")
        assert rests.recv(1000) == b""
    assert "Traceback" not in app.log


@pytest.mark.parametrize(
    "source",
    [ASGI, UVLOOP, WSGI, AIOHTTP, HYPERCORN, GRANIAN],
    ids=["asgi", "uvloop", "wsgi", "aiohttp", "hypercorn", "granian"],
)
def test_the_end_of_tls_is_said(service: Callable[..., Service], tmp_path: Path, source: str) -> None:
    """Behind the last answer of a connection: nobody can have cut it (RFC 8446, 6.1)."""
    pem = tmp_path / "cert.pem"
    context, renew = certificates(pem)
    renew()
    app = service(of(source, linger=100, pem=str(pem))).serves()

    def begin(request: bytes) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
        talk = context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
        talk.sendall(request)
        return talk

    assert read_all(begin(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")).endswith(b"1 0")
    kept = begin(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    found = b""
    while not found.endswith(b"1 0"):
        found += kept.recv(1000)
    app.restart()
    last = b"GET / HTTP/1.0\r\nHost: x\r\n\r\n"
    until(lambda: read_all(begin(last)).endswith(b"2 0"), "generation 2 answers")
    kept.sendall(last)
    assert read_all(kept).endswith(b"1 0")


@pytest.mark.parametrize(
    "source",
    [ASGI, UVLOOP, AIOHTTP, STREAMS, HYPERCORN, GRANIAN, GRPC],
    ids=["asgi", "uvloop", "aiohttp", "streams", "hypercorn", "granian", "grpc"],
)
def test_a_restart_renews_the_certificate(
    service: Callable[..., Service], tmp_path: Path, source: str
) -> None:
    """Each generation reads it anew (wsgi has a test of its own)."""
    pem = tmp_path / "cert.pem"
    context, renew = certificates(pem)

    def seen() -> bytes:
        plain = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
        with context.wrap_socket(plain, server_hostname="localhost") as talk:
            return talk.getpeercert(binary_form=True) or b""

    renew()
    app = service(of(source, linger=0.1, pem=str(pem))).serves()
    before = seen()
    renew()
    assert seen() == before
    app.restart()
    until(lambda: seen() != before, "the new certificate is shown")


def test_who_was_just_accepted_is_not_dropped() -> None:
    """Accepting ends between the round of the loop that accepted, and the one that makes the transport."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async def accept_and_stop() -> bytes:
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.start_server(answer, sock=listener)
        with socket.create_connection(listener.getsockname(), timeout=DEADLINE) as client:
            client.sendall(b"hello\n")
            # This round stops in the next one; behind it, in this one, the loop accepts.
            loop.call_soon(lambda: loop.call_soon(stop_accepting, [server]))
            found = await asyncio.to_thread(client.recv, 100)
        server.close()
        return found

    assert asyncio.run(accept_and_stop()) == b"hello\n"


SLOW = """
    if scope["type"] == "websocket":
        print("asked", flush=True)
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
    if scope["type"] == "websocket":
"""


def test_a_websocket_is_opened_before_it_is_closed(service: Callable[..., Service]) -> None:
    """Also one whose application has not made up its mind when its generation drains."""
    source = ASGI.replace('    if scope["type"] == "websocket":\n', SLOW.lstrip("\n"), 1).replace(
        "import asyncio", "import asyncio, os"
    )
    app = service(of(source, linger=1)).serves()
    sock = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    sock.sendall(_opening())
    app.said("asked")
    app.restart()
    until(lambda: ask(app.port).startswith("2"), "generation 2 answers")
    (app.folder / "go").touch()
    file = sock.makefile("rb")
    assert b" 101 " in file.readline()
    while file.readline() != b"\r\n":
        pass
    opcode, length = file.read(2)
    assert (opcode, int.from_bytes(file.read(length)[:2])) == (0x88, 1012)


def _opening() -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )


@pytest.mark.parametrize(
    "source",
    [ASGI, UVLOOP, AIOHTTP, HYPERCORN, GRANIAN],
    ids=["asgi", "uvloop", "aiohttp", "hypercorn", "granian"],
)
def test_a_websocket_ends_when_both_have_said_so(service: Callable[..., Service], source: str) -> None:
    """The connection is not closed below a client that still speaks when it is told (RFC 6455, 7.1.1)."""
    app = service(of(source, linger=1)).serves()
    sock = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    sock.sendall(_opening())
    file = sock.makefile("rb")
    assert b" 101 " in file.readline()
    while file.readline() != b"\r\n":
        pass
    app.restart()
    opcode, length = file.read(2)
    assert opcode == 0x88
    assert int.from_bytes(file.read(length)[:2]) == 1012
    until(lambda: ask(app.port).startswith("2"), "generation 2 answers")
    for _ in range(100):
        sock.sendall(b"\x81\x84\0\0\0\0some")
    sock.sendall(b"\x88\x82\0\0\0\0\x03\xf4")
    assert file.read() == b"", "the end, and no reset"
    app.logged(r"generation 1 .* left after .*: exit status 0")
    assert "Traceback" not in app.log


@pytest.mark.parametrize(
    "source",
    [ASGI, UVLOOP, WSGI, AIOHTTP, HYPERCORN, GRANIAN, KEPT],
    ids=["asgi", "uvloop", "wsgi", "aiohttp", "hypercorn", "granian", "http.server"],
)
def test_requests_behind_one_another_are_all_answered(service: Callable[..., Service], source: str) -> None:
    """Only the last answer ends the connection, and says so."""
    app = service(of(source, linger=5)).serves()
    early = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    witness = Witness(app.port)
    until(lambda: ask(app.port).startswith("1"), "generation 1 answers")
    app.restart()
    witness.wait()
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
    early.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + post + post)
    answers = read_all(early).lower()
    assert answers.count(b"http/1.1 200 ") == 3, answers
    assert answers.endswith(b"1 4")
    assert answers.count(b"connection: close") == 1


BIG = 20_000_000
"""Bytes: more than the kernel keeps for a client that reads nothing."""


@pytest.mark.parametrize(
    "source",
    [ASGI, UVLOOP, WSGI, AIOHTTP, HYPERCORN, GRANIAN],
    ids=["asgi", "uvloop", "wsgi", "aiohttp", "hypercorn", "granian"],
)
def test_who_reads_slowly_reads_to_the_end(service: Callable[..., Service], source: str) -> None:
    """An answer that has been given is not cut when the linger is over, because it still is on its way."""
    big = source.replace('b"%d %d" % ', f'b"x" * {BIG} + b"%d %d" % ').replace(
        'text=f"{', f'text="x" * {BIG} + f"{{'
    )
    app = service(ALONE + of(big, linger=1)).serves()
    silent = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    slow = socket.socket()
    slow.settimeout(DEADLINE)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", app.port))
    slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: ask(app.port).endswith("x1 0"), "generation 1 answers")
    app.restart()
    assert read_all(silent) == b"", "the linger is over"
    until(lambda: ask(app.port).endswith("x2 0"), "generation 2 answers")
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # slow enough: the rest may come
    answer = read_all(slow)
    assert len(answer) > BIG
    assert answer.endswith(b"x1 0")


TASK = """
    if scope["path"] == "/task":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": b"!"})
        print("task begun", flush=True)
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
        print("task done", flush=True)
        return
    body = b""
"""
"""A background task, as Starlette has them: what an application does behind its answer."""


@pytest.mark.parametrize(
    "source", [ASGI, UVLOOP, HYPERCORN, GRANIAN], ids=["asgi", "uvloop", "hypercorn", "granian"]
)
@pytest.mark.parametrize("stays", [True, False], ids=["client stays", "client goes"])
def test_a_background_task_is_awaited(
    service: Callable[..., Service],
    source: str,
    stays: bool,  # noqa: FBT001
) -> None:
    """Though its answer was given long ago, and before the lifespan ends."""
    text = source.replace('    body = b""\n', TASK.lstrip("\n"), 1).replace(
        "import asyncio", "import asyncio, os"
    )
    app = service(ALONE + of(text, linger=0.2)).serves()
    sock = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    sock.sendall(b"GET /task HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: sock.recv(1000).endswith(b"!"), "it is answered")
    app.said("task begun")
    if not stays:
        sock.close()
    silent = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    until(lambda: ask(app.port).startswith("1"), "generation 1 answers")
    app.restart()
    assert read_all(silent) == b"", "the linger is over"
    until(lambda: ask(app.port).startswith("2"), "generation 2 answers")
    assert "lifespan.shutdown" not in app.out
    (app.folder / "go").touch()
    app.logged(r"generation 1 .* left after .*: exit status 0")
    told = [line for line in app.out.splitlines() if line.startswith(("task", "lifespan.shutdown"))]
    assert told == ["task begun", "task done", "lifespan.shutdown"]
    sock.close()
    assert "Traceback" not in app.log


@pytest.mark.parametrize(
    "source",
    [ASGI, UVLOOP, AIOHTTP, HYPERCORN, GRANIAN],
    ids=["asgi", "uvloop", "aiohttp", "hypercorn", "granian"],
)
def test_websockets_are_not_all_closed_at_once(service: Callable[..., Service], source: str) -> None:
    """Over so long a spread the first has been told to leave while others still talk."""
    app = service(of(source, linger=0.1).replace("spread=0.1", "spread=15"), terminate_timeout=60).serves()
    with contextlib.ExitStack() as talking:
        url = f"ws://127.0.0.1:{app.port}/ws"
        talks = [talking.enter_context(connect(url)) for _ in range(20)]
        app.restart()
        until(lambda: any(talk.protocol.close_rcvd for talk in talks), "the first is told to leave")
        answered = 0
        for talk in talks:
            with contextlib.suppress(ConnectionClosed):
                talk.send("still there")
                answered += talk.recv(timeout=DEADLINE) == "still there"
        assert answered > 0
    app.logged(r"generation 1 .* left after .*: exit status 0")
