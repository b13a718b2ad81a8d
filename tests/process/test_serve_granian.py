"""serve.asgi with granian, which shows nothing of itself. Storm and clients of others ask for more."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, PingFrame

from tests.process.curls import Curl
from tests.process.service import DEADLINE, Service, until
from tests.process.test_serve import (
    ALONE,
    ASGI,
    Clients,
    Witness,
    ask,
    none_is_lost,
    read_all,
    what_lasts_is_ended,
    who_is_here_may_ask,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.long  # the quick suite runs the how-to's program

GRANIAN = re.sub(r"options = .*", 'options = {"server": "granian"}', ASGI)

SLOW = """
    if scope["type"] == "http" and scope["path"] == "/slow":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b" and ended"})
        return
    if scope["type"] == "websocket":
"""
"""An answer that pauses until a file is there."""


def granian(linger: float = 1, more: str = "") -> str:
    """Return a program that serves with granian, with more options."""
    source = GRANIAN.replace('    if scope["type"] == "websocket":\n', SLOW.lstrip("\n"), 1)
    source = source.replace("import asyncio", "import asyncio, os")
    return source.replace("LINGER", f"{linger}{more}")


def test_no_request_on_a_kept_connection_is_lost(service: Callable[..., Service]) -> None:
    """Whether the next one comes at once or after a pause."""
    app = service(granian(2)).serves()
    none_is_lost(app, Clients(app.port, [0.0, 0.001, 0.01, 0.05, 0.3]))


def test_who_has_connected_may_still_ask(service: Callable[..., Service]) -> None:
    """A connection that was accepted and is silent is waited for, half a request too; the rest is closed."""
    app = service(ALONE + granian(5)).serves()
    who_is_here_may_ask(app)
    app.logged(r"generation 1 .* left after .*: exit status 0")
    assert app.out.count("lifespan.shutdown") == 1


def test_who_knocks_is_the_next_ones(service: Callable[..., Service]) -> None:
    """Also while only the generation before has time for it."""
    get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    app = service(granian(100)).serves()
    early = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    witness = Witness(app.port)
    until(lambda: ask(app.port).startswith("1"), "generation 1 answers")
    app.restart()
    witness.wait()
    (next_one,) = app.pids(2)
    os.kill(next_one, signal.SIGSTOP)
    try:
        with socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) as knock:
            knock.sendall(get)
            early.sendall(get)
            assert early.recv(1000).endswith(b"1 0"), "it has had the time"
            os.kill(next_one, signal.SIGCONT)
            assert knock.recv(1000).endswith(b"2 0")
    finally:
        os.kill(next_one, signal.SIGCONT)
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_half_a_request_on_a_kept_connection_is_waited_for(service: Callable[..., Service]) -> None:
    """It is more than silence, also where granian itself takes the connection for an idle one."""
    app = service(ALONE + granian()).serves()
    early = [socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) for _ in range(2)]
    for sock in early:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda sock=sock: b"1 0" in sock.recv(1000), "generation 1 answers")  # type: ignore[misc]
    then = time.monotonic()
    until(lambda: time.monotonic() > then + 0.05, "the kernel's clock, which tells what was last, goes on")
    early[0].sendall(b"GET / HTTP/1.1\r\nHo")
    app.restart()
    assert read_all(early[1]) == b"", "the linger is over"
    until(lambda: ask(app.port).startswith("2"), "generation 2 answers")
    early[0].sendall(b"st: x\r\n\r\n")
    assert read_all(early[0]).endswith(b"1 0")


NAMED = """
import overseer, overseer.serve

async def app(scope, receive, send):
    if scope["type"] == "http":
        body = f"{state.generation} {':'.join(map(str, scope['client'] or ()))}".encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

def program(given):
    global state
    state = given
    overseer.serve.asgi(app, state, server="SERVER", linger=0.1)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
"""A program that tells its clients where they come from."""


@pytest.mark.parametrize("server", ["granian", "uvicorn"])
def test_a_client_has_its_own_address_in_the_next_generation(
    service: Callable[..., Service], server: str
) -> None:
    """Granian believes that it has accepted the connection from us; the application is told the truth."""
    app = service(NAMED.replace("SERVER", server)).serves()
    kept = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    kept.connect()
    mine, name = kept.sock, kept.sock.getsockname()
    app.write(NAMED.replace("SERVER", "granian"))
    for generation in (1, 2, 3):
        kept.request("GET", "/")
        assert kept.getresponse().read().decode() == f"{generation} {name[0]}:{name[1]}"
        app.restart()
        app.logged(rf"generation {generation} \(pid \d+\) left")
    assert kept.sock is mine


def test_a_connection_of_a_unix_socket_comes_in_from_another_server(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """Uvicorn gives such ones away, too; granian itself cannot, since nobody counts their bytes."""
    path = tmp_path / "web"
    app = service(NAMED.replace("SERVER", "uvicorn"), addresses=["127.0.0.1:0", f"unix:{path}"]).serves()
    connection = http.client.HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX) as kept:
        kept.settimeout(DEADLINE)
        kept.connect(str(path))
        connection.sock = kept
        for generation in (1, 2):
            connection.request("GET", "/")
            assert connection.getresponse().read().startswith(b"%d " % generation)
            app.write(NAMED.replace("SERVER", "granian"))
            app.restart()
            app.logged(rf"generation {generation} \(pid \d+\) left")
        assert kept.recv(1) == b"", "the end"


def test_what_lasts_is_ended_so_that_its_client_comes_back(service: Callable[..., Service]) -> None:
    """A WebSocket is closed with 1012; a stream of events ends between two of them, as a whole answer."""
    what_lasts_is_ended(service(granian()).serves())


def test_an_answer_that_pauses_is_finished(service: Callable[..., Service]) -> None:
    """Nothing goes over its connection for longer than the linger, and yet it is not silent."""
    app = service(ALONE + granian()).serves()
    silent = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    connection.request("GET", "/slow")
    answer = connection.getresponse()
    assert answer.read(5) == b"begun"
    app.restart()
    assert read_all(silent) == b"", "the linger is over"
    (app.folder / "go").touch()
    assert answer.read() == b" and ended"
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_two_listeners_are_drained(service: Callable[..., Service], tmp_path: Path) -> None:
    """One of TCP, and one of Unix, whose clients cannot be told from one another."""
    path = tmp_path / "web"
    app = service(ALONE + granian(5), addresses=["127.0.0.1:0", f"unix:{path}"]).serves()

    def fresh() -> list[socket.socket]:
        by_path = socket.socket(socket.AF_UNIX)
        by_path.settimeout(DEADLINE)
        by_path.connect(str(path))
        return [socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE), by_path]

    def answers() -> list[bytes]:
        asked = fresh()
        for sock in asked:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return [read_all(sock)[-3:] for sock in asked]

    late, silent, witness = fresh(), fresh(), Witness(app.port)
    until(lambda: answers() == [b"1 0"] * 2, "generation 1 answers")
    app.restart()
    witness.wait()
    assert answers() == [b"2 0"] * 2
    for sock in late:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = read_all(sock)
        assert answer.endswith(b"1 0")
        assert b"connection: close" in answer
    for sock in silent:
        assert read_all(sock) == b""
    app.logged(r"generation 1 .* left after .*: exit status 0")
    assert path.is_socket()


class Two:
    """A client of HTTP/2 that asks when it is told to, and hears what the server says of the end.

    That of h2 takes GOAWAY for the end of everything, against RFC 9113: it only has to spell.
    """

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self.file = self.sock.makefile("rb")
        self.spelling = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.spelling.initiate_connection()
        self.last: list[int] = []

    def hear(self) -> Frame | None:
        """Take the next frame; None at the end."""
        head = self.file.read(9)
        if not head:
            return None
        frame, length = Frame.parse_frame_header(memoryview(head))
        frame.parse_body(memoryview(self.file.read(length)))
        if isinstance(frame, GoAwayFrame):
            self.last.append(frame.last_stream_id)
        if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self.sock.sendall(PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize())
        return frame

    def ask(self) -> bytes:
        """Ask, and return the answer."""
        self.begin("/")
        return self.finish()

    def begin(self, path: str) -> None:
        """Ask."""
        stream = self.spelling.get_next_available_stream_id()
        fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "x")]
        self.spelling.send_headers(stream, fields, end_stream=True)
        self.sock.sendall(self.spelling.data_to_send())

    def finish(self) -> bytes:
        """Return the answer, or what is still to come of it."""
        found = b""
        while (frame := self.hear()) is not None:
            found += frame.data if isinstance(frame, DataFrame) else b""
            if "END_STREAM" in frame.flags:
                return found
        raise AssertionError("the end instead of an answer")


def test_who_speaks_http_2_is_told_in_its_own_words(service: Callable[..., Service]) -> None:
    """GOAWAY, once with every call that may still come, and once with the last one that has."""
    app = service(granian()).serves()
    client = Two(app.port)
    assert client.ask() == b"1 0"
    app.restart()
    until(lambda: client.hear() is None, "the end")
    assert client.last == [2**31 - 1, 1]
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_a_stream_of_events_over_http_2_ends_between_two_of_them(service: Callable[..., Service]) -> None:
    """As a whole one, so that its client comes back."""
    app = service(granian()).serves()
    client = Two(app.port)
    client.begin("/events")
    until(lambda: isinstance(client.hear(), DataFrame), "the stream has begun")
    app.restart()
    assert client.finish().endswith(b"\n\n")
    until(lambda: client.hear() is None, "the end")
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_nothing_of_http_1_is_ended_for_the_sake_of_http_2(service: Callable[..., Service]) -> None:
    """All connections can only be told at once: granian is, when those of HTTP/1 are over."""
    app = service(granian(10)).serves()
    one = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    two = Two(app.port)
    assert two.ask() == b"1 0"
    app.restart()
    until(lambda: ask(app.port).startswith("2"), "generation 2 answers")
    assert two.ask() == b"1 0"
    one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read_all(one).endswith(b"1 0")
    until(lambda: two.hear() is None, "the end")
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_http_2_is_told_while_an_answer_of_http_1_goes_on(service: Callable[..., Service]) -> None:
    """When the linger is over, and not at the end of a long download; and told, not just ended."""
    app = service(granian()).serves()
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    connection.request("GET", "/slow")
    answer = connection.getresponse()
    assert answer.read(5) == b"begun"
    two = Two(app.port)
    assert two.ask() == b"1 0"
    app.restart()
    until(lambda: two.hear() is None, "the end")
    assert two.last == [2**31 - 1, 1]
    (app.folder / "go").touch()
    assert answer.read() == b" and ended"
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_no_call_of_http_2_is_lost(service: Callable[..., Service], tmp_path: Path) -> None:
    """A client that nobody here wrote keeps its connection over restarts, as long as it can."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed, so nothing is proven with it: make machine")
    pem = tmp_path / "cert.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    app = service(granian(more=f", ssl_cert={str(pem)!r}")).serves()
    curls = [
        Curl(app.port, tmp_path / pace, ["--http2", "--insecure", "--rate", f"{pace}/s"], "https")
        for pace in ("50", "1")
    ]
    try:
        for _ in range(4):
            before = [len(curl.answers) for curl in curls]
            app.restart()
            until(
                lambda before=before: all(  # type: ignore[misc]
                    len(curl.answers) > then for curl, then in zip(curls, before, strict=True)
                ),
                "curl goes on",
            )
    finally:
        for curl in curls:
            curl.end()
    for curl in curls:
        assert curl.failures == []
        assert "< HTTP/2 200" in curl.out.read_text()
    answers = [new for curl in curls for _, new in curl.answers]
    assert sum(map(int, answers)) < len(answers), "connections are kept"


def test_the_backlog_of_a_listener_stays(service: Callable[..., Service]) -> None:
    """It is set once more by granian, on a socket that is everybody's."""
    say = "print('backlog', backlog(state.listener), flush=True)"
    more = f"    from overseer.serve.outside import backlog\n    state.on_drain(lambda: {say})\n"
    source = granian().replace("    overseer.serve", f"{more}    overseer.serve")
    app = service(source, address="127.0.0.1:0?backlog=77").serves()
    app.restart()
    app.said("backlog 77")


def test_a_lifespan_that_does_not_start_is_a_failed_start(service: Callable[..., Service]) -> None:
    """The generation before serves on."""
    app = service(granian(), ready_after=None).serves()
    app.write(granian().replace('told + ".complete"', 'told + ".failed"'))
    answer = app.ask("restart")
    assert answer["outcome"] == "failed"
    assert ask(app.port).startswith("1")
    assert "lifespan of the application has not started" in app.log


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("port=80", "port: is overseer's"),
        ("workers=2", "workers: is overseer's"),
        ("reload=True", "reload: is overseer's"),
        ("interface='rsgi'", "interface: is ASGI's"),
        ("static_path_mount=['.']", "static_path_mount: would have files served past the application"),
        ("http='3'", "http: '3' is not a valid HTTPModes"),
        ("nonsense=1", "nonsense: is no option"),
    ],
)
def test_what_is_not_for_granian_is_refused(service: Callable[..., Service], option: str, said: str) -> None:
    """By name, in one line."""
    app = service(granian(more=f", {option}"))
    assert app.wait() != 0
    assert said in app.log
