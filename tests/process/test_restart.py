"""Restarts with real processes: gated by readiness, coalesced, and never noticed by a client."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.process.programs import gated
from tests.process.service import DEADLINE, ECHO, until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.process.service import Service


def test_a_restart_keeps_the_pid_and_changes_the_generation(service: Callable[..., Service]) -> None:
    """The master is the same process; another one answers."""
    app = service().serves()
    first = app.knock()
    app.signal(signal.SIGUSR2)
    second = app.serves(2).knock()
    assert (first[0], second[0]) == (1, 2)
    assert first[2] != second[2]
    assert app.status()["pid"] == app.pid


def test_a_request_in_flight_is_answered_by_the_generation_that_took_it(
    service: Callable[..., Service],
) -> None:
    """The old generation stays until its last request is closed."""
    app = service().serves()
    held = app.hold()
    assert app.restart() == 2
    app.answers(2)
    assert app.release(held) == 1
    app.logged(r"generation 1 \(pid \d+\) left after .*: exit status 0")


def test_the_master_stops_with_the_program(service: Callable[..., Service]) -> None:
    """SIGTERM drains, and the program's status is the master's."""
    app = service().serves()
    held = app.hold()
    app.signal(signal.SIGTERM)
    assert app.release(held) == 1
    assert app.wait() == 0


def test_the_master_can_start_itself_anew(service: Callable[..., Service]) -> None:
    """The master's own re-exec keeps its PID, its listeners, its children and what they hold."""
    app = service().serves()
    held = app.hold()
    before = app.pids(1)
    assert app.ask("reexec")["outcome"] == "done"
    app.serves(1)
    assert app.pids(1) == before
    assert app.restart() == 2
    assert app.release(held) == 1
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


def test_a_hundred_wishes_during_a_slow_start_make_one_follow_up(service: Callable[..., Service]) -> None:
    """Signals, operators and the program itself ask while a generation starts: one more is started."""
    app = service(gated(""), ready_after=1000).serves()
    app.write(gated("allowed('go', state)"))
    with app.call() as first, contextlib.ExitStack() as others:
        first.sendall(b'{"type":"restart"}\n')
        app.said("begun 2")
        callers = [others.enter_context(app.call()) for _ in range(10)]
        for _ in range(4):
            for caller in callers:
                caller.sendall(b'{"type":"restart"}\n')
        for _ in range(30):
            app.signal(signal.SIGUSR2)
        for _ in range(30):
            assert app.knock("restart")[0] == 1
        for _ in range(2):  # whatever was sent before the last answer has been heard
            app.status()
        (app.folder / "go").touch()
        assert _answers(first, 1) == [("done", "generation 2 serves")]
        for caller in callers:
            assert _answers(caller, 4) == [("done", "generation 3 serves")] * 4
        app.logged(r"generation [12] \(pid \d+\) left", times=2)
        app.answers(3)
        for caller in callers:  # nobody gets a second answer
            caller.setblocking(False)
            with pytest.raises(BlockingIOError):
                caller.recv(1)
    assert re.findall(r"generation (\d+) starts", app.log) == ["2", "3"]


def test_a_program_that_asks_learns_in_its_log_how_a_failed_restart_ended(
    service: Callable[..., Service],
) -> None:
    """`overseer.restart()` returns at once; the reason of a failure comes to whoever asked."""
    app = service(gated("")).serves()
    app.write("raise SystemExit(5)")
    app.knock("restart")
    app.logged(r"the restart that was asked for failed: .*exit status 5")
    assert app.knock()[0] == 1


def test_everybody_who_asks_learns_that_the_master_is_stopping(service: Callable[..., Service]) -> None:
    """A wish that will not be granted any more is answered as well."""
    app = service().serves()
    held = app.hold()
    app.signal(signal.SIGTERM)
    until(lambda: app.status()["life"] == "stopping", "it stops")
    assert app.ask("restart")["outcome"] == "stopped"
    app.release(held)
    assert app.wait() == 0


def test_a_restart_takes_the_program_as_it_is_on_disk(service: Callable[..., Service]) -> None:
    """A new generation is the new file, from its first line."""
    app = service().serves()
    app.write("print('a new first line', flush=True)\n" + ECHO)
    assert app.restart() == 2
    app.said("a new first line")


def _answers(caller: socket.socket, count: int) -> list[tuple[str, str]]:
    caller.settimeout(DEADLINE)
    with caller.makefile() as lines:
        answers = [json.loads(lines.readline()) for _ in range(count)]
    return [(answer["outcome"], answer["detail"]) for answer in answers]
