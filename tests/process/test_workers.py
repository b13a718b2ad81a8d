"""A generation of several workers: one hand-over, losses made good, and an end to a crash loop."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.process.programs import gated, raw
from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service


def test_all_are_ready_before_the_old_ones_drain(service: Callable[..., Service]) -> None:
    """Two of three are not enough: the old generation serves until the last one is ready."""
    app = service(gated(""), workers=3, ready_after=1000).serves()
    app.write(gated("allowed(f'go{state.worker}', state)"))
    with app.call() as caller:
        caller.sendall(b'{"type":"restart"}\n')
        app.said("begun 2", times=3)
        for worker in (1, 2):
            (app.folder / f"go{worker}").touch()
        until(lambda: _stages(app, 2) == ["ready", "ready", "admitted"], "two of three are ready")
        assert app.status()["generations"][0]["phase"] == "serving"
        (app.folder / "go3").touch()
        caller.settimeout(20)
        assert b"generation 2 serves" in caller.recv(1000)
    app.logged(r"generation 1, worker \d \(pid \d+\) left after .*: exit status 0", times=3)


def test_one_of_several_that_fails_to_start_is_a_failed_start(service: Callable[..., Service]) -> None:
    """The others of its generation are asked to leave, the old generation serves on whole."""
    app = service(gated(""), workers=3, ready_after=1000).serves()
    before = app.pids(1)
    app.write(gated("os._exit(7) if state.worker == 2 else allowed('never', state)"))
    assert app.ask("restart")["detail"] == "ended before it was ready (exit status 7)"
    until(lambda: [g["number"] for g in app.status()["generations"]] == [1], "all of them have gone")
    assert app.pids(1) == before


def test_one_that_dies_is_replaced_alone(service: Callable[..., Service]) -> None:
    """`kill -9` of one worker: another comes with a new number, the others are left in peace."""
    app = service(workers=3).serves()
    before = app.pids(1)
    os.kill(before[1], signal.SIGKILL)
    app.logged(r"generation 1, worker 2 \(pid \d+\) ended unasked while serving, .*: killed by signal 9")
    app.said("serving 1 4")
    until(lambda: _stages(app, 1) == ["ready"] * 3, "there are three again")
    after = app.pids(1)
    assert after[:2] == [before[0], before[2]]
    assert app.status()["generations"][0]["number"] == 1


def test_losses_in_a_row_are_made_good_later_and_later(service: Callable[..., Service]) -> None:
    """After as many losses as there are workers the next replacement waits; the others serve meanwhile."""
    app = service(workers=2).serves()
    for lost in range(2):
        os.kill(app.pids(1)[-1], signal.SIGKILL)
        app.logged("ended unasked while serving", times=lost + 1)
        until(lambda: _stages(app, 1) == ["ready"] * 2, "it is replaced")
    os.kill(app.pids(1)[-1], signal.SIGKILL)
    app.logged("ended unasked while serving", times=3)
    assert app.knock()[0] == 1
    until(lambda: _stages(app, 1) == ["ready"] * 2, "it is replaced, a second later")
    ages = [w["age"] for w in app.status()["generations"][0]["workers"]]
    assert ages == sorted(ages, reverse=True)


def test_several_lost_at_one_moment_are_all_replaced(service: Callable[..., Service]) -> None:
    """All deaths in one round of the master's wait: it was stopped while they died."""
    app = service(workers=4).serves()
    before = app.pids(1)
    app.signal(signal.SIGSTOP)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    app.signal(signal.SIGCONT)
    app.logged("ended unasked while serving", times=4)
    until(lambda: _stages(app, 1) == ["ready"] * 4, "there are four again")
    assert not set(before) & set(app.pids(1))
    assert app.knock()[0] == 1


def test_a_crash_loop_ends_the_master_with_the_workers_status(service: Callable[..., Service]) -> None:
    """Workers that die again and again are a program that does not work; the process manager learns it."""
    loop = raw(
        """
        hello(policy={"workers": 2, "crash_limit": 1, "ready_after": 0})
        heard("welcome")
        allowed("crash")
        os._exit(7)
        """
    )
    app = service(workers=2).serves()
    app.write(loop)
    assert app.restart() == 2
    app.logged("generation 1.* left", times=2)
    (app.folder / "crash").touch()
    assert app.wait() == 7
    app.logged(r"generation 2 is given up: \d workers in a row ended unasked")


@pytest.mark.long
def test_a_crash_loop_can_be_ended_by_a_restart(service: Callable[..., Service]) -> None:
    """Whoever mends the program does not have to wait for the end of the backoff."""
    app = service(workers=2).serves()
    for lost in range(4):
        os.kill(app.pids(1)[-1], signal.SIGKILL)
        app.logged("ended unasked while serving", times=lost + 1)
        if lost < 3:
            until(lambda: len(app.pids(1)) == 2, "it is replaced")
    assert app.restart() == 2
    until(lambda: _stages(app, 2) == ["ready"] * 2, "both are there")


def test_a_new_program_may_want_more_workers_and_then_fewer(service: Callable[..., Service]) -> None:
    """The number follows the release, both ways, without an end or a failure of anybody."""
    app = service().serves()
    for number, workers in ((2, 3), (3, 1)):
        app.write(ECHO, workers=workers)
        assert app.restart() == number
        _has_workers(app, number, workers)
        app.logged(rf"generation {number - 1}.* left after", times=1 if number == 2 else 3)
    app.answers(3)
    assert not re.findall("unasked|given up", app.log), app.log


def test_requests_in_flight_of_every_worker_are_finished(service: Callable[..., Service]) -> None:
    """Each worker leaves when its own last request is closed."""
    app = service(workers=3).serves()
    held = [app.hold() for _ in range(12)]
    assert app.restart() == 2
    assert [app.release(each) for each in held] == [1] * 12
    app.logged(r"generation 1, worker \d \(pid \d+\) left after .*: exit status 0", times=3)


def _has_workers(app: Service, generation: int, count: int) -> None:
    until(lambda: len(app.pids(generation)) == count, f"generation {generation} has {count} workers")


def _stages(app: Service, generation: int) -> list[str]:
    found = (g for g in app.status()["generations"] if g["number"] == generation)
    return sorted((w["stage"] for g in found for w in g["workers"]), key=lambda stage: stage != "ready")
