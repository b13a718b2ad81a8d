"""serve.asgi with hypercorn, HTTP/3: restarts on a UDP socket that generations share."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.process.http3 import Client
from tests.process.service import DEADLINE, Service
from tests.process.test_serve_hypercorn import certified, gone, of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.long


class Served:
    """A service on a UDP port, and what its clients need."""

    def __init__(self, service: Callable[..., Service], folder: Path, **options: Any) -> None:
        authority = trustme.CA()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        names = certified(authority, folder)
        addresses = ["127.0.0.1:0", f"udp:127.0.0.1:{self.port}"]
        self.app = service(of(**options, **names), addresses=addresses, max_draining=50).serves()
        self.authority = authority.cert_pem.bytes()

    def client(self, *, heeds: bool = True) -> Client:
        """Return one."""
        return Client(self.port, self.authority, heeds=heeds)

    async def restart(self) -> int:
        """Restart."""
        return await asyncio.to_thread(self.app.restart)


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("count", [5, pytest.param(100, marks=pytest.mark.very_long)])
def test_requests_over_http3(
    service: Callable[..., Service],
    tmp_path: Path,
    count: int,
    heeds: bool,  # noqa: FBT001
) -> None:
    """None is lost of clients that go when they hear GOAWAY, at once or after pauses, old or new."""
    served = Served(service, tmp_path, linger=5)
    newest, times, failures = 0, list[float](), list[str]()
    over = asyncio.Event()

    async def go_on(pause: float, *, anew: bool) -> None:
        nonlocal newest
        client = served.client(heeds=heeds)
        while not over.is_set():
            began = time.monotonic()
            try:
                async with asyncio.timeout(DEADLINE):
                    newest = max(newest, await client.ask())
                times.append(time.monotonic() - began)
            except (OSError, AssertionError) as error:
                failures.append(f"{newest} {error!r}")
                await client.end()
            if anew:
                await client.end()
            await asyncio.sleep(pause)
        await client.end()

    async def storm() -> None:
        async with asyncio.TaskGroup() as tasks:
            for pause in (0.0, 0.001, 0.01, 0.05, 0.3):
                for anew in (False, True):
                    tasks.create_task(go_on(pause, anew=anew))
            for number in range(2, count + 2):
                assert await served.restart() == number
                async with asyncio.timeout(DEADLINE):
                    while newest < number:  # noqa: ASYNC110 - a fact about what comes from outside
                        await asyncio.sleep(0.01)
            over.set()

    asyncio.run(storm())
    times.sort()
    slow = ", ".join(f"{share:.1%} {times[int(share * (len(times) - 1))]:.3f} s" for share in (0.5, 0.99, 1))
    print(f"{count} restarts, {len(times)} answers ({slow}), {len(failures)} failures")
    if heeds:
        assert failures == [], "\n".join([*failures, served.app.log])
    assert "Traceback" not in served.app.log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_has_begun_is_finished_by_the_generation_that_began_it(
    service: Callable[..., Service], tmp_path: Path, loop: str
) -> None:
    """An upload goes on, over any number of restarts; a stream of events ends between two of them."""
    served = Served(service, tmp_path, linger=0.1, worker_class=loop)

    async def talk() -> None:
        client, watcher = served.client(), served.client()
        upload, events = await client.talk(), await watcher.talk()
        number = upload.begin(end=False)
        upload.say(number, b"be")
        stream = events.parts(events.begin("/events"))
        found = await anext(stream)
        assert found == b"data: "
        for _ in range(3):
            await served.restart()
            upload.say(number, b"go")
        async for part in stream:
            found += part
        assert found.endswith(b"\n\n")
        upload.say(number, b"ne", end=True)
        assert await upload.body(number) == b"1 10"
        assert await client.ask() == 4
        for one in (client, watcher):
            await one.end()

    asyncio.run(talk())
    gone(served.app)


def test_a_request_that_comes_late_is_rejected_and_was_not_begun(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """A client that does not heed GOAWAY is answered until the linger is over, and then told so."""
    served = Served(service, tmp_path, linger=0.1)

    async def go_on(client: Client) -> None:
        while True:
            assert await client.ask() == 1

    async def talk() -> None:
        client = served.client(heeds=False)
        old = await client.talk()
        number = old.begin(end=False)  # which keeps the connection
        assert await client.ask() == 1
        await served.restart()
        with pytest.raises(ConnectionError, match="reset: 0x10b"):
            await go_on(client)
        old.say(number, b"body", end=True)
        assert await old.body(number) == b"1 4"
        await client.end()

    asyncio.run(talk())
    gone(served.app)


def test_clients_are_told_where_http3_is(service: Callable[..., Service], tmp_path: Path) -> None:
    """By Alt-Svc, in the answers over TCP."""
    served = Served(service, tmp_path)
    context = ssl.create_default_context(cadata=served.authority.decode())
    connection = http.client.HTTPSConnection("127.0.0.1", served.app.port, timeout=DEADLINE, context=context)
    connection.request("GET", "/")
    assert connection.getresponse().headers["alt-svc"] == f'h3=":{served.port}"; ma=3600'
    connection.close()


def test_there_is_no_http3_without_tls(service: Callable[..., Service]) -> None:
    """It is said, and not left out."""
    app = service(of(), address="udp:127.0.0.1:0")
    assert app.wait() != 0
    assert "certfile: is missing" in app.log


def test_several_workers_are_refused_for_http3(service: Callable[..., Service], tmp_path: Path) -> None:
    """In one line that says why, and not when the first client falls silent."""
    source = of(**certified(trustme.CA(), tmp_path))
    app = service(source, addresses=["127.0.0.1:0", "udp:127.0.0.1:0"], workers=2)
    assert app.wait() != 0
    assert "workers: is 1 with HTTP/3" in app.log
