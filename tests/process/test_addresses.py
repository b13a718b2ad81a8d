"""Addresses follow the program: added, changed and removed by a restart, without touching the others."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bench.load import Fresh, Late, LoadProcess, Plan

from tests.process.programs import HTTP, gated
from tests.process.service import DEADLINE, ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.process.service import Service

ROOT = Path(__file__).resolve().parents[2]

UDP = """
import overseer

def program(state):
    while True:
        words, whose = state.listener.recvfrom(1000)
        state.listener.sendto(f"{state.generation}".encode(), whose)

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
NAMES = gated(
    "print('listens', state.generation, *[l.getsockname()[1] for l in state.listeners], flush=True)"
)
ASYNCIO_UNIX = """
import asyncio
import overseer

async def program(state):
    async def answer(reader, writer):
        await reader.readline()
        writer.write(f"{state.generation}\\n".encode())
        writer.close()
    async with await asyncio.start_unix_server(answer, sock=state.listener):
        await state.draining

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""


@pytest.mark.long
def test_addresses_come_and_go_while_the_others_are_under_load(service: Callable[..., Service]) -> None:
    """One stays and loses no request; one is added, one replaced, one removed."""
    stays, leaves, comes = _free_ports(3)
    app = service(HTTP, addresses=[_at(stays), _at(leaves)]).serves()
    plan = Plan(kinds=(Fresh(rate=100), Late(rate=20, wait=0.05)), seconds=None, timeout=20)
    with LoadProcess(f"http://{_at(stays)}", plan) as load:
        load.wait_started()
        for number, ports in enumerate(([stays, leaves, comes], [comes, stays], [stays]), 2):
            app.write(HTTP, addresses=[_at(port) for port in ports])
            assert app.restart() == number
            app.said(f"drains {number - 1}")
            assert {_generation(port) for port in ports} == {number}
            _listens_on(app, ports)
        report = load.stop()
    assert report.failed == 0, report
    app.logged(rf"{_at(leaves)} is closed: no generation listens there any more")
    with pytest.raises(ConnectionRefusedError):
        _generation(comes)


def test_a_removed_address_stays_until_its_last_user_has_left(service: Callable[..., Service]) -> None:
    """The old generation finishes on it; it is closed when that has gone."""
    stays, leaves = _free_ports(2)
    app = service(addresses=[_at(leaves), _at(stays)]).serves()
    with socket.create_connection(("127.0.0.1", leaves), timeout=DEADLINE) as held:
        held.sendall(b"hold\n")
        assert held.recv(5) == b"held\n"
        app.write(ECHO, addresses=[_at(stays)])
        assert app.restart() == 2
        assert app.ports() == sorted([stays, leaves])
        held.sendall(b"go\n")
        assert held.makefile().readline().split()[0] == "1"
    until(lambda: app.ports() == [stays], "the other is closed")


def test_an_address_that_cannot_be_had_is_a_failed_restart(service: Callable[..., Service]) -> None:
    """The reason names who has it; the old generation serves on, and nothing else stays bound."""
    first, second = _free_ports(2)
    app = service(HTTP, address=_at(first)).serves()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app.write(HTTP, address="", addresses=[_at(second), _at(port)])
        answer = app.ask("restart")
    assert answer["outcome"] == "failed"
    assert re.search(
        rf"127\.0\.0\.1:{port}: TCP port {port} is in use by pid {os.getpid()}", answer["detail"]
    )
    app.logged(rf"a restart failed: 127\.0\.0\.1:{port}: .*; generation 1 serves on")
    assert _generation(first) == 1
    until(lambda: app.ports() == [first], "the other is not bound")
    assert app.restart() == 3  # nobody is in the way any more


def test_the_order_is_kept_whatever_is_bound_already(service: Callable[..., Service]) -> None:
    """A program finds its listeners in the order of its own Config."""
    ports = _free_ports(4)
    app = service(NAMES, addresses=[_at(port) for port in ports]).serves()
    for number, order in enumerate(([3, 1, 0, 2], [2, 0], [0, 1, 2, 3]), 2):
        app.write(NAMES, addresses=[_at(ports[index]) for index in order])
        assert app.restart() == number
        app.said(f"listens {number} {' '.join(str(ports[index]) for index in order)}\n")


def test_a_port_of_the_kernels_choice_stays_the_same(service: Callable[..., Service]) -> None:
    """Port 0, twice: two ports, and after a restart the same two."""
    app = service(NAMES, addresses=["127.0.0.1:0", "127.0.0.1:0"]).serves()
    before = app.said(r"listens 1 (\d+) (\d+)")[0]
    assert app.restart() == 2
    assert app.said(r"listens 2 (\d+) (\d+)")[0] == before
    assert before[0] != before[1]


def test_a_socket_file_stays_until_the_final_stop(service: Callable[..., Service], tmp_path: Path) -> None:
    """Restarts do not touch it; it is gone after the stop."""
    path = tmp_path / "app.sock"
    app = service(HTTP, address=f"unix:{path}").serves()
    before = path.stat()
    with LoadProcess(f"unix:{path}", Plan(kinds=(Fresh(rate=100),), seconds=None, timeout=20)) as load:
        load.wait_started()
        for number in range(2, 6):
            assert app.restart() == number
            assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)
        report = load.stop()
    assert report.failed == 0, report
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    assert not path.exists()


def test_an_asyncio_that_removes_socket_files_does_not_find_ours(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """Python 3.13 unlinks the path of a server's socket when that closes."""
    path = tmp_path / "app.sock"
    app = service(
        ASYNCIO_UNIX, address=f"unix:{path}", python=_python_of("3.13"), env={"PYTHONPATH": str(ROOT / "src")}
    ).serves()
    before = path.stat().st_ino
    assert app.restart() == 2
    app.logged(r"generation 1 \(pid \d+\) left after .*: exit status 0")
    assert path.stat().st_ino == before


def test_the_mode_of_a_socket_file_follows_the_generation_that_serves(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """Not of one that fails to start."""
    path = tmp_path / "app.sock"
    app = service(HTTP, address=f"unix:{path}?mode=0600").serves()
    app.write(gated("os._exit(3)"), address=f"unix:{path}?mode=0666")
    assert app.ask("restart")["outcome"] == "failed"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    app.write(HTTP, address=f"unix:{path}?mode=0660")
    assert app.restart() == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_datagrams_are_answered_across_a_restart(service: Callable[..., Service]) -> None:
    """UDP: the old generation stops receiving when it drains, and each datagram has one answer."""
    app = service(UDP, address="udp:127.0.0.1:0").serves()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(DEADLINE)
        client.connect(("127.0.0.1", _udp_port(app)))
        answers = []
        for number in range(2, 5):
            for _ in range(20):
                client.send(b"hello")
                answers.append(int(client.recv(100)))
            assert app.restart() == number
            app.logged(rf"generation {number - 1} \(pid \d+\) left after .*: exit status 0")
        client.send(b"hello")
        assert int(client.recv(100)) == 4
    assert answers == [1] * 20 + [2] * 20 + [3] * 20


@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.long)])
def test_many_listeners_are_handed_over_whole_and_in_order(
    service: Callable[..., Service], count: int
) -> None:
    """More descriptors than fit into one message of the kernel's; each is the right one."""
    source = gated(
        "listened = [l.getsockname()[1] for l in state.listeners]\n"
        "    print('has', state.generation, len(set(listened)), listened[:3], listened[-3:], flush=True)"
    )
    app = service(source, addresses=["127.0.0.1:0"] * count).serves()
    before = app.said(rf"has 1 {count} (.*)")
    assert app.restart() == 2
    assert app.said(rf"has 2 {count} (.*)") == before
    assert len(app.ports()) == count


def test_listeners_that_do_not_fit_are_a_failed_start_that_says_so(service: Callable[..., Service]) -> None:
    """A new program that may have too few open files does not wait for what cannot come."""
    addresses = ["127.0.0.1:0"] * 60
    app = service(HTTP, addresses=addresses).serves()
    app.write("import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n" + HTTP)
    assert app.ask("restart")["outcome"] == "failed"
    app.logged(r"listeners were lost: this process may have 40 open files")
    assert app.status()["generations"][0]["phase"] == "serving"


def _python_of(version: str) -> str:
    """Return the path of another interpreter, installed beside the one that runs the tests."""
    beside = sorted(Path(sys.base_prefix).parent.glob(f"*{version}*/bin/python{version}"))
    found = shutil.which(f"python{version}", path="/usr/local/bin:/usr/bin") or next(map(str, beside), None)
    return found or pytest.skip(f"there is no Python {version} here")


def _at(port: int) -> str:
    return f"127.0.0.1:{port}"


def _listens_on(app: Service, ports: list[int]) -> None:
    until(lambda: app.ports() == sorted(ports), f"exactly {ports} are listened on")


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has now, chosen by the kernel."""
    with contextlib.ExitStack() as opened:
        return list(_opened(opened, count))


def _opened(opened: contextlib.ExitStack, count: int) -> Iterator[int]:
    for _ in range(count):
        sock = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield sock.getsockname()[1]


def _generation(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        found = re.search(rb"X-Generation: (\d+)", connection.recv(1000))
        assert found
        return int(found[1])


def _udp_port(app: Service) -> int:
    inodes = set()
    for fd in os.listdir(f"/proc/{app.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was closed since
            inodes.add(os.readlink(f"/proc/{app.pid}/fd/{fd}"))
    for line in Path(f"/proc/{app.pid}/net/udp").read_text().splitlines()[1:]:
        columns = line.split()
        if f"socket:[{columns[9]}]" in inodes:
            return int(columns[1].rpartition(":")[2], 16)
    raise AssertionError(f"no UDP socket of {app.pid} ({sys.platform})")
