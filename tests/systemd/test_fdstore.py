"""Listeners that systemd keeps: what is killed, connections outlive."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from bench.load import Fresh, LoadProcess, Plan

from tests.process.programs import HTTP
from tests.process.service import ECHO, until
from tests.systemd.unit import greet, knock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.systemd.unit import Unit

pytestmark = pytest.mark.long

KEEPS = ("Restart=always", "RestartSec=1", "FileDescriptorStoreMax=16", "RuntimeDirectoryPreserve=restart")


def test_connections_wait_through_the_death_of_the_master(unit: Callable[..., Unit], port: int) -> None:
    """While nobody is there at all, for a whole second, none is refused: each is answered by the next."""
    app = unit(ECHO, *KEEPS, address=f"127.0.0.1:{port}", fdstore=True)
    app.start()
    assert app.show("NFileDescriptorStore") == "1"
    first = knock(port)
    os.kill(app.pid, signal.SIGKILL)
    app.is_("activating/auto-restart")
    waiting = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(200)]
    app.is_("active/running")
    answers = [greet(connection) for connection in waiting]
    assert {len(answer) for answer in answers} == {3}
    assert first[2] not in {pid for _, _, pid in answers}
    assert app.show("NFileDescriptorStore") == "1"
    assert app.show("NRestarts") == "1"


def test_no_request_fails_under_load_when_masters_are_killed(unit: Callable[..., Unit], port: int) -> None:
    """Those in flight are finished by the program that has lost its master; all others wait."""
    app = unit(HTTP, *KEEPS, address=f"127.0.0.1:{port}", fdstore=True)
    app.start()
    plan = Plan(kinds=(Fresh(rate=100),), seconds=None, timeout=60)
    with LoadProcess(f"http://127.0.0.1:{port}", plan) as load:
        load.wait_started()
        for deaths in range(1, 4):
            os.kill(app.pid, signal.SIGKILL)
            until(lambda: int(app.show("NRestarts")) == deaths, f"restart {deaths}", 60)  # noqa: B023
            app.is_("active/running")
            knock_http(port)
        report = load.stop()
    assert report.failed == 0, report
    assert report.ok > 100


def knock_http(port: int) -> None:
    """Have one request answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
