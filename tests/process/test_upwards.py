"""What a service manager is told: transcripts of sd_notify(3), taken by a socket in its place."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.process.service import DEADLINE, ECHO, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TELLS_ITS_ENVIRONMENT = ECHO.replace(
    "    state.on_drain(",
    "    print('told', *(n for n in os.environ if 'NOTIFY' in n or 'WATCHDOG' in n), flush=True)\n"
    "    state.on_drain(",
    1,
)


class Manager:
    """A socket in the place of systemd's."""

    def __init__(self, address: str) -> None:
        self.mail = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.mail.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.mail.settimeout(DEADLINE)
        self.env = {"NOTIFY_SOCKET": address}

    def next(self) -> dict[str, str]:
        """Return the next datagram that is more than a sign of life."""
        while True:
            said = self.anything()
            if said != {"WATCHDOG": "1"}:
                return said

    def anything(self) -> dict[str, str]:
        """Return the next datagram."""
        lines = self.mail.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """Listen at a path, and in the abstract space."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@overseer-test-{os.getpid()}"
    made = Manager(address)
    yield made
    made.mail.close()


def test_a_life_is_told_as_it_is(manager: Manager, service: Callable[..., Service]) -> None:
    """Ready; reloading and ready again, also when that failed; stopping. The program is told nothing."""
    app = service(TELLS_ITS_ENVIRONMENT, env=manager.env, ready_timeout=300, terminate_timeout=200)
    starts = manager.next()
    assert starts["STATUS"] == "the first generation starts"
    while "EXTEND_TIMEOUT_USEC" not in starts:
        starts = manager.next()
    assert 295e6 < int(starts["EXTEND_TIMEOUT_USEC"]) < 306e6
    ready = _until(manager, "READY")
    assert ready["STATUS"] == "generation 1 serves, release in place"
    asked = time.monotonic()
    app.signal(signal.SIGUSR2)
    reloading = _until(manager, "RELOADING")
    assert asked * 1e6 <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic() * 1e6
    assert _until(manager, "READY")["STATUS"] == "generation 2 serves, release in place"
    app.write("raise SystemExit(7)")
    app.signal(signal.SIGUSR2)
    _until(manager, "RELOADING")
    failed = _until(manager, "READY")["STATUS"]
    assert failed.startswith(
        "generation 2 serves, release in place; generation 3 failed: ended before it was"
    )
    app.ask("reexec")
    assert "generation 2 serves" in _until(manager, "READY")["STATUS"]
    app.signal(signal.SIGTERM)
    assert 195e6 < int(_until(manager, "STOPPING")["EXTEND_TIMEOUT_USEC"]) < 206e6
    assert app.wait() == 0
    assert app.said("told(.*)\n") == ["", ""]


def _until(manager: Manager, what: str) -> dict[str, str]:
    while what not in (said := manager.next()):
        pass
    assert said[what] == "1"
    return said


def test_the_watchdog_is_fed_while_somebody_serves(tmp_path: Path, service: Callable[..., Service]) -> None:
    """Twice in each of its intervals, without end."""
    manager = Manager(str(tmp_path / "notify"))
    app = service(env={**manager.env, "WATCHDOG_USEC": "400000"}).serves()
    fed: list[float] = []
    while len(fed) < 5:
        if "WATCHDOG" in manager.anything():
            fed.append(time.monotonic())
    assert app.process.poll() is None
    manager.mail.close()


def test_the_watchdog_of_another_process_is_not_ours(tmp_path: Path, service: Callable[..., Service]) -> None:
    """Systemd says for whom it is: nothing is sent for it in a whole life."""
    manager = Manager(str(tmp_path / "notify"))
    app = service(env={**manager.env, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}).serves()
    app.restart()
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    manager.mail.setblocking(False)
    said: dict[str, str] = {}
    while said.get("STOPPING") != "1":
        said = manager.anything()
        assert "WATCHDOG" not in said
    manager.mail.close()


def test_an_address_of_another_kind_is_said_and_survived(service: Callable[..., Service]) -> None:
    """As vsock(7) of virtual machines."""
    app = service(env={"NOTIFY_SOCKET": "vsock:2:9999"}).serves()
    app.logged("NOTIFY_SOCKET is an address of a kind that is not known")
    assert app.restart() == 2
