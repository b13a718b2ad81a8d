"""What a load balancer is told: this service lives, it is ready, and it stops."""

from __future__ import annotations

import http.client
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.service import DEADLINE, Service, until
from tests.process.test_serve import ASGI
from tests.process.test_serve_aiohttp import AIOHTTP
from tests.process.test_serve_wsgi import WSGI

if TYPE_CHECKING:
    from collections.abc import Callable

SERVERS = {"asgi": ASGI, "wsgi": WSGI, "aiohttp": AIOHTTP}


@pytest.fixture(params=SERVERS)
def app(service: Callable[..., Service], request: pytest.FixtureRequest) -> Service:
    """Return a service that answers a load balancer's questions."""
    source = SERVERS[request.param].replace("linger=LINGER", "linger=30, live='/livez', ready='/readyz'")
    return service(source.replace("PAUSE", "0"), version="1.2").serves()


class Asking:
    """A client that keeps its connection for as long as it may."""

    def __init__(self, app: Service) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=DEADLINE)
        self.connection.connect()

    def get(self, path: str, method: str = "GET") -> tuple[int, Any, bool]:
        """Return the status, what was told, and whether the connection has ended with it."""
        self.connection.request(method, path)
        answer = self.connection.getresponse()
        text = answer.read()
        told = json.loads(text) if text.startswith(b"{") else text
        return answer.status, told, answer.will_close

    def last(self, path: str) -> tuple[int, Any]:
        """Ask again and again until the server has had enough of it, and return its last answer."""
        answers: list[tuple[int, Any, bool]] = []

        def ended() -> bool:
            answers.append(self.get(path))
            return answers[-1][2]

        until(ended, "an answer ends the connection")
        return answers[-1][:2]


def test_who_serves_lives_and_is_ready(app: Service) -> None:
    """Both are told with who tells it; everything else is the application's."""
    asking = Asking(app)
    told = {"status": "ok", "generation": 1, "worker": 1, "version": "1.2", "draining": False}
    for path in ("/livez", "/readyz"):
        status, seen, _ = asking.get(path)
        assert (status, seen | told) == (200, seen), seen
        assert len(seen["release"]) == 64, "the SHA-256 of what runs"
        assert asking.get(path, "HEAD")[:2] == (200, b"")
    assert asking.get("/")[:2] == (200, b"1 0")
    assert not isinstance(Asking(app).get("/livez", "POST")[1], dict), "another method is the application's"


def test_a_restart_takes_no_host_out(app: Service) -> None:
    """A generation that drains because another serves is still ready, and sends who asks to the next one."""
    asking, another = Asking(app), Asking(app)
    assert asking.get("/readyz")[0] == another.get("/readyz")[0] == 200
    app.restart()
    assert asking.last("/readyz")[0] == 200, "whether it was made before the drain, or in it"
    status, told = another.last("/readyz")
    assert status == 200
    assert (told["generation"], told["draining"]) == (1, True)
    until(lambda: Asking(app).get("/readyz")[1]["generation"] == 2, "the next one is asked")


def test_a_service_that_stops_is_not_ready_any_more(app: Service) -> None:
    """It lives, and it says that it stops: a balancer looks for another host."""
    first, asking, another = (Asking(app) for _ in range(3))
    assert first.get("/livez")[0] == asking.get("/readyz")[0] == another.get("/livez")[0] == 200
    app.signal(signal.SIGTERM)
    assert first.last("/livez")[0] == 200, "whether it was made before the stop, or in it"
    status, told = asking.last("/readyz")
    assert (status, told["status"], told["draining"]) == (503, "stopping", True)
    assert another.last("/livez")[0] == 200
    assert app.wait() == 0
