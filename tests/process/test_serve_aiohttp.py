"""serve.aiohttp: aiohttp's own server. The storm and the clients nobody here wrote ask it for much more."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.process.service import DEADLINE, Service, until
from tests.process.test_serve import ALONE, ask, who_is_here_may_ask

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.long  # the quick suite runs the how-to's program

AIOHTTP = """
import asyncio, ssl
import overseer
from aiohttp import web

async def answer(request):
    body = await request.read()
    return web.Response(text=f"{program.generation} {len(body)}")

async def talk(request):
    socket = web.WebSocketResponse()
    socket.headers["X-Generation"] = str(program.generation)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket

async def events(request):
    head = {"Content-Type": "text/event-stream", "X-Generation": str(program.generation)}
    stream = web.StreamResponse(headers=head)
    await stream.prepare(request)
    try:
        for number in range(10_000):
            await stream.write(b"data: ")
            await asyncio.sleep(0.05)
            await stream.write(b"%d\\n\\n" % number)
            await asyncio.sleep(PAUSE)
    finally:
        print("stream left", flush=True)

async def wait(request):
    await request.app["over"].wait()
    return web.Response(text="waited")

async def life(app):
    app["over"] = asyncio.Event()
    print("started", flush=True)
    yield
    print("cleaned", flush=True)

async def shut(app):
    print("shut", flush=True)
    app["over"].set()

def program(state):
    program.generation = state.generation
    app = web.Application()
    app.add_routes([web.route("*", "/", answer), web.get("/ws", talk), web.get("/events", events)])
    app.add_routes([web.get("/wait", wait)])
    app.cleanup_ctx.append(life)
    app.on_shutdown.append(shut)
    overseer.serve.aiohttp(app, state, linger=LINGER, spread=0.1)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""


def aiohttp(linger: float = 1, pause: float = 0.05) -> str:
    """Return a program that serves with aiohttp; `pause` is that between two events of its stream."""
    return AIOHTTP.replace("LINGER", str(linger)).replace("PAUSE", str(pause))


@pytest.mark.parametrize("loop", ["", "import uvloop; uvloop.install()\n"], ids=["asyncio", "uvloop"])
def test_who_has_connected_may_still_ask(service: Callable[..., Service], loop: str) -> None:
    """A connection that was accepted and is silent is waited for, half a request too; the rest is closed."""
    app = service(loop + ALONE + aiohttp()).serves()
    who_is_here_may_ask(app)
    app.logged(r"generation 1 .* left after .*: exit status 0")
    said = [line for line in app.out.splitlines() if line in ("started", "shut", "cleaned")]
    assert said == ["started", "started", "shut", "cleaned"]


@pytest.mark.parametrize("pause", [0.05, 30], ids=["talkative", "waiting"])
def test_what_lasts_is_ended_so_that_its_client_comes_back(
    service: Callable[..., Service], pause: float
) -> None:
    """A WebSocket is closed with 1012; a stream of events ends between two of them, as a whole answer.

    Also one whose next event would come in half a minute.
    """
    app = service(aiohttp(pause=pause)).serves()
    with connect(f"ws://127.0.0.1:{app.port}/ws") as talk:
        connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
        connection.request("GET", "/events")
        stream = connection.getresponse()
        assert (first := stream.readline()) == b"data: 0\n"
        app.restart()
        with pytest.raises(ConnectionClosed) as closed:
            talk.recv(timeout=DEADLINE)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1012
        assert (first + stream.read()).endswith(b"\n\n"), (
            "http.client raises IncompleteRead for one that was cut"
        )
    app.said("stream left")
    app.logged(r"generation 1 .* left after .*: exit status 0")
    assert "Traceback" not in app.log


def test_a_handler_may_wait_for_the_shutdown(service: Callable[..., Service]) -> None:
    """It hears of it when the others have been answered."""
    app = service(aiohttp()).serves()
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
    connection.request("GET", "/wait")
    until(lambda: ask(app.port).startswith("1"), "generation 1 answers")
    app.restart()
    answer = connection.getresponse()
    assert answer.read() == b"waited"
    assert answer.will_close
    app.logged(r"generation 1 .* left after .*: exit status 0")


def test_where_to_listen_is_not_the_servers_business(service: Callable[..., Service]) -> None:
    """An option that says so is refused by name, in one line."""
    app = service(aiohttp().replace("spread=0.1", "port=80"))
    assert app.wait() != 0
    assert "port: is overseer's" in app.log
