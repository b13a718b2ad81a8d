"""The garbage collector has nothing left to do when the first request comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
import gc, overseer

says_ready = overseer.State.ready

def look_first(state):
    assert gc.get_count()[2] == 0 and gc.get_freeze_count() > 10_000
    print("all is frozen", flush=True)
    says_ready(state)

overseer.State.ready = look_first
"""

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
    app.said("all is frozen")
