"""Requests that outlast what a drain allows: who is cut, how a client sees it, and that nobody else is."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from bench.load import Fresh, Kept, Kind, Late, LoadProcess, Plan
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.process.service import DEADLINE, until
from tests.process.test_serve import ask, read_all
from tests.process.test_serve_handing import SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

pytestmark = pytest.mark.long

FRESH: tuple[Kind, ...] = (Fresh(rate=60), Late(rate=20, wait=0.1))
KEEPING = (*FRESH, Kept(rate=60, connections=20, pause=(0.0, 1.0)))

OF_ASGI = """
    if scope["path"] == "/hang":
        print("hangs", flush=True)
        HANG
    if scope["path"] == "/long":
        head = [(b"x-generation", b"%d" % program.generation)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        while True:
            await send({"type": "http.response.body", "body": bytes(1000), "more_body": True})
            await asyncio.sleep(0.05)
    if scope["path"] == "/events":
"""
OF_WSGI = """
    if environ["PATH_INFO"] == "/hang":
        print("hangs", flush=True)
        HANG
    if environ["PATH_INFO"] == "/long":
        start("200 OK", [("X-Generation", str(program.generation))])
        return (time.sleep(0.05) or bytes(1000) for _ in range(10_000))
    if environ["PATH_INFO"] == "/events":
"""
OF_AIOHTTP = """
async def hang(request):
    print("hangs", flush=True)
    HANG

async def download(request):
    stream = web.StreamResponse(headers={"X-Generation": str(program.generation)})
    await stream.prepare(request)
    while True:
        await stream.write(bytes(1000))
        await asyncio.sleep(0.05)

async def wait(request):
"""
OF_THREADS = """
    def do_GET(self):
        if self.path == "/hang":
            print("hangs", flush=True)
            HANG
"""
ROUTES = 'web.get("/wait", wait)'
PLACES = (
    ('    if scope["path"] == "/events":\n', OF_ASGI),
    ('    if environ["PATH_INFO"] == "/events":\n', OF_WSGI),
    ("async def wait(request):\n", OF_AIOHTTP),
    ("    def do_GET(self):\n", OF_THREADS),
    (ROUTES, f'{ROUTES}, web.get("/hang", hang), web.get("/long", download)'),
)
"""In the programs of the neighbours, what is put into their stead."""
SLEEPS = "__import__('time').sleep(3600)"
WAITS = {name: SLEEPS if name in ("wsgi", "http.server") else "await asyncio.sleep(3600)" for name in SERVERS}
BLOCKED = ("asgi", "uvloop", "hypercorn", "granian", "aiohttp")
"""Servers whose loop a request can block."""


def made(name: str, hang: str = "pass") -> str:
    """Return a program that answers two paths more: one never, one for ever."""
    source = SERVERS[name]
    for old, new in PLACES:
        source = source.replace(old, new.lstrip("\n").replace("HANG", hang), 1)
    assert hang in source
    return source.replace("LINGER", "0.5").replace("PAUSE", "0.05")


def load_on(app: Service, *kinds: Kind) -> LoadProcess:
    """Return clients that ask other things meanwhile."""
    plan = Plan(kinds=kinds, seconds=None, timeout=30, generation_body=r"^(\d+) ")
    return LoadProcess(f"http://127.0.0.1:{app.port}", plan)


def hang(app: Service) -> socket.socket:
    """Ask for what is never answered, and wait until it is being answered."""
    client = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    app.said("hangs")
    return client


def is_cut(app: Service, client: socket.socket, seconds: int) -> None:
    """See how a request ends that has outlasted its generation."""
    with contextlib.suppress(ConnectionResetError):
        assert read_all(client) == b""
    app.logged(
        r"overseer: warning: generation 1 \(pid \d+\) is killed \d+\.\d\d s old: "
        rf"still there {seconds} s after it was asked to leave\n"
        r"overseer: generation 1 \(pid \d+\) left after \d+\.\d\d s: killed by signal 9\n"
    )


@pytest.mark.parametrize("name", SERVERS)
def test_a_request_that_never_ends_is_cut_and_nothing_else(
    service: Callable[..., Service], name: str
) -> None:
    """After `terminate_timeout` its client sees the end of its connection; the log says who was killed.

    Others who were with that generation were answered, and are with the next one long since.
    """
    app = service(made(name, WAITS[name]), terminate_timeout=6).serves()
    with load_on(app, *KEEPING) as load:
        load.wait_started()
        load.wait_generation(1)
        client = hang(app)
        assert app.restart() == 2
        assert [each["number"] for each in app.status()["generations"]] == [1, 2]
        is_cut(app, client, 6)
        load.wait_generation(2)
        assert app.restart() == 3
        load.wait_generation(3)
        report = load.stop()
    assert report.failed == 0, report
    assert app.log.count("is killed") == 1


@pytest.mark.parametrize("name", BLOCKED)
def test_a_request_that_blocks_its_loop_is_cut(service: Callable[..., Service], name: str) -> None:
    """Its generation neither hears that it drains nor accepts: whoever knocks is answered by the next one."""
    app = service(made(name, SLEEPS), terminate_timeout=3).serves()
    client = hang(app)
    assert app.restart() == 2
    with load_on(app, *KEEPING) as load:
        load.wait_started()
        is_cut(app, client, 3)
        load.wait_generation(2)
        report = load.stop()
    assert report.failed == 0, report
    assert set(report.generations) == {"2"}


def test_who_waits_for_a_thread_is_answered_by_the_next_one(service: Callable[..., Service]) -> None:
    """All threads of `serve.wsgi` hang, in a database, say; nobody has begun with what has come since."""
    app = service(made("wsgi", SLEEPS).replace("threads=40", "threads=2"), terminate_timeout=60).serves()
    kept = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    kept.request("GET", "/")
    assert kept.getresponse().read() == b"1 0"
    hung = [hang(app) for _ in range(2)]
    app.said("hangs", 2)
    waiting = [socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) for _ in range(20)]
    for each in waiting:
        each.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
    kept.request("GET", "/")
    assert app.restart() == 2
    assert [read_all(each)[-3:] for each in waiting] == [b"2 0"] * 20
    assert kept.getresponse().read() == b"2 0"
    assert [g["number"] for g in app.status()["generations"]] == [1, 2]
    for each in hung:
        each.close()


class Reads(threading.Thread):
    """One who reads an answer, or listens on a WebSocket, until it ends."""

    def __init__(self, app: Service, path: str) -> None:
        super().__init__(daemon=True)
        self.place = ("127.0.0.1", app.port)
        self.path = path
        self.generation = ""
        self.bytes = 0
        self.end = ""
        self.start()

    def run(self) -> None:
        """Read."""
        try:
            if self.path == "/ws":
                self._listen()
            else:
                self._read()
        except (OSError, http.client.HTTPException) as error:
            self.end = type(error).__name__

    def _read(self) -> None:
        connection = http.client.HTTPConnection(*self.place, timeout=DEADLINE)
        connection.request("GET", self.path)
        answer = connection.getresponse()
        self.generation = answer.headers["X-Generation"]
        while piece := answer.read1(1000):
            self.bytes += len(piece)
        self.end = "whole"

    def _listen(self) -> None:
        with connect(f"ws://{self.place[0]}:{self.place[1]}/ws") as talk:
            self.bytes = 1
            try:
                talk.recv(timeout=4 * DEADLINE)
            except ConnectionClosed as closed:
                self.end = str(closed.rcvd and closed.rcvd.code)


@pytest.mark.parametrize("name", [name for name in SERVERS if name != "http.server"])
def test_the_longest_download_is_cut_when_too_many_drain(service: Callable[..., Service], name: str) -> None:
    """The oldest generation is killed at once when one more than `max_draining` would drain.

    Its client sees a body that was cut. Streams of events and WebSockets have been told to leave long before,
    and the younger downloads go on. Whoever asks anew notices nothing.
    """
    app = service(made(name), terminate_timeout=60, max_draining=2).serves()
    downloads: list[Reads] = []
    with load_on(app, *FRESH) as load:
        load.wait_started()
        for number in (1, 2, 3, 4):
            load.wait_generation(number)
            until(lambda: ask(app.port) == f"{number} 0", "it answers")  # noqa: B023
            lasting = [Reads(app, path) for path in ("/events", "/ws")[: 1 if name == "wsgi" else 2]]
            downloads.append(Reads(app, "/long"))
            until(lambda: all(each.bytes for each in (*lasting, downloads[-1])), "they have begun")  # noqa: B023
            assert app.restart() == number + 1
            until(lambda: all(each.end for each in lasting), "they are told to leave")  # noqa: B023
            assert [each.end for each in lasting] == ["whole", "1012"][: len(lasting)]
        until(lambda: all(each.end for each in downloads[:2]), "the two oldest downloads are cut")
        load.wait_generation(5)
        read = [each.bytes for each in downloads[2:]]
        until(lambda: all(a.bytes > b for a, b in zip(downloads[2:], read, strict=True)), "the others go on")
        report = load.stop()
    assert report.failed == 0, report
    assert {each.end for each in downloads[:2]} <= {"IncompleteRead", "ConnectionResetError"}
    assert [each.generation for each in downloads] == ["1", "2", "3", "4"]
    assert [each.end for each in downloads[2:]] == ["", ""]
    killed = (
        r"warning: generation (\d) \(pid \d+\) is killed .* old: more than 2 generations would be draining"
    )
    assert re.findall(killed, app.log) == ["1", "2"]
    app.logged(r"generation [12] \(pid \d+\) left after .*: killed by signal 9", 2)
    assert [g["number"] for g in app.status()["generations"]] == [3, 4, 5]
