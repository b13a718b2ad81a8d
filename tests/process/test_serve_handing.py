"""Connections that are kept outlive the generation that has accepted them: nobody has to end them."""

from __future__ import annotations

import http.client
import os
import resource
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bench.load import Kept, LoadProcess, Plan

from tests.process.service import DEADLINE, until
from tests.process.test_serve import ASGI, KEPT, SINGLE, UVLOOP, read_all
from tests.process.test_serve_aiohttp import AIOHTTP
from tests.process.test_serve_granian import GRANIAN
from tests.process.test_serve_hypercorn import HYPERCORN
from tests.process.test_serve_wsgi import WSGI

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

SERVERS = {
    "asgi": ASGI,
    "uvloop": UVLOOP,
    "hypercorn": HYPERCORN,
    "granian": GRANIAN,
    "wsgi": WSGI,
    "aiohttp": AIOHTTP,
    "http.server": KEPT,
}
"""All servers of HTTP that hand over what rests."""


def made(source: str, linger: float = 0.1) -> str:
    """Return the server's program."""
    return source.replace("LINGER", str(linger)).replace("PAUSE", "0")


def ask(connection: http.client.HTTPConnection) -> tuple[int, bool]:
    """Ask on a connection that is kept; return which generation answers, and whether it says the end."""
    connection.request("GET", "/")
    answer = connection.getresponse()
    return int(answer.read().split()[0]), answer.will_close


def answered(app: Service, count: int) -> list[http.client.HTTPConnection]:
    """Return so many connections on which the first generation has answered, and which it keeps."""
    kept = [http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE) for _ in range(count)]
    for connection in kept:
        assert ask(connection) == (1, False)
    return kept


@pytest.mark.parametrize("source", SERVERS.values(), ids=SERVERS)
def test_a_connection_that_rests_is_the_next_generations(
    service: Callable[..., Service], source: str
) -> None:
    """Over three restarts it is never ended, whether it was asked something in between or not."""
    app = service(made(source)).serves()
    kept, silent = (http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE) for _ in range(2))
    silent.connect()
    assert ask(kept) == (1, False)
    mine = kept.sock
    for generation in (2, 3, 4):
        assert app.restart() == generation
        app.logged(rf"generation {generation - 1} \(pid \d+\) left")
        if generation != 3:
            assert ask(kept) == (generation, False)
    assert kept.sock is mine
    assert ask(silent) == (4, False)


@pytest.mark.parametrize("source", SERVERS.values(), ids=SERVERS)
def test_what_has_begun_is_finished_by_whoever_began_it(service: Callable[..., Service], source: str) -> None:
    """Half a request has been read by the old one, so nobody else can answer it."""
    app = service(made(source)).serves()
    half = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    silent = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    silent.connect()
    half.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf")
    until(lambda: is_read(half), "half a request is read")
    app.restart()
    until(lambda: connections(app, 2), "the second one has a connection")
    half.sendall(b"half")
    assert read_all(half).endswith(b"1 8")
    assert ask(silent) == (2, False)


@pytest.mark.parametrize(
    ("former", "later"),
    [
        ("asgi", "aiohttp"),
        ("asgi", "wsgi"),
        ("asgi", "hypercorn"),
        ("asgi", "granian"),
        ("asgi", "http.server"),
        ("http.server", "asgi"),
    ],
)
def test_the_next_one_may_run_another_server(
    service: Callable[..., Service], former: str, later: str
) -> None:
    """A connection of HTTP/1.1 on which nothing is under way is the same to all of them."""
    app = service(made(SERVERS[former])).serves()
    kept = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    assert ask(kept) == (1, False)
    app.write(made(SERVERS[later]))
    app.restart()
    app.logged(r"generation 1 \(pid \d+\) left")
    assert ask(kept) == (2, False)


@pytest.mark.long
@pytest.mark.parametrize("linger", [0.05, 1.0], ids=["at once", "late"])
@pytest.mark.parametrize("source", SERVERS.values(), ids=SERVERS)
def test_connections_outlive_restarts_that_overtake_each_other(
    service: Callable[..., Service], source: str, linger: float
) -> None:
    """Who takes over drains before it has read all, or before it was given any: the next gets the rest."""
    app = service(made(source, linger=linger), max_draining=30).serves()
    plan = Plan(
        kinds=(Kept(rate=200, connections=100, pause=(0.0, 2.0)),),
        seconds=None,
        timeout=DEADLINE,
        generation_body=r"^(\d+) ",
    )
    with LoadProcess(f"http://127.0.0.1:{app.port}", plan) as load:
        load.wait_started()
        for number in range(2, 22):
            assert app.restart() == number
            load.wait_generation(number)
        report = load.stop()
    assert report.failed == 0, report
    assert report.connections.get("closed while idle", 0) == 0, report


def is_read(sock: socket.socket) -> bool:
    """Tell whether the other side has read all that was sent (ss(8): nothing waits in its queue)."""
    here, there = (f":{name[1]:04X}" for name in (sock.getsockname(), sock.getpeername()))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = [words[4] for words in lines if words[1].endswith(there) and words[2].endswith(here)]
    return found == ["00000000:00000000"]


def connections(app: Service, generation: int) -> int:
    """Count the connections that a generation has."""
    (pid,) = app.pids(generation)
    found = subprocess.run(
        ["ss", "-Htnp", f"sport = :{app.port}"], check=True, capture_output=True, text=True
    ).stdout
    return found.count(f"pid={pid},")


@pytest.mark.parametrize("source", [ASGI, KEPT, SINGLE], ids=["asgi", "http.server", "without threads"])
def test_with_nobody_to_take_it_a_connection_is_ended(service: Callable[..., Service], source: str) -> None:
    """The service stops: who rests hears the end."""
    app = service(made(source)).serves()
    kept = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    ask(kept)
    app.process.terminate()
    assert kept.sock.recv(1) == b""
    assert app.wait() == 0


@pytest.mark.parametrize("source", [GRANIAN, ASGI], ids=["granian", "asgi"])
def test_a_connection_comes_to_the_listener_at_which_it_has_knocked(
    service: Callable[..., Service], source: str
) -> None:
    """The application is told of it, and may let in here whom it does not let in there."""
    hosts = ["127.0.0.1", "127.0.0.2"]
    with socket.create_server((hosts[0], 0)) as free:
        port = free.getsockname()[1]
    tell = 'b"%s" % scope["server"][0].encode()'
    source = made(source).replace('b"%d %d" % (program.generation, len(body))', tell)
    app = service(source, addresses=[f"{host}:{port}" for host in hosts]).serves()
    kept = [http.client.HTTPConnection(host, port, timeout=DEADLINE) for host in hosts]
    for connection in kept:
        connection.connect()
    mine = [connection.sock for connection in kept]
    app.restart()
    app.logged(r"generation 1 \(pid \d+\) left")
    for connection, host in zip(kept, hosts, strict=True):
        connection.request("GET", "/")
        assert connection.getresponse().read().decode() == host
    assert [connection.sock for connection in kept] == mine


def test_a_generation_that_has_no_descriptor_free_hands_over_all_the_same(
    service: Callable[..., Service],
) -> None:
    """Who accepts as many as may be open leaves none to look with; some were kept free for that."""
    app = service(made(GRANIAN)).serves()
    kept = answered(app, 50)
    (pid,) = app.pids(1)
    most = max(int(number) for number in os.listdir(f"/proc/{pid}/fd"))
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + 1, hard))
    app.restart()
    app.logged(r"generation 1 \(pid \d+\) left .*: exit status 0")
    assert {ask(connection) for connection in kept} == {(2, False)}


@pytest.mark.long
def test_more_connections_than_the_next_one_may_have_do_not_wait_for_each_other(
    service: Callable[..., Service],
) -> None:
    """Those for which there is no room are given up together, and not each after a time of its own."""
    app = service(made(ASGI)).serves()
    kept = answered(app, 20)
    app.write(made(GRANIAN).replace('"server": "granian"', '"server": "granian", "backpressure": 5'))
    app.restart()
    app.logged(r"generation 1 \(pid \d+\) left")
    then = time.monotonic()
    app.logged("the server does not accept it", times=15)
    assert time.monotonic() - then < 15, "each would have taken three seconds"
    for connection in kept:  # open until now, or there would be room
        connection.close()
