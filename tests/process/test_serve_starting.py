"""The start of a server: ready is when its application is, and has nothing left to do then."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.process.service import until
from tests.process.test_serve import ASGI, KEPT, STREAMS
from tests.process.test_serve_aiohttp import AIOHTTP
from tests.process.test_serve_granian import GRANIAN
from tests.process.test_serve_grpc import GRPC
from tests.process.test_serve_hypercorn import HYPERCORN
from tests.process.test_serve_wsgi import WSGI

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

LOOKING = """
import gc
from overseer.program.link import Link

say = Link.say

def look_first(link, word):
    if word["type"] == "ready":
        print("frozen", gc.get_count()[2] == 0 and gc.get_freeze_count() > 10_000, flush=True)
    say(link, word)

Link.say = look_first
"""
"""A program that looks at its collector before anybody hears that it is ready."""
GATE = """
            while told == "lifespan.startup" and not os.path.exists("go"):
                await asyncio.sleep(0.01)
            if os.path.exists("bad"):
                await send({"type": told + ".failed", "message": "not today"})
                return
"""
GATE_OF_AIOHTTP = """
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    if os.path.exists("bad"):
        raise RuntimeError("not today")
    print("started", flush=True)
"""


def gated(source: str) -> str:
    """Return a server whose application starts when it may, and fails if it shall."""
    source = source.replace(
        "            print(told, flush=True)\n", f"            print(told, flush=True){GATE}"
    )
    source = source.replace('    print("started", flush=True)\n', GATE_OF_AIOHTTP)
    assert "not today" in source
    return "import os\n" + source.replace("LINGER", "1").replace("PAUSE", "0")


SLOW = {"asgi": ASGI, "hypercorn": HYPERCORN, "granian": GRANIAN, "aiohttp": AIOHTTP}

SOURCES = {
    "asgi": ASGI,
    "hypercorn": HYPERCORN,
    "granian": GRANIAN,
    "wsgi": WSGI,
    "aiohttp": AIOHTTP,
    "grpc": GRPC,
    "asyncio": STREAMS,
    "http.server": KEPT,
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_what_a_start_has_made_is_collected_and_frozen(service: Callable[..., Service], source: str) -> None:
    """Before a generation is ready, and not while somebody waits for its answer."""
    app = service(LOOKING + source.replace("LINGER", "1").replace("PAUSE", "0")).serves()
    app.said("frozen True")


@pytest.mark.parametrize("source", SLOW.values(), ids=SLOW)
def test_an_application_may_take_its_time_to_start(service: Callable[..., Service], source: str) -> None:
    """Far longer than `ready_after`: who serves goes on meanwhile, and for good if it fails then."""
    app = service(gated(source), ready_after=0.05)
    go, bad = app.folder / "go", app.folder / "bad"
    go.touch()
    app.serves()
    for ends in ("failed", "done"):
        go.unlink()
        (bad.touch if ends == "failed" else bad.unlink)()
        with app.call() as caller:
            caller.sendall(b'{"type": "restart"}\n')
            until(lambda: has_lived(app, 1.5), "the next one has begun and lives")
            assert [g["phase"] for g in app.status()["generations"]] == ["serving", "starting"]
            assert urllib.request.urlopen(f"http://127.0.0.1:{app.port}").read() == b"1 0"
            go.touch()
            assert json.loads(caller.makefile().readline())["outcome"] == ends


def test_a_server_may_be_begun_by_one_that_is_ready(service: Callable[..., Service]) -> None:
    """It has looked at its listener, say: that is no word without meaning for the master."""
    source = STREAMS.replace(
        "    await overseer.serve", "    state.listener.fileno()\n    await overseer.serve"
    )
    assert source != STREAMS
    app = service(source).serves()
    assert app.restart() == 2
    assert "means nothing" not in app.log


def has_lived(app: Service, seconds: float) -> bool:
    """Tell whether the youngest generation has lived that long since it was let in."""
    workers = app.status()["generations"][-1]["workers"]
    return any(w["stage"] == "admitted" and w["age"] > seconds for w in workers)
