"""Listeners that systemd keeps: what is killed, connections outlive."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from bench.load import Fresh, LoadProcess, Plan

from tests.process.programs import HTTP
from tests.process.service import ECHO, until
from tests.systemd.manager import SLOW
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
    waiting = [socket.create_connection(("127.0.0.1", port), timeout=SLOW) for _ in range(200)]
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
    plan = Plan(kinds=(Fresh(rate=100),), seconds=None, timeout=SLOW)
    with LoadProcess(f"http://127.0.0.1:{port}", plan) as load:
        load.wait_started()
        for deaths in range(1, 4):
            os.kill(app.pid, signal.SIGKILL)
            until(lambda: int(app.show("NRestarts")) == deaths, f"restart {deaths}", SLOW)  # noqa: B023
            app.is_("active/running")
            knock_http(port)
        report = load.stop()
    assert report.failed == 0, report
    assert report.ok > 100


def test_a_restart_of_the_whole_service_refuses_nobody(unit: Callable[..., Unit], port: int) -> None:
    """Neither at its port nor at its socket file, which stays the same one throughout."""
    app = unit(HTTP, *KEEPS)
    path = f"/run/{app.name}/app.sock"
    app.write(HTTP, addresses=[f"127.0.0.1:{port}", f"unix:{path}"], fdstore=True)
    app.start()
    outside = app.systemd.root / path[1:]
    inode = outside.stat().st_ino
    plans = Plan(kinds=(Fresh(rate=40),), seconds=None, timeout=SLOW)
    with LoadProcess(f"http://127.0.0.1:{port}", plans) as tcp, LoadProcess(f"unix:{outside}", plans) as unix:
        for load in (tcp, unix):
            load.wait_started()
        for _ in range(3):
            before = app.show("MainPID")
            app.systemd.ctl("restart", app.name)
            assert app.show("MainPID") != before
        reports = [load.stop() for load in (tcp, unix)]
    assert [report.failed for report in reports] == [0, 0], reports
    assert outside.stat().st_ino == inode
    assert app.show("NFileDescriptorStore") == "2"


def test_a_port_that_becomes_wider_can_be_had_at_the_next_start(unit: Callable[..., Unit]) -> None:
    """What systemd keeps of the narrow one is in the way: it is given back first. In a network of its own."""
    alone = ("Type=exec", "ExecStart=", "ExecStart=sleep infinity", "ExecReload=", "PrivateNetwork=yes")
    network = unit("", *alone)
    app = unit(HTTP, *KEEPS, "PrivateNetwork=yes", f"[Unit]\nJoinsNamespaceOf={network.name}.service")
    network.start()
    app.write(HTTP, addresses=["127.0.0.1:80", "127.0.0.1:81"], fdstore=True)
    app.start()
    assert app.show("NFileDescriptorStore") == "2"
    app.write(HTTP, addresses=["0.0.0.0:80"])
    app.systemd.ctl("restart", app.name)
    assert app.show("NFileDescriptorStore") == "1"
    assert app.show("NRestarts") == "0"
    table = (app.systemd.root.parent.parent / str(app.pid) / "net" / "tcp").read_text()
    listening = [line.split()[1] for line in table.splitlines()[1:] if line.split()[3] == "0A"]
    assert listening == ["00000000:0050"]


def test_a_store_that_is_too_small_is_said(unit: Callable[..., Unit], port: int) -> None:
    """Where systemd tells how much it keeps, what it does not is told; no program takes that for its own."""
    source = ECHO.replace(
        "def program(state):\n", "def program(state):\n    print('FDSTORE' in os.environ)\n"
    )
    app = unit(
        source, "FileDescriptorStoreMax=1", addresses=[f"127.0.0.1:{port}", "127.0.0.1:0"], fdstore=True
    )
    if app.systemd.version < 254:
        pytest.skip(f"systemd {app.systemd.version} does not tell how many descriptors it keeps (FDSTORE)")
    app.start()
    app.logged("keeps 1 descriptors (FileDescriptorStoreMax=), and there are 2 listeners")
    app.systemd.ctl("stop", app.name)
    assert "False" in app.log.splitlines()


def test_an_address_that_is_gone_is_given_up_by_systemd_too(unit: Callable[..., Unit], port: int) -> None:
    """What it keeps follows the release that serves, under names that people can read."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        other = found.getsockname()[1]
    app = unit(HTTP, *KEEPS, addresses=[f"127.0.0.1:{port}", f"127.0.0.1:{other}"], fdstore=True)
    app.start()
    assert app.show("NFileDescriptorStore") == "2"
    app.write(HTTP, addresses=[f"127.0.0.1:{other}"])
    app.systemd.ctl("reload", app.name)
    until(lambda: app.show("NFileDescriptorStore") == "1", "one is kept", SLOW)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    if app.systemd.version >= 254:
        told = app.systemd.run("systemd-analyze", "--json=short", "fdstore", f"{app.name}.service").stdout
        assert [entry["fdname"] for entry in json.loads(told)] == [f"overseer=tcp%3A127.0.0.1%3A{other}"]
    os.kill(app.pid, signal.SIGKILL)
    until(lambda: app.show("NRestarts") == "1", "it was started anew", SLOW)
    app.is_("active/running")
    knock_http(other)


def knock_http(port: int) -> None:
    """Have one request answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=SLOW) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
