"""serve.asgi with hypercorn: HTTP/1.1, HTTP/2 and WebSockets over both, and restarts that nobody notices."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame

from tests.process.proxies import kept
from tests.process.service import DEADLINE, Service, until
from tests.process.test_serve import (
    ALONE,
    ASGI,
    Clients,
    ask,
    none_is_lost,
    read_all,
    what_lasts_is_ended,
    who_is_here_may_ask,
)
from tests.process.test_serve_grpc import Frames
from tests.process.test_serve_wsgi import who_goes_on_sending_reads_his_answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.long  # the quick suite runs the how-to's program

HYPERCORN = re.sub(r"options = .*", 'options = {"server": "hypercorn", "loglevel": "WARNING"}', ASGI)
"""The neighbours' program; on /unread and, when it may, on /later it answers without reading."""
HYPERCORN = HYPERCORN.replace("import asyncio", "import asyncio, os").replace(
    "    while True:\n        part",
    """
    while scope["path"] == "/later" and not os.path.exists("go"):
        await asyncio.sleep(0.01)
    while scope["path"] not in ("/unread", "/later"):
        part""",
)


def of(linger: float = 1, **options: Any) -> str:
    """Return the program, with options of hypercorn."""
    more = "".join(f", {name}={what!r}" for name, what in options.items())
    return HYPERCORN.replace("linger=LINGER", f"linger={linger}{more}")


def gone(app: Service) -> None:
    """Wait until the first generation has left, and has told nobody of an error."""
    app.logged(r"generation 1 .* left after .*: exit status 0")
    assert "Traceback" not in app.log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_request_on_a_kept_connection_is_lost(service: Callable[..., Service], loop: str) -> None:
    """Whether the next one comes at once or after a pause."""
    app = service(of(linger=2, worker_class=loop)).serves()
    none_is_lost(app, Clients(app.port, [0.0, 0.001, 0.01, 0.05, 0.3]))
    assert "Traceback" not in app.log


def test_who_has_connected_may_still_ask(service: Callable[..., Service]) -> None:
    """A connection that was accepted and is silent is waited for, half a request too; the rest is closed."""
    app = service(ALONE + of(linger=4, keep_alive_timeout=DEADLINE)).serves()
    who_is_here_may_ask(app)
    gone(app)
    assert app.out.count("lifespan.shutdown") == 1


def test_a_kept_connection_is_not_kept_for_ever(service: Callable[..., Service]) -> None:
    """The server's own `keep_alive_timeout` holds: for silence, and for half a request; not for an answer."""
    app = service(of(keep_alive_timeout=0.2)).serves()
    silent, half, waits = (
        socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) for _ in range(3)
    )
    half.sendall(b"GET / HTTP/1.1\r\nHo")
    waits.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
    assert read_all(silent) == b""
    assert read_all(half) == b""
    waits.sendall(b"body")
    assert read_all(waits).endswith(b"1 4")
    kept = Talk(app.port)
    assert kept.ask(1) == b"1 0"
    assert kept.next(GoAwayFrame).last_stream_id == 2**31 - 1
    kept.sock.sendall(PingFrame(0, kept.next(PingFrame).opaque_data, flags=["ACK"]).serialize())
    assert kept.next(GoAwayFrame).last_stream_id == 1
    while kept.file.read(1):
        pass


def test_what_lasts_is_ended_so_that_its_client_comes_back(service: Callable[..., Service]) -> None:
    """A WebSocket is closed with 1012; a stream of events ends between two of them, as a whole answer."""
    what_lasts_is_ended(service(of()).serves())


def test_an_answer_is_not_torn_by_what_was_left_unread(service: Callable[..., Service]) -> None:
    """A client that goes on sending although it was answered reads its answer, also from one who leaves."""
    app = service(of()).serves()
    who_goes_on_sending_reads_his_answer(app, 0x4000)
    gone(app)


def test_who_has_sent_more_than_was_read_is_not_kept_for_ever(service: Callable[..., Service]) -> None:
    """An application answers without reading: hypercorn would wait for ever for room for the rest."""
    app = service(of()).serves()
    talker = socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE)
    head = b"POST /later HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    talker.sendall(head + b"1\r\nx\r\n" * 100 + b"0\r\n\r\n")
    for _ in range(2):
        assert ask(app.port) == "1 0", "by now it has come, more than is kept for an application"
    (app.folder / "go").touch()
    app.restart()
    assert read_all(talker).endswith(b"1 0")
    gone(app)


class Talk(Frames):
    """A client of HTTP/2, frame by frame."""

    def begin(self, number: int, path: str = "/", *, end: bool = True, **more: str) -> None:
        """Begin a request, and end it unless there is more to come."""
        head = {":method": "GET" if end else "POST", ":scheme": "http", ":path": path, ":authority": "x"}
        block = self.encoder.encode([*(head | more).items()])
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        self.sock.sendall(HeadersFrame(number, block, flags=flags).serialize())

    def say(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Say something in a request."""
        self.sock.sendall(DataFrame(number, data, flags=["END_STREAM"] if end else []).serialize())

    def body(self, number: int) -> bytes:
        """Return the whole body of an answer."""
        found = b""
        while True:
            frame = self.next(DataFrame)
            assert frame.stream_id == number
            found += frame.data
            if "END_STREAM" in frame.flags:
                return found

    def ask(self, number: int) -> bytes:
        """Ask, and return the body of the answer."""
        self.begin(number)
        return self.body(number)


def test_goaway_names_the_last_stream_that_is_taken(service: Callable[..., Service]) -> None:
    """First none is excluded; when the client has heard that, the last one that came; others are refused."""
    app = service(of()).serves()
    client = Talk(app.port)
    assert client.ask(1) == b"1 0"
    client.begin(3, end=False)
    app.restart()
    assert client.next(GoAwayFrame).last_stream_id == 2**31 - 1
    asked = client.next(PingFrame).opaque_data
    assert client.ask(5) == b"1 0", "the one that was on its way is answered"
    client.sock.sendall(PingFrame(0, asked, flags=["ACK"]).serialize())
    last = client.next(GoAwayFrame)
    assert (last.last_stream_id, last.error_code) == (5, 0)
    client.begin(7)
    refused = client.next(RstStreamFrame)
    assert (refused.stream_id, refused.error_code) == (7, ErrorCodes.REFUSED_STREAM)
    client.say(3, b"body", end=True)
    assert client.body(3) == b"1 4", "the one that was begun is finished"
    while client.file.read(1):
        pass
    gone(app)


def test_a_client_that_does_not_answer_a_ping_is_left_after_the_linger(
    service: Callable[..., Service],
) -> None:
    """It hears of the last stream all the same."""
    app = service(of()).serves()
    client = Talk(app.port)
    assert client.ask(1) == b"1 0"
    app.restart()
    assert [client.next(GoAwayFrame).last_stream_id for _ in range(2)] == [2**31 - 1, 1]
    while client.file.read(1):
        pass
    gone(app)


def test_what_lasts_in_http2_is_ended_too(service: Callable[..., Service]) -> None:
    """A stream of events as a whole; a WebSocket with 1012, and when the client has said its last word."""
    app = service(of()).serves()
    events, talk = Talk(app.port), Talk(app.port)
    events.begin(1, "/events")
    assert events.next(DataFrame).data == b"data: "
    told = {":method": "CONNECT", ":protocol": "websocket", "sec-websocket-version": "13"}
    talk.begin(1, "/ws", end=False, **told)
    assert talk.next(HeadersFrame).stream_id == 1
    talk.say(1, b"\x81\x84\0\0\0\0some")
    assert talk.next(DataFrame).data == b"\x81\x04some"
    app.restart()
    assert events.body(1).endswith(b"\n\n")
    assert talk.body(1)[:4] == b"\x88\x11\x03\xf4"
    talk.say(1, b"\x81\x84\0\0\0\0more")
    talk.say(1, b"\x88\x82\0\0\0\0\x03\xf4", end=True)
    gone(app)


@pytest.mark.parametrize("count", [40, 1])
def test_a_body_that_nobody_reads_harms_no_other_stream(service: Callable[..., Service], count: int) -> None:
    """It may end after its answer: what comes then is read and thrown away."""
    app = service(of()).serves()
    client = Talk(app.port)
    client.begin(1, end=False)
    client.begin(3, "/unread", end=False)
    assert client.body(3) == b"1 0"
    for _ in range(count):
        client.say(3, b"some")
    client.say(3, b"more", end=True)
    client.say(1, b"body", end=True)
    assert client.body(1) == b"1 4"


def test_a_connection_that_has_had_its_requests_is_left_like_any_other(
    service: Callable[..., Service],
) -> None:
    """The server's own `keep_alive_max_requests` ends no stream of HTTP/2 that is open."""
    app = service(of(keep_alive_max_requests=3)).serves()
    client = Talk(app.port)
    client.begin(1, end=False)
    for number in (3, 5, 7):
        assert client.ask(number) == b"1 0"
    assert client.next(GoAwayFrame).last_stream_id == 2**31 - 1
    client.say(1, b"body", end=True)
    assert client.body(1) == b"1 4"


def test_a_client_that_says_goaway_reads_what_it_has_asked_for(service: Callable[..., Service]) -> None:
    """It means that it asks for nothing more."""
    app = service(of()).serves()
    client = Talk(app.port)
    client.begin(1, end=False)
    client.say(1, b"bo")
    client.sock.sendall(GoAwayFrame(0, last_stream_id=0).serialize())
    client.say(1, b"dy", end=True)
    assert client.body(1) == b"1 4"
    app.restart()
    gone(app)


@pytest.fixture
def authority() -> trustme.CA:
    """Who certifies."""
    return trustme.CA()


def certified(authority: trustme.CA, folder: Path) -> dict[str, Any]:
    """Write a certificate and its key; return the options that name them."""
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    names = {"certfile": str(folder / "cert.pem"), "keyfile": str(folder / "key.pem")}
    certificate.cert_chain_pems[0].write_to_path(names["certfile"])
    certificate.private_key_pem.write_to_path(names["keyfile"])
    return names


def context_of(authority: trustme.CA) -> ssl.SSLContext:
    """Trust the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.very_long)])
def test_no_request_over_http2_is_lost(
    service: Callable[..., Service], tmp_path: Path, authority: trustme.CA, count: int
) -> None:
    """Many at a time, on a connection of httpx, which is chosen by ALPN and is told when to take another."""
    app = service(of(linger=7, **certified(authority, tmp_path)), max_draining=50).serves()
    newest, answers = 0, 0
    failures: list[str] = []

    async def go_on(client: httpx.AsyncClient, pause: float) -> None:
        nonlocal newest, answers
        while newest <= count:
            try:
                answer = await client.post("/", content=b"some")
                assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
                generation, length = map(int, answer.text.split())
                assert length == 4
                newest, answers = max(newest, generation), answers + 1
            except (httpx.HTTPError, AssertionError) as error:
                failures.append(f"{newest} {error!r} < {error.__cause__!r}")
            await asyncio.sleep(pause)

    async def restart() -> None:
        for number in range(2, count + 2):
            assert await asyncio.to_thread(app.restart) == number
            while newest < number:  # noqa: ASYNC110 - with a deadline: that of the clients
                await asyncio.sleep(0.01)

    async def storm() -> None:
        url = f"https://127.0.0.1:{app.port}"
        async with (
            httpx.AsyncClient(
                base_url=url, http1=False, http2=True, verify=context_of(authority), timeout=DEADLINE
            ) as client,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(restart())
            for pause in (0.0, 0.001, 0.002, 0.01, 0.05):
                tasks.create_task(go_on(client, pause))

    asyncio.run(storm())
    print(f"{answers} answers over {count} restarts, {len(failures)} failures")
    assert failures == [], "\n".join(failures)
    assert "Traceback" not in app.log


COUNTING = """
import atexit
asked = []
atexit.register(lambda: print("asked", asked.count("/load"), "times", flush=True))

"""


@pytest.mark.skipif(not shutil.which("h2load"), reason="h2load is not installed")
def test_what_h2load_has_begun_is_finished(service: Callable[..., Service]) -> None:
    """By prior knowledge, a hundred streams at a time; it begins no more when it hears GOAWAY.

    What it would have sent next when it hears that, with answers in front, it counts as begun: it never was.
    """
    head = "async def app(scope, receive, send):\n"
    source = of().replace(head, COUNTING + head + '    asked.append(scope.get("path"))\n', 1)
    assert COUNTING in source
    app = service(source).serves()
    load = subprocess.Popen(
        ["h2load", "-n", "1000000", "-c", "4", "-m", "25", f"http://127.0.0.1:{app.port}/load"],
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: kept(app.port), "it has connected")
    app.restart()
    said = load.communicate(timeout=60)[0]
    begun, done, succeeded = re.findall(r"(\d+) started, (\d+) done, (\d+) succeeded", said)[0]
    assert int(succeeded) > 100
    assert begun == done, said
    gone(app)
    app.said(f"asked {succeeded} times")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("bind='127.0.0.1:80'", "bind: is overseer's"),
        ("worker_class='trio'", "worker_class: is 'trio'"),
        ("graceful_timeout=3", "graceful_timeout: is overseer's"),
        ("log_level='info'", "log_level: is no option of hypercorn"),
        ("max_requests=9", "max_requests: would end the program"),
        ("from_toml='x'", "from_toml: is no option of hypercorn"),
        ("certfile='x'", "keyfile: is missing"),
    ],
)
def test_an_option_that_says_something_else_is_refused(
    service: Callable[..., Service], wrong: str, told: str
) -> None:
    """By name, in one line."""
    app = service(of().replace("linger=1", wrong))
    assert app.wait() != 0
    assert told in app.log


def test_a_start_that_fails_is_told(service: Callable[..., Service]) -> None:
    """By the application, before it is ready."""
    app = service(of().replace('told + ".complete"', 'told + ".failed", "message": "no database"'))
    assert app.wait() != 0
    assert re.search("no database", app.log)
