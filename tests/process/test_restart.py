"""Restarts with real processes: gated by readiness, coalesced, and never noticed by a client."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    assert app.knock()[0] == 2
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
