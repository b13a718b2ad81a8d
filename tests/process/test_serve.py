"""Servers of overseer.serve: restarts that no client notices, not even on connections that are kept alive."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.process.service import DEADLINE, Service, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ASGI = """
import asyncio
import overseer

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            told = (await receive())["type"]
            print(told, flush=True)
            await send({"type": told + ".complete"})
            if told == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "headers": [(b"x-generation", b"%d" % program.generation)]})
        while (told := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": told["text"]})
        return
    if scope["path"] == "/events":
        head = [(b"content-type", b"text/event-stream"), (b"x-generation", b"%d" % program.generation)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        gone = asyncio.ensure_future(left(receive))
        for number in range(10_000):
            await send({"type": "http.response.body", "body": b"data: ", "more_body": True})
            await asyncio.sleep(0.05)
            await send({"type": "http.response.body", "body": b"%d\\n\\n" % number, "more_body": True})
            if (await asyncio.wait({gone}, timeout=0.05))[0]:
                return
    body = b""
    while True:
        part = await receive()
        body += part.get("body", b"")
        if not part.get("more_body"):
            break
    answer = b"%d %d" % (program.generation, len(body))
    head = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": answer})

async def left(receive):
    while (await receive())["type"] != "http.disconnect":
        pass

def program(state):
    program.generation = state.generation
    options = {"log_level": "warning", "loop": "asyncio", "http": "h11"}
    overseer.serve.asgi(app, state, linger=LINGER, spread=0.1, **options)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
ALONE = """
import overseer.serve.handing
overseer.serve.handing.Handing.open = lambda _: None
"""
"""Before the source of a server: none takes over its connections, as if the next one were of another kind."""
UVLOOP = ASGI.replace('"loop": "asyncio", "http": "h11"', '"loop": "uvloop", "http": "httptools"')
"""What most people run, who install uvicorn[standard]."""
STREAMS = """
import asyncio
import overseer

async def answer(reader, writer):
    while line := await reader.readline():
        writer.write(b"%d %s" % (program.generation, line))
        await writer.drain()

async def program(state):
    program.generation = state.generation
    await overseer.serve.asyncio(answer, state)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
STANDARD = """
import http.server
import overseer

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = b"%d 0" % program.generation
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass

def program(state):
    program.generation = state.generation
    server = http.server.ThreadingHTTPServer(("", 0), Answer, bind_and_activate=False)
    overseer.serve.socketserver(server, state)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""

KEPT = STANDARD.replace(
    'BaseHTTPRequestHandler):\n    def do_GET(self):\n        text = b"%d 0" % program.generation',
    """BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.do_GET()

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = b"%d %d" % (program.generation, len(body))""",
).replace("server, state)", "server, state, linger=LINGER)")
"""The same, of whose handler connections are kept."""
SINGLE = KEPT.replace("ThreadingHTTPServer", "HTTPServer")
"""The same without threads: one connection at a time."""


class Clients:
    """Threads that ask again and again over connections that are kept, each with a pause of its own."""

    def __init__(self, port: int, pauses: list[float]) -> None:
        self.port = port
        self.answers = 0
        self.failures: list[str] = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=[pause]) for pause in pauses]
        for thread in self.threads:
            thread.start()

    def _ask(self, pause: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        while not self.over.wait(pause):
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                self.answers += 1
                assert answer.status == 200
                if answer.will_close:
                    connection.close()
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures.append(f"{pause:g}: {error!r}")
                connection.close()

    def end(self) -> None:
        """Stop asking."""
        self.over.set()
        for thread in self.threads:
            thread.join()


def none_is_lost(app: Service, clients: Clients) -> None:
    """Restart five times under these clients."""
    for number in range(2, 7):
        app.restart()
        before = clients.answers
        until(lambda before=before: clients.answers > before + 50, "clients are answered")  # type: ignore[misc]
        until(lambda number=number: ask(app.port).startswith(f"{number} "), "it answers")  # type: ignore[misc]
    clients.end()
    assert clients.failures == []
    assert clients.answers > 250


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(ASGI, marks=pytest.mark.long),
        pytest.param(UVLOOP, marks=pytest.mark.long),
        STANDARD,
        pytest.param(KEPT, marks=pytest.mark.long),
    ],
    ids=["asgi", "uvloop", "socketserver", "kept"],
)
def test_no_request_on_a_kept_connection_is_lost(service: Callable[..., Service], source: str) -> None:
    """Whether the next one comes at once or after a pause."""
    app = service(source.replace("LINGER", "2")).serves()
    clients = Clients(app.port, [0.0, 0.001, 0.01, 0.05, 0.3])
    none_is_lost(app, clients)


@pytest.mark.parametrize("source", [ASGI, UVLOOP], ids=["asgi", "uvloop"])
def test_who_has_connected_may_still_ask(service: Callable[..., Service], source: str) -> None:
    """A connection that was accepted and is silent is waited for, half a request too; the rest is closed."""
    app = service(ALONE + source.replace("LINGER", "1")).serves()
    who_is_here_may_ask(app)
    app.logged(r"generation 1 .* left after .*: exit status 0")
    assert app.out.count("lifespan.shutdown") == 1


def test_handlers_of_http_server_let_who_has_connected_ask(service: Callable[..., Service]) -> None:
    """And leave who stays silent, whatever version of HTTP they speak."""
    app = service(ALONE + KEPT.replace("LINGER", "1")).serves()
    rests = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    rests.request("GET", "/")
    assert rests.getresponse().read() == b"1 0"
    who_is_here_may_ask(app)
    assert read_all(rests.sock) == b""
    app.logged(r"generation 1 .* left after .*: exit status 0")
    assert "Traceback" not in app.log


def who_is_here_may_ask(app: Service, count: int = 3) -> None:
    """Restart with so many connections: one is late, one has sent half a request, the others stay silent."""
    early = [socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) for _ in range(count)]
    witness = Witness(app.port)
    until(lambda: ask(app.port).startswith("1"), "generation 1 answers")
    early[1].sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-")
    app.restart()
    witness.wait()
    until(lambda: ask(app.port).startswith("2"), "generation 2 answers")
    early[0].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = read_all(early[0])
    assert b"connection: close" in answer.lower()
    assert answer.endswith(b"1 0")
    for silent in early[2:]:
        assert read_all(silent) == b"", "it has said nothing for the whole linger"
    early[1].sendall(b"Length: 4\r\n\r\nbody")
    assert read_all(early[1]).endswith(b"1 4")


class Witness:
    """A client of a generation that knows when it drains: it answers for the last time.

    The next generation answers before that, and the word to drain has to arrive.
    """

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        self.connection.connect()

    def wait(self) -> None:
        """Ask until then."""
        until(self._is_last_answer, "the generation drains")

    def _is_last_answer(self) -> bool:
        self.connection.request("GET", "/")
        answer = self.connection.getresponse()
        answer.read()
        return answer.will_close


def ask(port: int) -> str:
    """Ask on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    connection.request("GET", "/")
    answer = connection.getresponse().read().decode()
    connection.close()
    return answer


def read_all(sock: socket.socket) -> bytes:
    """Read to the end."""
    found = b""
    while more := sock.recv(65536):
        found += more
    sock.close()
    return found


def test_what_lasts_is_ended_so_that_its_client_comes_back(service: Callable[..., Service]) -> None:
    """A WebSocket is closed with 1012; a stream of events ends between two of them, as a whole answer."""
    what_lasts_is_ended(service(ASGI.replace("LINGER", "1")).serves())


def certificates(pem: Path) -> tuple[ssl.SSLContext, Callable[[], None]]:
    """Return what trusts an authority of its own, and what writes another certificate of it into a file."""
    authority, context = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(context)

    def renew() -> None:
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))

    return context, renew


def what_lasts_is_ended(app: Service) -> None:
    """Restart with a WebSocket and a stream of events, which are told to come back."""
    with connect(f"ws://127.0.0.1:{app.port}/ws") as talk:
        talk.send("hello")
        assert talk.recv(timeout=DEADLINE) == "hello"
        connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
        connection.request("GET", "/events")
        stream = connection.getresponse()
        assert stream.readline() == b"data: 0\n"
        app.restart()
        with pytest.raises(ConnectionClosed) as closed:
            talk.recv(timeout=DEADLINE)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1012
        rest = stream.read()
        assert rest.endswith(b"\n\n"), "http.client raises IncompleteRead for one that was cut"
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_streams_of_asyncio_are_finished(service: Callable[..., Service]) -> None:
    """A handler has as long as its client goes on."""
    app = service(STREAMS).serves()

    async def talk() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(b"one\n")
        assert await reader.readline() == b"1 one\n"
        await asyncio.to_thread(app.restart)
        writer.write(b"two\n")
        assert await reader.readline() == b"1 two\n"
        writer.close()

    asyncio.run(talk())
    app.logged(r"generation 1 .* left after .*: exit status 0")
    with socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) as late:
        late.sendall(b"three\n")
        assert late.recv(100) == b"2 three\n"


def test_where_to_listen_is_not_the_servers_business(service: Callable[..., Service]) -> None:
    """An option that says so is refused by name, in one line."""
    source = ASGI.replace("linger=LINGER", "port=80")
    app = service(source)
    assert app.wait() != 0
    assert "port: is overseer's" in app.log
