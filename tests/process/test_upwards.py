"""What a service manager is told: transcripts of sd_notify(3), taken by a socket in its place."""

from __future__ import annotations

import os
import signal
import socket
import sys
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
        self.kept: list[socket.socket] = []

    def next(self) -> dict[str, str]:
        """Return the next datagram that is more than a sign of life."""
        while True:
            said = self.anything()
            if said != {"WATCHDOG": "1"}:
                return said

    def anything(self) -> dict[str, str]:
        """Return the next datagram; descriptors that come with it are kept."""
        data, fds, _, _ = socket.recv_fds(self.mail, 4096, 16)
        self.kept += [socket.socket(fileno=fd) for fd in fds]
        return dict(line.split("=", 1) for line in data.decode().split("\n"))

    def stored(self) -> dict[str, str]:
        """Return the next that leaves a descriptor here."""
        return _until(self, "FDSTORE")

    def close(self) -> None:
        """Listen no more, and let go of everything."""
        for one in (self.mail, *self.kept):
            one.close()


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


def test_more_time_for_a_start_is_none_for_the_watchdog(
    tmp_path: Path, service: Callable[..., Service]
) -> None:
    """EXTEND_TIMEOUT_USEC moves the watchdog of systemd as well: it is fed in the same breath."""
    manager = Manager(str(tmp_path / "notify"))
    app = service(env={**manager.env, "WATCHDOG_USEC": "1000000000"}).serves()
    assert app.restart() == 2
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    manager.mail.setblocking(False)
    extended, said = 0, dict[str, str]()
    while said.get("STOPPING") != "1":
        said = manager.anything()
        if "EXTEND_TIMEOUT_USEC" in said:
            extended += 1
            assert said["WATCHDOG"] == "1"
    assert extended >= 3
    manager.close()


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


def test_listeners_are_left_with_the_manager_as_they_come_and_go(
    tmp_path: Path, service: Callable[..., Service]
) -> None:
    """Each once, the next master's time included, by a name of its own; gone ones are taken back."""
    manager = Manager(str(tmp_path / "notify"))
    path = f"unix:{tmp_path}/app.sock"
    app = service(env=manager.env, fdstore=True, addresses=["127.0.0.1:0", path]).serves()
    tcp, unix = manager.stored(), manager.stored()
    assert tcp["FDNAME"] == "overseer=tcp%3A127.0.0.1%3A0"
    inode = os.stat(tmp_path / "app.sock").st_ino
    assert unix["FDNAME"].startswith("overseer=unix%3A/")
    assert unix["FDNAME"].endswith(f"app.sock?file={os.stat(tmp_path).st_dev}.{inode}")
    assert tcp["FDPOLL"] == unix["FDPOLL"] == "0"
    assert manager.kept[0].getsockname() == ("127.0.0.1", app.port)
    app.ask("reexec")
    app.write(ECHO, addresses=["127.0.0.1:0", "127.0.0.2:0"])
    assert app.restart() == 2
    assert manager.stored()["FDNAME"] == "overseer=tcp%3A127.0.0.2%3A0"
    assert _until(manager, "FDSTOREREMOVE")["FDNAME"] == unix["FDNAME"]
    app.write(ECHO, fdstore=False)
    assert app.restart() == 3
    removed = {_until(manager, "FDSTOREREMOVE")["FDNAME"] for _ in range(2)}
    assert removed == {tcp["FDNAME"], "overseer=tcp%3A127.0.0.2%3A0"}
    manager.close()


def test_who_connects_while_nobody_lives_is_answered_by_the_next_master(
    tmp_path: Path, service: Callable[..., Service]
) -> None:
    """Also at a socket file, also at an address that only the release in between has known."""
    manager = Manager(str(tmp_path / "notify"))
    path = tmp_path / "app.sock"
    addresses = ["127.0.0.1:0", f"unix:{path}"]
    options = {"env": manager.env, "fdstore": True, "addresses": addresses}
    with service(**options).serves() as app:
        names = [manager.stored()["FDNAME"] for _ in addresses]
        app.signal(signal.SIGKILL)
    port = manager.kept[0].getsockname()[1]
    first = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    second = socket.socket(socket.AF_UNIX)
    second.connect(str(path))
    stray = socket.create_server(("127.0.0.1", 0))
    given = [*manager.kept, stray]
    names.append("overseer=tcp%3A127.0.0.1%3A9")  # which it is not
    prefix = [sys.executable, "-c", HANDS_OVER, ":".join(names), *(str(sock.fileno()) for sock in given)]
    app = service(EACH, prefix=prefix, pass_fds=[sock.fileno() for sock in given], **options).serves()
    for client in (first, second):
        client.sendall(b"hello\n")
        assert client.makefile().readline().startswith("1 1 ")
        client.close()
    assert _until(manager, "FDSTOREREMOVE")["FDNAME"] == names[2]
    assert app.ports() == [port]
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    assert path.exists()  # the manager has its socket, and may start us again
    manager.close()
    stray.close()


EACH = ECHO.replace(
    "    while True:\n        connection, _ = state.listener.accept()",
    "    import selectors\n    wait = selectors.DefaultSelector()\n"
    "    for listener in state.listeners: wait.register(listener, 1)\n"
    "    while not state.draining:\n        for key, _ in wait.select(1): break\n        else: continue\n"
    "        connection, _ = key.fileobj.accept()",
)
"""Accepts on all of its listeners."""

HANDS_OVER = """
import os, sys
names, *rest = sys.argv[1:]
count = names.count(":") + 1
high = [os.dup2(int(fd), 100 + n) for n, fd in enumerate(rest[:count])]
os.closerange(3, 100)
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=names)
os.execv(rest[count], rest[count:])
"""
"""What a service manager does with what it has kept."""


def test_without_a_manager_it_is_said_that_nobody_keeps_anything(service: Callable[..., Service]) -> None:
    """And everything else is as ever."""
    app = service(fdstore=True).serves()
    app.logged("fdstore is asked for, and there is no service manager that keeps")
    assert app.restart() == 2


def test_an_address_of_another_kind_is_said_and_survived(service: Callable[..., Service]) -> None:
    """As vsock(7) of virtual machines."""
    app = service(env={"NOTIFY_SOCKET": "vsock:2:9999"}).serves()
    app.logged("NOTIFY_SOCKET is an address of a kind that is not known")
    assert app.restart() == 2
