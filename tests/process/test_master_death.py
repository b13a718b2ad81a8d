"""A master that is killed: its program learns it at once, finishes what it has, and makes room (D26)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.process.service import Service


@pytest.fixture
def killed() -> Iterator[Callable[[Service], list[int]]]:
    """Kill a master; return whom it leaves, of whom none outlives the test."""
    left: list[int] = []

    def kill(app: Service) -> list[int]:
        tree = app.tree()
        left.extend(tree)
        app.signal(signal.SIGKILL)
        app.process.wait()
        return tree

    yield kill
    for pid in left:
        if is_of_a_service(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_of_a_service(pid: int) -> bool:
    """Tell whether a process is (still) one of a test's programs."""
    with contextlib.suppress(OSError):
        return b"app.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_the_program_finishes_its_request_and_leaves(
    service: Callable[..., Service], killed: Callable[[Service], list[int]]
) -> None:
    """It says what happened; nobody has to tell it to go."""
    app = service().serves()
    held = app.hold()
    (pid,) = killed(app)
    app.logged("the master is gone: the program drains")
    assert is_of_a_service(pid)
    assert app.release(held) == 1
    until(lambda: not is_of_a_service(pid), "the program has left")


def test_all_generations_and_workers_leave(
    service: Callable[..., Service], killed: Callable[[Service], list[int]]
) -> None:
    """Whoever serves, whoever drains, whoever starts."""
    gate = 'if os.path.exists("gate"): open("gate").read()\n'
    app = service(ECHO.replace("import overseer\n", gate + "import overseer\n", 1), workers=2).serves()
    held = app.hold()
    app.restart()
    os.mkfifo(app.folder / "gate")
    app.signal(signal.SIGUSR2)
    until(lambda: len(app.tree()) >= 5, "a third generation starts")
    tree = killed(app)
    app.release(held)
    until(lambda: sum(map(is_of_a_service, tree)) <= 2, "two generations have left")

    def third_has_left() -> bool:
        with contextlib.suppress(OSError):  # nobody is at the gate yet, or any more
            os.close(os.open(app.folder / "gate", os.O_WRONLY | os.O_NONBLOCK))
        return not any(map(is_of_a_service, tree))

    until(third_has_left, "the third has left")
    assert "serving 3" not in app.out


def test_a_program_that_hangs_is_ended_after_its_time(
    service: Callable[..., Service], killed: Callable[[Service], list[int]]
) -> None:
    """Nobody waits for it for ever; its whole process group goes, and that is said."""
    forking = ECHO.replace("def program(state):\n", "def program(state):\n    os.fork()\n")
    app = service(forking, terminate_timeout=0.3).serves()
    with app.hold(), app.hold():
        tree = killed(app)
        until(lambda: not any(map(is_of_a_service, tree)), "the program is ended")
    app.logged("the master is gone and the program still here after 0.3 s: it is ended")


def test_a_program_does_not_look_whether_its_master_lives(service: Callable[..., Service]) -> None:
    """It is told by the end of its channel: as long as nothing happens, none of its threads wakes up."""
    app = service().serves()
    app.knock()
    (pid,) = app.pids(1)

    def switches() -> list[str]:
        found = []
        for task in sorted(os.listdir(f"/proc/{pid}/task")):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/task/{task}/status").read_text()
                found += [task, status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]]
        return found

    before = switches()
    with socket.socketpair()[0] as nobody:
        nobody.settimeout(2.5)
        with contextlib.suppress(TimeoutError):
            nobody.recv(1)
    assert switches() == before


def test_the_service_started_again_waits_for_whom_its_master_left(
    service: Callable[..., Service], killed: Callable[[Service], list[int]]
) -> None:
    """One clear line, and then it serves, without anybody having to clean up."""
    address = f"127.0.0.1:{free_port()}"
    first = service(address=address).serves()
    held = first.hold()
    (pid,) = killed(first)
    second = service(address=address)
    second.logged(rf"{address} is still held by pid {pid}, left by a master that was killed")
    assert first.release(held) == 1
    assert second.serves().knock()[0] == 1
    assert len(second.log.splitlines()) == 1


def test_the_service_started_again_finds_the_paths_of_the_killed_one_free(
    service: Callable[..., Service], killed: Callable[[Service], list[int]], tmp_path: Path
) -> None:
    """Unix sockets that a killed master left on disk stand in nobody's way; nor does its control socket."""
    options = {"address": f"unix:{tmp_path}/app.sock", "control": f"{tmp_path}/control.sock"}
    first = service(env={"RUNTIME_DIRECTORY": ""}, **options)
    until((tmp_path / "control.sock").exists, "there is a control socket")
    first.said("serving 1")
    killed(first)
    assert (tmp_path / "app.sock").exists()
    second = service(env={"RUNTIME_DIRECTORY": ""}, **options)
    second.said("serving 1")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{tmp_path}/app.sock")
        connection.sendall(b"hello\n")
        assert connection.recv(100).startswith(b"1 1 ")
