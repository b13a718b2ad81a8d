"""Restarts under every kind of client that the load has: none of them loses a request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from bench.load import (
    Drip,
    Events,
    Fresh,
    Http2,
    Kept,
    Kind,
    Late,
    LoadProcess,
    Pipeline,
    Plan,
    Upload,
    WebSocket,
)

from tests.process.test_serve import ASGI, KEPT, UVLOOP
from tests.process.test_serve_aiohttp import AIOHTTP
from tests.process.test_serve_granian import GRANIAN
from tests.process.test_serve_hypercorn import HYPERCORN
from tests.process.test_serve_wsgi import WSGI

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

LINGER = 1.0
"""Seconds; kept connections pause for up to twice as long."""

PATIENCE = 30.0
"""Seconds. On a machine that is full everybody waits; it is losses that are counted here."""
STREAMS = (Events(path="/events", connections=5),)
LASTING = (*STREAMS, WebSocket(path="/ws", rate=20, connections=5, crossing=PATIENCE))
"""Clients who are told to leave by each restart, and come back: that is how they do not notice it.

What was sent so long before a close without an echo has not crossed it: no machine is as busy as that.
"""
EVERY = (*LASTING, Http2(rate=20))
STREAMED = """
import asyncio
import overseer

async def answer(reader, writer):
    last = b""
    while not last:
        try:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
        except asyncio.IncompleteReadError:
            return
        fields = dict(line.split(b": ") for line in head.lower().split(b"\\r\\n")[1:-2])
        body = await reader.readexactly(int(fields.get(b"content-length", 0)))
        last = b"Connection: close\\r\\n" if program.state.draining else b""
        text = b"%d %d" % (program.state.generation, len(body))
        writer.write(b"HTTP/1.1 200 OK\\r\\n%sContent-Length: %d\\r\\n\\r\\n%s" % (last, len(text), text))
        await writer.drain()

async def program(state):
    program.state = state
    await overseer.serve.asyncio(answer, state)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
"""A little server of HTTP for `serve.asyncio`: whoever keeps a connection gets one more answer on it."""
LEFT_OUT = {STREAMED: (Pipeline,)}
"""Clients whom a server never answers well: this one ends behind an answer, with the rest unread."""
SHARES = {HYPERCORN: 1 / 3}
"""What of the rates a server is asked for that needs more of a core for an answer; losses count."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("source", "lasting"),
    [
        (ASGI, LASTING),
        (UVLOOP, LASTING),
        (WSGI, STREAMS),
        (AIOHTTP, LASTING),
        (HYPERCORN, EVERY),
        (GRANIAN, EVERY),
        (KEPT, ()),
        (STREAMED, ()),
    ],
    ids=["asgi", "uvloop", "wsgi", "aiohttp", "hypercorn", "granian", "http.server", "asyncio"],
)
@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.very_long)])
def test_no_client_notices_a_restart(
    service: Callable[..., Service], source: str, lasting: tuple[Kind, ...], count: int
) -> None:
    """Anew, kept alive with pauses, late, byte by byte, uploading slowly, several requests at once.

    Streams of events end between two events, and WebSockets after their last echo. Before the next restart
    each of these has heard the new generation.
    """
    app = service(source.replace("LINGER", str(LINGER)).replace("PAUSE", "0"), max_draining=50).serves()
    share = SHARES.get(source, 1)
    lasting = tuple(replace(kind, rate=kind.rate * share) for kind in lasting)
    storm(app, source, lasting, count, share=share, left_out=LEFT_OUT.get(source, ()))


def storm(
    app: Service,
    source: str,
    lasting: tuple[Kind, ...],
    count: int,
    *,
    share: float,
    left_out: tuple[type[Kind], ...],
    ca: str = "",
) -> None:
    """Restart so often under every kind of client; over TLS, if there is an authority to trust.

    `share` is what is left of the rates of those who do not last.
    """
    kinds: tuple[Kind, ...] = (
        Fresh(rate=100),
        Kept(rate=100, connections=50, pause=(0.0, 2 * LINGER)),
        Late(rate=20, wait=0.2),
        Drip(rate=10, over=0.5),
        Upload(rate=10, over=0.5),
        Pipeline(rate=10),
    )
    kinds = tuple(replace(kind, rate=kind.rate * share) for kind in kinds if not isinstance(kind, left_out))
    kinds += lasting
    plan = Plan(kinds=kinds, seconds=None, timeout=2 * PATIENCE, generation_body=r"^(\d+) ", ca=ca)
    with LoadProcess(f"http{'s' if ca else ''}://127.0.0.1:{app.port}", plan) as load:
        load.wait_started()
        for number in range(1, count + 2):
            assert number == 1 or app.restart() == number
            load.wait_generation(number)
            for kind in lasting:
                # granian leaves away the fields with which a WebSocket is accepted: nobody knows who echoes.
                if source != GRANIAN or not isinstance(kind, WebSocket):
                    load.wait_generation(number, 2 * PATIENCE, kind=kind.label)
        report = load.stop()
    print(report)
    assert report.failed == 0, report
    assert report.ok > 0
    for kind in lasting:
        assert report.apart[kind.label]["told to leave"] >= count
