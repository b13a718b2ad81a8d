"""Clients that nobody here wrote, over restarts: proxies, pools of connections, curl. None tries twice."""

from __future__ import annotations

import contextlib
import shutil
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import requests
import urllib3
from bench.load import Fresh, Kept, LoadProcess, Plan, Upload
from requests.adapters import HTTPAdapter

from tests.process.curls import Curl
from tests.process.proxies import kept, proxy
from tests.process.service import DEADLINE, Service, until
from tests.process.test_serve import ASGI, UVLOOP
from tests.process.test_serve_aiohttp import AIOHTTP
from tests.process.test_serve_granian import GRANIAN
from tests.process.test_serve_hypercorn import HYPERCORN
from tests.process.test_serve_wsgi import WSGI

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.long

LINGER = 2.0
"""Seconds; longer than the proxies' patience with an idle connection, as the how-to says."""

COUNTS = [2, pytest.param(100, marks=pytest.mark.very_long)]
"""Restarts."""

PAUSES = (0.03, 0.05, 0.1, 0.2, 1.0)
"""Seconds between two requests of one thread."""

POOLED = len(PAUSES)


def of(source: str) -> str:
    """Return a program of the neighbours with the linger of this page."""
    return source.replace("LINGER", str(LINGER)).replace("PAUSE", "0")


adapters = pytest.mark.parametrize(
    "source",
    [ASGI, UVLOOP, WSGI, AIOHTTP, HYPERCORN, GRANIAN],
    ids=["asgi", "uvloop", "wsgi", "aiohttp", "hypercorn", "granian"],
)


@adapters
@pytest.mark.parametrize("count", COUNTS)
def test_no_request_through_a_proxy_is_lost(
    service: Callable[..., Service], tmp_path: Path, source: str, count: int
) -> None:
    """It keeps connections to the server alive, and passes on what comes, without a second try."""
    app = service(of(source), max_draining=50).serves()
    kinds = (Fresh(rate=40), Kept(rate=40, connections=20, pause=(0.0, 1.5)), Upload(rate=5, over=0.5))
    plan = Plan(kinds=kinds, seconds=None, timeout=30, generation_body=r"^(\d+) ")
    with contextlib.ExitStack() as all_of_them:
        loads = {}
        for kind in ("nginx", "haproxy"):
            port = all_of_them.enter_context(proxy(kind, app.port, tmp_path))
            load = all_of_them.enter_context(LoadProcess(f"http://127.0.0.1:{port}", plan))
            load.wait_started()
            loads[kind] = load
            until(lambda: kept(app.port), f"{kind} keeps connections")
        for number in range(2, count + 2):
            assert app.restart() == number
            for load in loads.values():
                load.wait_generation(number)
        reports = {kind: load.stop() for kind, load in loads.items()}
    for kind, report in reports.items():
        print(kind, report)
        assert report.failed == 0, (kind, report)
        assert report.ok > 0
    assert set((tmp_path / "access").read_text().split()) == {"200"}, "nginx has asked for each once"


class Pool:
    """Threads that share one pool of connections of some library, which is told to try nothing twice."""

    def __init__(self, kind: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.answers = 0
        self.newest = 0
        self.failures: list[str] = []
        self.over = threading.Event()
        self.ask = getattr(self, kind)()
        self.threads = [threading.Thread(target=self._go_on, args=[pause]) for pause in PAUSES]
        for thread in self.threads:
            thread.start()

    def requests(self) -> Callable[[str, bytes | None], tuple[int, bytes]]:
        """Ask with requests."""
        session = requests.Session()
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=POOLED, max_retries=0))

        def ask(method: str, body: bytes | None) -> tuple[int, bytes]:
            answer = session.request(method, self.url, data=body, timeout=DEADLINE)
            return answer.status_code, answer.content

        return ask

    def urllib3(self) -> Callable[[str, bytes | None], tuple[int, bytes]]:
        """Ask with urllib3."""
        pool = urllib3.PoolManager(maxsize=POOLED, retries=False)

        def ask(method: str, body: bytes | None) -> tuple[int, bytes]:
            answer = pool.request(method, self.url, body=body, timeout=DEADLINE)
            return answer.status, answer.data

        return ask

    def httpx(self) -> Callable[[str, bytes | None], tuple[int, bytes]]:
        """Ask with httpx."""
        client = httpx.Client(trust_env=False, transport=httpx.HTTPTransport(retries=0), timeout=DEADLINE)

        def ask(method: str, body: bytes | None) -> tuple[int, bytes]:
            answer = client.request(method, self.url, content=body)
            return answer.status_code, answer.content

        return ask

    def _go_on(self, pause: float) -> None:
        body: Any = None
        while not self.over.wait(pause):
            body = b"x" * 1000 if body is None else None
            try:
                status, answer = self.ask("POST" if body else "GET", body)
                generation, size = answer.split()
                assert (status, int(size)) == (200, len(body or b""))
                self.answers += 1
                self.newest = max(self.newest, int(generation))
            except Exception as error:  # noqa: BLE001 - each library has a family of its own
                self.failures.append(f"{pause:g}: {error!r}")

    def end(self) -> None:
        """Ask no more."""
        self.over.set()
        for thread in self.threads:
            thread.join()


@adapters
@pytest.mark.parametrize("count", COUNTS)
def test_no_request_of_a_pool_or_of_curl_is_lost(
    service: Callable[..., Service], tmp_path: Path, source: str, count: int
) -> None:
    """Connections are kept, and used again after all kinds of pauses."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed, so nothing is proven with it: make machine")
    app = service(of(source), max_draining=50).serves()
    pools = {kind: Pool(kind, app.port) for kind in ("requests", "urllib3", "httpx")}
    paces = {"50/s": ["--rate", "50/s"], "20/s": ["--rate", "20/s"], "1/s": ["--rate", "1/s"]}
    curls = {name: Curl(app.port, tmp_path / name[:-2], pace) for name, pace in paces.items()}
    try:
        for number in range(2, count + 2):
            until(lambda: all(curl.answers for curl in curls.values()), "curl has answers")
            assert app.restart() == number
            before = {name: len(curl.answers) for name, curl in curls.items()}
            for kind, pool in pools.items():
                until(lambda: pool.newest == number, f"{number} answers {kind}")  # noqa: B023 - now
            for name, curl in curls.items():
                until(lambda: len(curl.answers) > before[name], f"curl goes on at {name}")  # noqa: B023
    finally:
        for pool in pools.values():
            pool.end()
        for curl in curls.values():
            curl.end()
    for kind, pool in pools.items():
        print(f"{kind}: {pool.answers} answers over {count} restarts")
        assert pool.failures == []
    for name, curl in curls.items():
        connections = sum(int(new) for _, new in curl.answers)
        print(f"curl at {name}: {len(curl.answers)} answers on {connections} connections")
        assert curl.failures == []
        assert connections < len(curl.answers), "it keeps its connections"
