"""Sequential handover: programs that must be alone are, and their clients wait instead of failing."""

from __future__ import annotations

import re
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from bench.load import Fresh, LoadProcess, Plan

from tests.process.programs import HTTP
from tests.process.service import DEADLINE, ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

LOCK = """
import fcntl, sys
def alone():
    global lock
    lock = open("lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("TWO AT ONCE", flush=True)
        sys.exit(9)
"""


def alone(source: str) -> str:
    """Return a program that notices when it is not the only one that has been let in."""
    return LOCK + source.replace("def program(state):\n", "def program(state):\n    alone()\n")


@pytest.mark.long
def test_never_are_two_let_in_at_once(service: Callable[..., Service]) -> None:
    """A lock that only one can hold is held by each in turn, and no request fails meanwhile."""
    app = service(alone(HTTP), handover="sequential").serves()
    with LoadProcess(
        f"http://127.0.0.1:{app.port}", Plan(kinds=(Fresh(rate=50),), seconds=None, timeout=20)
    ) as load:
        load.wait_started()
        for number in range(2, 6):
            assert app.restart() == number
        load.wait_generation(5)
        report = load.stop()
    assert report.failed == 0, report
    assert "TWO" not in app.out
    assert not re.findall("killed|unasked", app.log), app.log


def test_who_connects_while_nobody_is_there_is_answered(service: Callable[..., Service]) -> None:
    """The listener is held: a connection waits for the next generation."""
    app = service(handover="sequential").serves()
    held = app.hold()
    port = app.port
    answers: list[str] = []
    with app.call() as caller, socket.socket() as waiting:
        caller.sendall(b'{"type":"restart"}\n')
        app.said("drains 1")
        waiting.settimeout(DEADLINE)
        waiting.connect(("127.0.0.1", port))
        waiting.sendall(b"hello\n")
        thread = threading.Thread(target=lambda: answers.append(waiting.makefile().readline()))
        thread.start()
        assert [g["phase"] for g in app.status()["generations"]] == ["draining"]
        assert app.release(held) == 1
        thread.join(DEADLINE)
        assert b"generation 2 serves" in caller.recv(1000)
    assert answers[0].split()[0] == "2"


def test_a_new_program_may_ask_to_be_alone(service: Callable[..., Service]) -> None:
    """It is started beside the old one, which did not ask for it, and let in when that has left."""
    app = service(alone(ECHO)).serves()
    held = app.hold()
    app.write(alone(ECHO), handover="sequential")
    with app.call() as caller:
        caller.sendall(b'{"type":"restart"}\n')
        app.logged("generation 1 drains")
        until(lambda: _stages(app).get(2) == ["waiting"], "the new one waits")
        assert app.release(held) == 1
        caller.settimeout(DEADLINE)
        assert b"generation 2 serves" in caller.recv(1000)
    assert "TWO" not in app.out
    app.answers(2)


def test_a_new_program_may_give_up_being_alone(service: Callable[..., Service]) -> None:
    """The old one has to leave first once more; from then on generations overlap."""
    app = service(handover="sequential").serves()
    app.write(ECHO, handover="overlap")
    assert app.restart() == 2
    held = app.hold()
    assert app.restart() == 3
    assert app.release(held) == 2


def test_one_that_must_be_alone_and_fails_ends_the_master_with_its_status(
    service: Callable[..., Service],
) -> None:
    """There is nobody left to serve on: the process manager learns it by the status."""
    app = service(handover="sequential").serves()
    app.write("raise SystemExit(6)")
    app.ask("restart")
    assert app.wait() == 6


def _stages(app: Service) -> dict[int, list[str]]:
    return {g["number"]: [w["stage"] for w in g["workers"]] for g in app.status()["generations"]}
