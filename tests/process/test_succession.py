"""The master that starts itself anew: the same process, with all that it had (D19)."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import termios
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

PACKAGE = Path(__file__).parents[2] / "src" / "overseer"

GATE = 'if os.path.exists("gate"): open("gate").read()\n'


class Knocking:
    """Clients that connect anew all the time; `failures` is what went wrong."""

    def __init__(self, app: Service, clients: int = 3) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._port = app.port
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._go_on) for _ in range(clients)]

    def _go_on(self) -> None:
        while not self._done.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=20) as connection:
                    connection.sendall(b"hello\n")
                    if len(connection.makefile().readline().split()) == 3:
                        self.answers += 1
                    else:
                        self.failures.append("cut")
            except OSError as error:
                self.failures.append(repr(error))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def begin_anew(app: Service) -> None:
    """Have the master start itself anew."""
    answer = app.ask("reexec")
    assert answer["outcome"] == "done", answer


def copy_of_overseer(folder: Path, version: str) -> Path:
    """Make a package of another version; return where to import it from."""
    shutil.copytree(PACKAGE, folder / "overseer", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "overseer" / "version.py").write_text(f'"""Another one."""\n\nVERSION = "{version}"\n')
    return folder


def with_overseer_from(folder: Path) -> str:
    """Return the echo server that imports overseer from there."""
    return f"import sys; sys.path.insert(0, {str(folder)!r})\n{ECHO}"


def children_of(app: Service) -> list[int]:
    """Return the pids of all workers."""
    return [w["pid"] for g in app.status()["generations"] for w in g["workers"]]


@pytest.mark.long
def test_nobody_notices_under_load(service: Callable[..., Service]) -> None:
    """Twenty new masters in a row: no failed request, the same PID, the same workers."""
    app = service(workers=2).serves()
    before = children_of(app)
    with Knocking(app) as knocking:
        for _ in range(20):
            begin_anew(app)
        answers = knocking.answers
        until(lambda: knocking.answers > answers, "somebody is answered after the last")
    assert knocking.failures == []
    assert children_of(app) == before
    assert app.status()["pid"] == app.pid


def test_a_request_that_waits_is_answered_by_the_next_master(service: Callable[..., Service]) -> None:
    """Whoever asked the old one for a restart is told by the new one how it ended."""
    app = service(ECHO.replace("import overseer\n", GATE + "import overseer\n", 1)).serves()
    os.mkfifo(app.folder / "gate")
    with app.call() as caller:
        caller.sendall(b'{"type":"restart"}\n')
        until(lambda: app.pids(2), "generation 2 starts")
        begin_anew(app)
        with (app.folder / "gate").open("w"):
            pass
        answer = json.loads(caller.makefile().readline())
    assert (answer["outcome"], answer["detail"]) == ("done", "generation 2 serves")


def test_half_a_word_of_an_operator_is_kept(service: Callable[..., Service]) -> None:
    """What the old master had read of it, the new one goes on with."""
    app = service().serves()
    with app.call() as caller:
        caller.sendall(b'{"type":"sta')
        until(lambda: unread_of(caller) == 0, "the master has read it")
        begin_anew(app)
        caller.sendall(b'tus"}\n')
        assert json.loads(caller.makefile().readline())["pid"] == app.pid


def unread_of(sock: socket.socket) -> int:
    """Return how many bytes that were sent the other side has not read yet."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), "little")


def test_half_a_word_of_a_program_is_kept(service: Callable[..., Service]) -> None:
    """A program whose `ready` is cut in two by a new master is ready."""
    halves = """
def program(state):
    from overseer.entry import _link
    _link._channel.sock.send(b'{"type":"rea')
    print("half", flush=True)
    open("gate").read()
    _link._channel.sock.send(b'dy"}\\n')
"""
    source = ECHO.replace("def program(state):\n", halves)
    app = service(source, prefix=("sh", "-c", 'mkfifo gate; exec "$@"', "sh"), ready_after=None)
    app.said("half")
    begin_anew(app)
    with (app.folder / "gate").open("w"):
        pass
    app.serves()
    assert app.log == ""


def test_who_drains_keeps_his_deadline(service: Callable[..., Service]) -> None:
    """The clock goes on: a generation that will not leave is killed when its time is over."""
    app = service(terminate_timeout=1).serves()
    with app.hold():
        app.restart()
        begin_anew(app)
        app.logged(
            r"generation 1 \(pid \d+\) is killed [\d.]+ s old: still there 1 s after it was asked to leave"
        )


def test_a_stop_goes_on(service: Callable[..., Service]) -> None:
    """A new master of a service that is stopping goes on stopping."""
    app = service().serves()
    held = app.hold()
    app.signal(signal.SIGTERM)
    until(lambda: app.status()["life"] == "stopping", "it stops")
    begin_anew(app)
    assert app.status()["life"] == "stopping"
    assert app.release(held) == 1
    assert app.wait() == 0


def test_a_second_interrupt_is_known_as_such(service: Callable[..., Service]) -> None:
    """The first was the old master's; the next one ends at once."""
    app = service().serves()
    with app.hold():
        app.signal(signal.SIGINT)
        until(lambda: app.status()["life"] == "stopping", "it stops")
        begin_anew(app)
        app.signal(signal.SIGINT)
        assert app.wait() == 137


def test_the_end_of_a_worker_meanwhile_is_not_missed(service: Callable[..., Service]) -> None:
    """It dies while the next master is tried; that one replaces it."""
    app = service(workers=2).serves()
    for _ in range(3):
        victim = app.pids(1)[0]
        with app.call() as caller:
            caller.sendall(b'{"type":"reexec"}\n')
            os.kill(victim, signal.SIGKILL)
            assert json.loads(caller.makefile().readline())["outcome"] == "done"
        until(lambda: len(set(app.pids(1)) - {victim}) == 2, "another worker is there")  # noqa: B023
        app.serves()


def test_a_release_with_another_overseer_brings_another_master(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """The same PID and listeners; a request of the old generation is answered; and there is a way back."""
    app = service().serves()
    ours = app.status()["overseer"]
    held = app.hold()
    app.write(with_overseer_from(copy_of_overseer(tmp_path, "99.0")))
    app.restart()
    app.logged(f"generation 2 brings overseer 99.0: the master, {ours}, becomes that")
    until(lambda: app.status()["overseer"] == "99.0", "the master is another")
    assert str(tmp_path).encode() in Path(f"/proc/{app.pid}/cmdline").read_bytes()
    assert app.status()["pid"] == app.pid
    assert app.release(held) == 1
    app.write(ECHO)
    assert app.restart() == 3
    until(lambda: app.status()["overseer"] == ours, "the master is the first again")
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


def break_master(folder: Path, kind: str) -> None:
    """Make a master that cannot be the next one; the program's side of the package stays whole."""
    main = folder / "overseer" / "master" / "process.py"
    if kind == "does not import":
        main.write_text("import nothing_of_this_name\n")
    elif kind == "is no Python":
        main.write_text("def )")
    elif kind == "is not there":
        main.with_name("__main__.py").unlink()
    elif kind == "dies":
        main.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n")
    elif kind == "reads older states only":
        estate = folder / "overseer" / "master" / "estate.py"
        estate.write_text(estate.read_text().replace("FORMAT = 1\n", "FORMAT = 0\n"))
    else:
        raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("does not import", "No module named 'nothing_of_this_name'"),
        ("is no Python", "SyntaxError"),
        ("is not there", "its trial ended with"),
        ("dies", "its trial ended with -11"),
        ("reads older states only", "state format 1; this master, 99.0, reads up to 0"),
    ],
)
def test_a_next_master_that_will_not_do_leaves_the_old_one(
    service: Callable[..., Service], tmp_path: Path, kind: str, said: str
) -> None:
    """It is tried first; the old one serves on, says why, and does not try again."""
    app = service().serves()
    copy = copy_of_overseer(tmp_path, "99.0")
    break_master(copy, kind)
    app.write(with_overseer_from(copy))
    app.restart()
    found = app.logged(r"warning: the master stays as it is, [\d.]+\w*: (.*)")
    assert said in found[0]
    app.restart()
    app.answers(3)
    assert app.log.count("the master stays as it is") == 1
    assert app.status()["counts"]["renewals_failed"] == 1


def test_whoever_asks_for_another_master_is_told_why_there_is_none(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """The package has gone from under the master: the answer says so."""
    copy = copy_of_overseer(tmp_path, "98.0")
    app = service(with_overseer_from(copy)).serves()
    (copy / "overseer" / "master" / "process.py").unlink()
    answer: dict[str, Any] = app.ask("reexec")
    assert answer["outcome"] == "failed"
    assert "overseer.master.process" in answer["detail"]
    last = app.status()["events"][-1]
    assert (last["event"], last["reason"]) == ("not-renewed", answer["detail"])
    assert app.knock()[0] == 1
