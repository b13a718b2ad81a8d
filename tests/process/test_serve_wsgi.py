"""serve.wsgi: threads of cheroot, and restarts that no client notices."""

from __future__ import annotations

import contextlib
import http.client
import socket
from typing import TYPE_CHECKING

import pytest

from tests.process.service import DEADLINE, Service, until
from tests.process.test_serve import (
    ALONE,
    Clients,
    ask,
    certificates,
    none_is_lost,
    read_all,
    who_is_here_may_ask,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WSGI = """
import time
import overseer

def app(environ, start):
    if environ["PATH_INFO"] == "/events":
        head = [("Content-Type", "text/event-stream"), ("X-Generation", str(program.generation))]
        start("200 OK", head)
        return events()
    body = b"" if environ["PATH_INFO"] == "/unread" else environ["wsgi.input"].read()
    answer = b"%d %d" % (program.generation, len(body))
    start("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]

def events():
    for number in range(10_000):
        yield b"data: "
        time.sleep(0.05)
        yield b"%d\\n\\n" % number

def program(state):
    program.generation = state.generation
    overseer.serve.wsgi(app, state, linger=LINGER, threads=40)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""


def wsgi(linger: float = 1) -> str:
    """Return a program that serves WSGI."""
    return WSGI.replace("LINGER", str(linger))


class Chunked(Clients):
    """Clients that send bodies in chunks, with a pause of their own after each answer."""

    def _ask(self, pause: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        while not self.over.wait(pause):
            try:
                connection.request("POST", "/", iter([b"some ", b"thing"]), encode_chunked=True)
                answer = connection.getresponse()
                assert answer.read().endswith(b" 10")
                self.answers += 1
                if answer.will_close:
                    connection.close()
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures.append(f"{pause:g}: {error!r}")
                connection.close()


@pytest.mark.long
def test_no_body_in_chunks_is_lost(service: Callable[..., Service]) -> None:
    """On connections that are kept, at once or after a pause; the storm has the other kinds of clients."""
    app = service(wsgi(2)).serves()
    none_is_lost(app, Chunked(app.port, [0.0, 0.001, 0.01, 0.05, 0.3]))


def test_who_has_connected_may_still_ask(service: Callable[..., Service]) -> None:
    """A connection that was accepted and is silent is waited for, half a request too; the rest is closed.

    There are more of them than threads: silence occupies none.
    """
    app = service(ALONE + wsgi().replace("threads=40", "threads=2")).serves()
    who_is_here_may_ask(app, 5)
    app.logged(r"generation 1 .* left after .*: exit status 0")


@pytest.mark.long
def test_an_answer_is_not_torn_by_what_was_left_unread(service: Callable[..., Service]) -> None:
    """A client that goes on sending although it was answered reads its answer, also from one who leaves."""
    who_goes_on_sending_reads_his_answer(service(wsgi()).serves(), 0x400)


def who_goes_on_sending_reads_his_answer(app: Service, size: int) -> None:
    """Restart with half a head, and send a body of 100 chunks of that size, which nobody reads."""
    talker = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    head = b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    talker.sendall(head[:-2])
    app.restart()
    until(lambda: ask(app.port).startswith("2"), "generation 2 answers")
    talker.sendall(head[-2:])
    for _ in range(100):
        talker.sendall(b"%x\r\n" % size + bytes(size) + b"\r\n")
    talker.sendall(b"0\r\n\r\n")
    assert read_all(talker).endswith(b"1 0")


@pytest.mark.long
def test_a_body_in_chunks_ends_where_it_ends(service: Callable[..., Service]) -> None:
    """The next request on its connection is one: read or not, with a trailer or without, and at once."""
    app = service(wsgi()).serves()
    talker = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    answers = talker.makefile("rb")
    for path in ("/", "/unread") * 2:
        for trailer in (b"", b"Digest: none\r\n"):
            head = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode()
            talker.sendall(head + b"4\r\nbody\r\n0\r\n" + trailer + b"\r\n")
            lines = [answers.readline() for _ in range(5)]
            assert lines[0] == b"HTTP/1.1 200 OK\r\n", lines
            while lines[-1] != b"\r\n":
                lines.append(answers.readline())
            assert answers.read(3) == (b"1 4" if path == "/" else b"1 0")
    talker.close()


@pytest.mark.long
def test_a_stream_of_events_ends_between_two_of_them(service: Callable[..., Service]) -> None:
    """As a whole answer, so that its client comes back."""
    app = service(wsgi()).serves()
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    connection.request("GET", "/events")
    stream = connection.getresponse()
    assert stream.readline() == b"data: 0\n"
    app.restart()
    assert stream.read().endswith(b"\n\n"), "http.client raises IncompleteRead for one that was cut"
    app.logged(r"generation 1 .* left after .*: exit status 0")


@pytest.mark.long
def test_a_certificate_is_read_by_each_generation(service: Callable[..., Service], tmp_path: Path) -> None:
    """A restart is enough for a new one; a client that says nothing keeps nobody from shaking hands."""
    pem = tmp_path / "cert.pem"
    context, renew = certificates(pem)

    def seen() -> bytes:
        plain = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
        with context.wrap_socket(plain, server_hostname="localhost") as talk:
            talk.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"200 OK" in talk.recv(1000)
            return talk.getpeercert(binary_form=True) or b""

    renew()
    app = service(wsgi().replace("threads=40", f"threads=1, ssl_certfile={str(pem)!r}")).serves()
    silent = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    before = seen()
    assert seen() == before
    with socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"HTTPS only" in plain.recv(1000)
    renew()
    app.restart()
    until(lambda: seen() != before, "the new certificate is shown")
    silent.close()


@pytest.mark.long
def test_an_application_is_told_where_it_was_called(service: Callable[..., Service], tmp_path: Path) -> None:
    """By the address that was called, of several; a Unix socket is the local host."""
    place = tmp_path / "sock"
    told = wsgi().replace(
        "    answer = b",
        """
    answer = "{SERVER_NAME} {SERVER_PORT} {REMOTE_ADDR}".format(**environ).encode()
    unused = b""",
    )
    app = service(told, addresses=["127.0.0.1:0", "[::1]:0", f"unix:{place}"]).serves()
    seen = set()
    for port in app.ports():
        for host in ("127.0.0.1", "::1"):
            with contextlib.suppress(ConnectionRefusedError):
                connection = http.client.HTTPConnection(host, port, timeout=DEADLINE)
                connection.request("GET", "/")
                assert connection.getresponse().read().decode() == f"{host} {port} {host}"
                seen.add(host)
    assert seen == {"127.0.0.1", "::1"}
    with socket.socket(socket.AF_UNIX) as talk:
        talk.connect(str(place))
        talk.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(talk).endswith(b"\r\n\r\nlocalhost 80 ")


@pytest.mark.long
def test_an_unknown_option_is_refused(service: Callable[..., Service]) -> None:
    """By name, and told what there is."""
    app = service(wsgi().replace("threads=40", "bind_addr=80"))
    assert app.wait() != 0
    assert "bind_addr: is no option of serve.wsgi" in app.log
