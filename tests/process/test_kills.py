"""`kill -9` of anybody at any moment of a restart: clients are answered, and the next restart works."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest
from bench.load import Fresh, LoadProcess, Plan

from tests.process.programs import HTTP, gated
from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

# Where a new generation waits for a file, so that it can be killed there.
SPAWNED = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n" + ECHO
ADMITTED = gated("allowed('go', state)")


@pytest.mark.parametrize(
    ("source", "stage"), [(SPAWNED, "spawned"), (ADMITTED, "admitted")], ids=["spawned", "admitted"]
)
def test_the_new_one_is_killed_before_it_is_ready(
    service: Callable[..., Service], source: str, stage: str
) -> None:
    """Before its hello, or with its listeners in hand: the old one serves on."""
    app = service(ready_after=1000).serves()
    app.write(source)
    with app.call() as caller:
        caller.settimeout(20)
        caller.sendall(b'{"type":"restart"}\n')
        until(lambda: _stages(app).get(2) == [stage], f"the new one is {stage}")
        os.kill(app.pids(2)[0], signal.SIGKILL)
        assert b"ended before it was ready (killed by signal 9)" in caller.recv(1000)
    app.logged(r"generation 2 \(pid \d+\) ended unasked while starting, after .*: killed by signal 9")
    assert app.knock()[0] == 1
    app.write(ECHO)
    assert app.restart() == 3


def test_the_new_one_is_killed_while_it_waits_to_be_alone(service: Callable[..., Service]) -> None:
    """The old one was asked to leave already and finishes; then the master ends as its program did."""
    app = service().serves()
    held = app.hold()
    app.write(ECHO, handover="sequential")
    app.signal(signal.SIGUSR2)
    until(lambda: _stages(app).get(2) == ["waiting"], "the new one waits")
    os.kill(app.pids(2)[0], signal.SIGKILL)
    app.logged(r"generation 2 \(pid \d+\) ended unasked while starting")
    assert app.release(held) == 1
    assert app.wait() in (-signal.SIGKILL, 137)


@pytest.mark.parametrize(
    ("source", "stage"), [(SPAWNED, "spawned"), (ADMITTED, "admitted")], ids=["spawned", "admitted"]
)
def test_the_old_one_is_killed_while_the_new_one_starts(
    service: Callable[..., Service], source: str, stage: str
) -> None:
    """The new one is a hope: the master goes on with it, and connections wait for it."""
    app = service(ready_after=1000).serves()
    app.write(source)
    with app.call() as caller:
        caller.settimeout(20)
        caller.sendall(b'{"type":"restart"}\n')
        until(lambda: _stages(app).get(2) == [stage], f"the new one is {stage}")
        os.kill(app.pids(1)[0], signal.SIGKILL)
        app.logged(r"generation 1 \(pid \d+\) ended unasked while serving, after .*: killed by signal 9")
        (app.folder / "go").touch()
        assert b"generation 2 serves" in caller.recv(1000)
    app.answers(2)


def test_the_old_one_is_killed_while_it_drains(service: Callable[..., Service]) -> None:
    """Only its own request is lost."""
    app = service().serves()
    held = app.hold()
    old = app.pids(1)[0]
    assert app.restart() == 2
    os.kill(old, signal.SIGKILL)
    app.logged(r"generation 1 \(pid \d+\) left after .*: killed by signal 9")
    with pytest.raises((OSError, IndexError)):
        app.release(held)
    app.answers(2)
    assert app.restart() == 3


def test_the_one_that_serves_is_killed_while_another_drains(service: Callable[..., Service]) -> None:
    """With nobody to come, the program has ended: the master ends as it did, after the other has left."""
    app = service().serves()
    held = app.hold()
    assert app.restart() == 2
    os.kill(app.pids(2)[0], signal.SIGKILL)
    app.logged(r"generation 2 \(pid \d+\) ended unasked while serving")
    assert app.release(held) == 1
    assert app.wait() in (-signal.SIGKILL, 137)


def test_both_are_killed_at_one_moment(service: Callable[..., Service]) -> None:
    """Nobody is left and nobody comes: the master ends with the program's status, and tells who asked."""
    app = service(ready_after=1000).serves()
    app.write(ADMITTED)
    with app.call() as caller:
        caller.settimeout(20)
        caller.sendall(b'{"type":"restart"}\n')
        until(lambda: _stages(app).get(2) == ["admitted"], "the new one is admitted")
        pids = app.pids(1) + app.pids(2)
        app.signal(signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        app.signal(signal.SIGCONT)
        assert app.wait() in (-signal.SIGKILL, 137)
        assert caller.recv(1000).count(b"answer") == 1
    assert "Traceback" not in app.log


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_many_deaths_at_the_start_cost_no_request(service: Callable[..., Service], seed: int) -> None:
    """Forty restarts, most of which die somewhere on the way; the load never fails."""
    chance = random.Random(seed)
    app = service(HTTP).serves()
    plan = Plan(kinds=(Fresh(rate=80),), seconds=None, timeout=20)
    with LoadProcess(f"http://127.0.0.1:{app.port}", plan) as load:
        load.wait_started()
        for _ in range(40):
            point = chance.choice(DEATHS)
            app.write(HTTP.replace(point, f"{point}\n{_indent_after(point)}os.kill(os.getpid(), 9)\n", 1))
            assert app.ask("restart")["detail"] == "ended before it was ready (killed by signal 9)"
            app.write(HTTP)
            assert app.ask("restart")["outcome"] == "done"
        report = load.stop()
    assert report.failed == 0, report


DEATHS = ("import os, threading", "import overseer", "def program(state):", 'if __name__ == "__main__":')


def _indent_after(line: str) -> str:
    return "    " if line.endswith(":") else ""


def _stages(app: Service) -> dict[int, list[str]]:
    return {g["number"]: [w["stage"] for w in g["workers"]] for g in app.status()["generations"]}
