"""Servers of socketserver: threads, processes, and connections that are accepted in ways of their own."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING

import pytest

from tests.process.service import DEADLINE, until
from tests.process.test_serve import ASGI, KEPT, SINGLE, certificates, read_all
from tests.process.test_serve_handing import ask, is_read, made

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.service import Service

BUFFERED = KEPT.replace("    protocol_version", "    wbufsize = -1\n    protocol_version")
"""A handler that sends what it has written when it is told to."""
PARTIAL = KEPT.replace("Answer, b", "__import__('functools').partial(Answer), b")
"""One that is made with more than what its server knows, as for a directory."""
TELLS = KEPT.replace("%d %d", "%d %a").replace("len(body)", "self.client_address")
"""One that answers with its client's address."""
HANGS = SINGLE.replace(
    "    def do_POST",
    """    def setup(self):
        print("held", self.client_address[1], flush=True)
        time.sleep(3600)

    def do_POST""",
).replace("import http", "import time, http", 1)
"""A server without threads, whose first connection holds it for ever."""


def with_server(bases: str, body: str) -> str:
    """Return a program with a server of its own."""
    server = f"class Server({bases}):\n    {body}\n\ndef program"
    source = KEPT.replace("http.server.ThreadingHTTPServer(", "Server(").replace("def program", server)
    return source.replace("import http", "import socketserver, http", 1)


THREADS = "http.server.ThreadingHTTPServer"
FORKS = with_server("socketserver.ForkingMixIn, http.server.HTTPServer", "pass")
OWN = with_server(THREADS, "def get_request(self): return super().get_request()")
CONTEXT = """
import ssl
tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
tls.load_cert_chain({pem!r})

def shake(sock):
    return tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
"""
SHIELDED = {
    "accepted so": with_server(
        THREADS, "def get_request(self):\n        a, b = super().get_request()\n        return shake(a), b"
    ),
    "by its socket": KEPT.replace(
        "    overseer.serve.socketserver(",
        "    server.socket = tls.wrap_socket(server.socket, server_side=True)\n"
        "    overseer.serve.socketserver(",
    ),
    "by its handler": KEPT.replace(
        "    def do_POST",
        "    def setup(self):\n        self.request = shake(self.request)\n        super().setup()\n\n"
        "    def do_POST",
    ),
}
"""Programs that speak TLS."""


def kept(app: Service) -> http.client.HTTPConnection:
    """Return a connection on which the first generation has answered, and which it keeps."""
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    assert ask(connection) == (1, False)
    return connection


@pytest.mark.parametrize(
    "source",
    [SINGLE, BUFFERED, PARTIAL],
    ids=["without threads", "with a buffer", "made in two steps"],
)
def test_a_connection_is_handed_over_without_a_word(service: Callable[..., Service], source: str) -> None:
    """Neither its handler's end nor its server's says anything on it, nor complains that it has gone."""
    app = service(made(source)).serves()
    rests = kept(app)
    mine = rests.sock
    for generation in (2, 3, 4):
        app.restart()
        app.logged(rf"generation {generation - 1} \(pid \d+\) left .*: exit status 0")
        if generation != 3:
            assert ask(rests) == (generation, False)
    assert rests.sock is mine
    assert "Traceback" not in app.log


def test_who_waits_for_the_only_thread_is_handed_on(service: Callable[..., Service]) -> None:
    """Though it never ends that holds the thread: nobody has begun with those behind it."""
    app = service(made(KEPT), terminate_timeout=60).serves()
    rest = [kept(app) for _ in range(5)]
    app.write(made(HANGS))
    app.restart()
    (held,) = app.said(r"held (\d+)\n")
    app.logged(r"generation 1 \(pid \d+\) left")
    app.write(made(KEPT))
    app.restart()
    behind = [connection for connection in rest if connection.sock.getsockname()[1] != int(held)]
    assert [ask(connection) for connection in behind] == [(3, False)] * 4
    assert [g["number"] for g in app.status()["generations"]] == [2, 3]


def test_a_handler_waits_for_the_rest_whoever_had_its_connection(service: Callable[..., Service]) -> None:
    """Servers of asyncio wait in another way, and all who have a connection share how that is."""
    app = service(made(ASGI)).serves()
    with socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) as slow:
        app.write(made(KEPT).replace("    protocol_version", "    rbufsize = 0\n    protocol_version"))
        app.restart()
        app.logged(r"generation 1 \(pid \d+\) left")
        slow.sendall(b"POST / HTTP/1.0\r\nHost: x\r\nContent-Length: 8\r\n\r\n")
        until(lambda: is_read(slow), "half a request is read")
        slow.sendall(b"the rest")
        assert read_all(slow).endswith(b"2 8")


def test_the_next_one_is_told_who_its_client_is(service: Callable[..., Service]) -> None:
    """As if it had accepted the connection itself."""
    app = service(made(TELLS)).serves()
    rests = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    rests.connect()
    app.restart()
    app.logged(r"generation 1 \(pid \d+\) left")
    rests.request("GET", "/")
    assert rests.getresponse().read().decode() == f"2 {rests.sock.getsockname()!r}"


def test_over_a_unix_socket_too(service: Callable[..., Service], tmp_path: Path) -> None:
    """Where nobody has an address."""
    path = str(tmp_path / "web")
    app = service(made(TELLS), address=f"unix:{path}").serves()
    with socket.socket(socket.AF_UNIX) as rests:
        rests.settimeout(DEADLINE)
        rests.connect(path)
        app.restart()
        app.logged(r"generation 1 \(pid \d+\) left")
        rests.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        assert read_all(rests).endswith(b"\r\n\r\n2 ''")


@pytest.mark.parametrize("source", SHIELDED.values(), ids=SHIELDED)
def test_under_tls_a_connection_is_ended(
    service: Callable[..., Service], tmp_path: Path, source: str
) -> None:
    """Whoever of a program speaks it: the keys are in the process."""
    pem = tmp_path / "cert.pem"
    context, renew = certificates(pem)
    renew()
    app = service(CONTEXT.format(pem=str(pem)) + made(source)).serves()
    plain = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    with context.wrap_socket(plain, server_hostname="localhost") as rests:
        rests.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        while not found.endswith(b"1 0"):
            found += rests.recv(1000)
        app.restart()
        assert rests.recv(1000) == b""
    app.logged(r"generation 1 \(pid \d+\) left .*: exit status 0")
    assert "Traceback" not in app.log


def test_who_does_not_shake_hands_keeps_nobody_waiting(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """Without us a wrapped socket shakes hands as it accepts, one after the other."""
    pem = tmp_path / "cert.pem"
    context, renew = certificates(pem)
    renew()
    app = service(CONTEXT.format(pem=str(pem)) + made(SHIELDED["by its socket"])).serves()
    address = ("127.0.0.1", app.port)
    with (
        socket.create_connection(address),
        socket.create_connection(address, timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as asks,
    ):
        asks.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        assert read_all(asks).endswith(b"1 0")


def test_a_server_that_would_change_its_socket_as_it_listens_is_refused(
    service: Callable[..., Service],
) -> None:
    """As HTTPSServer does, which would serve without TLS."""
    app = service(made(with_server(THREADS, "def server_activate(self): super().server_activate()")))
    assert app.wait() == 78
    app.logged(
        r"Server.server_activate is not called, for overseer's sockets listen already: for TLS give it"
    )
    assert "Traceback" not in app.log


@pytest.mark.parametrize("source", [FORKS, OWN], ids=["in a child", "accepted in a way of its own"])
def test_what_cannot_be_handed_over_is_ended(service: Callable[..., Service], source: str) -> None:
    """A child's connection, and one that may be more than its descriptor, hear the end."""
    app = service(made(source)).serves()
    rests = kept(app)
    app.restart()
    assert rests.sock.recv(1) == b""
    app.logged(r"generation 1 \(pid \d+\) left .*: exit status 0")
    assert "Traceback" not in app.log


def test_who_is_asked_to_leave_before_it_serves_leaves(service: Callable[..., Service]) -> None:
    """The end of a loop that has not begun is waited for by nobody."""
    late = "    state.ready()\n    state.draining.wait()\n    server ="
    app = service(KEPT.replace("LINGER", "1").replace("    server =", late)).serves()
    app.restart()
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_a_server_without_threads_hears_that_its_master_has_gone(service: Callable[..., Service]) -> None:
    """Also while it drains, and is held by a request."""
    waits = """
        while not program.state.draining.stops:
            time.sleep(0.01)
        body ="""
    source = SINGLE.replace("LINGER", "1").replace("        body =", waits.lstrip("\n"))
    source = source.replace("(state):", "(state):\n    program.state = state")
    app = service(source.replace("import http", "import time, http", 1)).serves()
    held = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    held.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
    until(lambda: is_read(held), "the request is read")
    app.restart()
    app.process.kill()
    assert read_all(held).endswith(b"1 0")
