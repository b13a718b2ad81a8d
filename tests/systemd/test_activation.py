"""Sockets that systemd opens, and a service that becomes an ordinary user by itself."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.programs import HTTP
from tests.process.service import ECHO, low_port, until
from tests.systemd.manager import SLOW
from tests.systemd.unit import greet, knock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.systemd.unit import Unit

pytestmark = pytest.mark.long


def test_who_comes_first_starts_the_service_and_is_answered(unit: Callable[..., Unit], port: int) -> None:
    """Also while it is stopped, and while it is started anew: the socket is systemd's."""
    app = unit(ECHO, address="fd:web")
    name = f"{app.name}.socket"
    app.systemd.install(
        {name: f"[Socket]\nListenStream=127.0.0.1:{port}\nFileDescriptorName=web\nBacklog=300\n"}
    )
    app.systemd.ctl("start", name)
    assert app.show("ActiveState") == "inactive"
    assert knock(port, SLOW)[0] == "1"
    app.systemd.ctl("reload", app.name)
    until(lambda: knock(port)[0] == "2", "the second generation answers")
    for verb in ("stop", "restart"):
        waiting = []
        app.systemd.ctl("--no-block", verb, app.name)
        waiting = [socket.create_connection(("127.0.0.1", port), timeout=SLOW) for _ in range(100)]
        for connection in waiting:
            assert greet(connection)[0] in ("1", "2")
            connection.close()
    app.is_("active/running")


def test_both_ways_at_once_are_not_taken_for_each_other(unit: Callable[..., Unit], port: int) -> None:
    """A socket of the socket unit and one that systemd has kept: each comes back as what it is."""
    keeps = ("FileDescriptorStoreMax=8", "Restart=always", "RestartSec=0")
    with socket.create_server(("127.0.0.1", 0)) as found:
        other = found.getsockname()[1]
    app = unit(HTTP, *keeps, addresses=["fd:web", f"127.0.0.1:{other}"], fdstore=True)
    app.systemd.install(
        {f"{app.name}.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\nFileDescriptorName=web\n"}
    )
    app.systemd.ctl("start", f"{app.name}.socket", f"{app.name}.service")
    for deaths in (1, 2):
        app.systemd.ctl("kill", "--kill-who=main", "--signal=KILL", app.name)
        until(lambda: app.show("NRestarts") == str(deaths), "it was started anew", SLOW)  # noqa: B023
        app.is_("active/running")
        for number in (port, other):
            with socket.create_connection(("127.0.0.1", number), timeout=SLOW) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert app.show("NFileDescriptorStore") == "1"


def test_started_as_root_nobody_stays_root(unit: Callable[..., Unit]) -> None:
    """With `user`: a low port, a reload, what systemd hears, and the store of descriptors all work."""
    port = low_port()
    app = unit(ECHO, "FileDescriptorStoreMax=8", address=f"127.0.0.1:{port}", user="nobody", fdstore=True)
    app.start()
    app.systemd.ctl("reload", app.name)
    until(lambda: knock(port)[0] == "2", "the second generation answers")
    assert app.show("StatusText") == "generation 2 serves, release in place"
    assert app.show("NFileDescriptorStore") == "1"
    group = app.systemd.root / f"sys/fs/cgroup{app.show('ControlGroup')}" / "cgroup.procs"
    until(lambda: len(group.read_text().split()) == 2, "the first generation has left")
    for pid in map(int, group.read_text().split()):
        assert "\nUid:\t65534\t65534\t65534\t65534\n" in Path(f"/proc/{pid}/status").read_text()
