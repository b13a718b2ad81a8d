"""Many restarts, under load and without: no request is lost, nobody stays behind."""

from __future__ import annotations

import os
import random
import re
import signal
from typing import TYPE_CHECKING

import pytest
from bench.load import Fresh, Late, LoadProcess, Plan

from tests.process.programs import HTTP
from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.long)])
def test_restarts_back_to_back_fail_no_request(service: Callable[..., Service], count: int) -> None:
    """New connections, with and without a silence before their request, over a row of restarts.

    More of them may drain at once than by default: on a slow machine the fifth restart would come, and kill
    the first of the four, before that has answered what it took.
    """
    app = service(HTTP, max_draining=50).serves()
    with LoadProcess(f"http://127.0.0.1:{app.port}", _plan()) as load:
        load.wait_started()
        for number in range(2, count + 2):
            assert app.restart() == number
        load.wait_generation(count + 1)
        report = load.stop()
    assert report.failed == 0, report
    assert report.ok > 0
    _is_left_alone(app, count + 1)


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=pytest.mark.long)])
def test_restarts_back_to_back_with_nobody_there_end_well(
    service: Callable[..., Service], count: int
) -> None:
    """The same by signal, without any request: each is one new generation, and one that leaves."""
    app = service(HTTP, max_draining=50).serves()
    for number in range(2, count + 2):
        app.signal(signal.SIGUSR2)
        app.serves(number)
    _is_left_alone(app, count + 1)
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_a_storm_of_signals_and_wishes_loses_no_request(service: Callable[..., Service], seed: int) -> None:
    """Restarts asked for in every way, at any moment, many at once; in the end the youngest serves alone."""
    chance = random.Random(seed)
    app = service(HTTP, max_draining=50).serves()
    with LoadProcess(f"http://127.0.0.1:{app.port}", _plan()) as load:
        load.wait_started()
        for _ in range(40):
            for _ in range(chance.randrange(5)):
                app.signal(chance.choice([signal.SIGUSR2, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCHLD]))
            if chance.random() < 0.5:
                app.restart()
        assert app.ask("restart")["outcome"] == "done"
        report = load.stop()
    assert report.failed == 0, report
    _is_left_alone(app, app.status()["generations"][-1]["number"])


def test_no_descriptor_is_left_behind_by_restarts(service: Callable[..., Service]) -> None:
    """The master has as many open after seven restarts as after one."""
    app = service(HTTP).serves()
    app.restart()
    before = _settled_descriptors(app, 2)
    for number in range(3, 9):
        assert app.restart() == number
    assert _settled_descriptors(app, 8) == before


def _plan() -> Plan:
    return Plan(kinds=(Fresh(rate=120), Late(rate=30, wait=0.05)), seconds=None, timeout=20)


def _is_left_alone(app: Service, number: int) -> None:
    """Wait until only the youngest is there, and look at how the others left."""
    until(lambda: [g["number"] for g in app.status()["generations"]] == [number], "the others left")
    assert not re.findall(r".*(?:killed|unasked|error|Traceback).*", app.log), app.log


def _settled_descriptors(app: Service, number: int) -> int:
    until(lambda: [g["number"] for g in app.status()["generations"]] == [number], "the others left")
    with app.call() as caller:  # the harness's own last connection has gone when the next is served
        caller.sendall(b'{"type":"status"}\n')
        caller.recv(1)
        return len(os.listdir(f"/proc/{app.pid}/fd"))
