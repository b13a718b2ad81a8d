"""The load generator and servers that nobody here wrote, which are told to end under it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from bench.load import Events, Http2, LoadProcess, Outcome, Plan, WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.long

APP = """
import asyncio

async def app(scope, receive, send):
    head = [(b"x-generation", b"7")]
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "headers": head})
        while (told := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": told["text"]})
    elif scope["type"] == "http" and scope["path"] == "/events":
        head.append((b"content-type", b"text/event-stream"))
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for number in range(5):
            await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % number, "more_body": True})
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b""})
    elif scope["type"] == "http":
        await asyncio.sleep(0.05)
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"ok"})
    else:
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})
"""
UVICORN = ("uvicorn", "app:app", "--log-level", "warning", "--fd", "{fd}")
HYPERCORN = ("hypercorn", "app:app", "--bind", "fd://{fd}")


class Running:
    """A server on a port that is bound before it is started, and kept when it has ended."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        (folder / "app.py").write_text(APP)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.target = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        fd = self.listener.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *(word.format(fd=fd) for word in command)],
            cwd=folder,
            pass_fds=[fd],
            start_new_session=True,
        )

    def kill(self) -> None:
        """Kill it with its workers, who could say something otherwise."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[[Sequence[str]], Running]]:
    """Start a server that ends with the test."""
    servers: list[Running] = []

    def start(command: Sequence[str]) -> Running:
        servers.append(Running(tmp_path, command))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
        server.listener.close()


KINDS = (WebSocket(rate=50, path="/ws", connections=5), Events(path="/events", connections=3))


@pytest.mark.parametrize(
    ("command", "kinds"),
    [(UVICORN, KINDS), (HYPERCORN, (*KINDS, Http2(rate=50)))],
    ids=["uvicorn", "hypercorn"],
)
def test_a_server_that_goes_on_loses_nothing(
    running: Callable[[Sequence[str]], Running], command: Sequence[str], kinds: tuple[WebSocket | Events, ...]
) -> None:
    """Messages come back, streams end as whole answers and are opened again, requests are answered."""
    plan = Plan(kinds=kinds, seconds=None, timeout=30)
    with LoadProcess(running(command).target, plan) as load:
        load.wait_started()
        load.wait_generation(7)
        report = load.stop()
    assert dict(report.total.outcomes) == {"ok": report.sent}, report


def test_uvicorn_that_ends_tells_its_websockets_to_leave(
    running: Callable[[Sequence[str]], Running],
) -> None:
    """With 1012; what comes after that finds nobody."""
    server = running(UVICORN)
    plan = Plan(kinds=(WebSocket(rate=50, path="/ws", connections=1),), seconds=None, timeout=3)
    with LoadProcess(server.target, plan) as load:
        load.wait_generation(7)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait()
        load.wait_failures()
        report = load.stop()
    assert report.apart["websocket"]["told to leave"] == 1
    assert report.failed == report.count(Outcome.TIMEOUT), "the listener is here, and accepts nobody"
    assert report.failures[0].detail == "no WebSocket in 3 s"


def test_hypercorn_that_ends_says_goaway(running: Callable[[Sequence[str]], Running]) -> None:
    """What it cuts nevertheless is seen, in one way or another; what comes later finds nobody."""
    server = running(HYPERCORN)
    plan = Plan(kinds=(Http2(rate=100, connections=1),), seconds=None, timeout=1)
    with LoadProcess(server.target, plan) as load:
        load.wait_generation(7)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait()
        load.wait_failures()
        report = load.stop()
    assert report.apart["http2"]["told to leave"] == 1
    others = [failure.detail for failure in report.failures if failure.outcome != Outcome.TIMEOUT]
    ways = ("streams open after GOAWAY", "stream reset")
    assert all(any(way in detail for way in ways) for detail in others), others


def test_hypercorn_that_is_killed_cuts_what_is_open(running: Callable[[Sequence[str]], Running]) -> None:
    """Each stream that was open has failed, and none is sent again."""
    server = running(HYPERCORN)
    plan = Plan(kinds=(Http2(rate=200),), seconds=None, timeout=1)
    with LoadProcess(server.target, plan) as load:
        load.wait_generation(7)
        server.kill()
        load.wait_failures()
        report = load.stop()
    cut = [failure for failure in report.failures if failure.outcome in (Outcome.CLOSED, Outcome.RESET)]
    assert cut, report
    assert all("streams open" in failure.detail for failure in cut)
    assert "http2" not in report.apart
