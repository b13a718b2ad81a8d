"""Releases of a server of `overseer.serve` that are no good, offered under load: what clients see of them."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from bench.load import Fresh, Kept, Late, LoadProcess, Outcome, Plan

from tests.process.releases import Upgrading
from tests.process.service import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.long

PROGRAM = """
# TOP
import asyncio, os, time
import overseer
from overseer import fetcher

BUILD = b"BUILD_NUMBER"

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        # LIFE
        await send({"type": "lifespan.startup.complete"})
        told = asyncio.ensure_future(receive())
        while not (await asyncio.wait({told}, timeout=0.1))[0]:
            app.state.alive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    status = 200
    # REQUEST
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-generation", BUILD)]})
    await send({"type": "http.response.body", "body": b"ok"})

def program(state):
    app.state = state
    # HERE
    overseer.serve.asgi(app, state, linger=0.5, log_level="error")

if __name__ == "__main__":
    source = dict(fetcher=fetcher.File("next.py", interval=0.1), trust=overseer.Unsigned())
    overseer.run(program, **{**source, "min_fetch_interval": 0.1, "version": "BUILD_NUMBER", **OPTIONS})
"""
"""A server that says that it is well, and names its build in each answer."""


class Served(Upgrading):
    """Such a program, offered builds with a fault at one of its places."""

    def __init__(self, folder: Path, **options: Any) -> None:
        """Start build 1."""
        super().__init__(folder, program=PROGRAM, **{"ready_timeout": 60, **options})

    def put(self, build: str, place: str = "HERE", fault: str = "pass", **options: Any) -> str:
        """Offer a build; return its digest."""
        text = self.source(build, text=PROGRAM.replace(f"# {place}", fault), **options)
        return self.offer_bytes(text.encode())

    def why_held(self, digest: str) -> str:
        """Wait until a release is held; return why."""
        until(lambda: digest in self.ledger["held"], "the ledger holds it", 2 * DEADLINE)
        return str(self.ledger["held"][digest])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start programs that do not outlive the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Served(tmp_path, **options)).serves()


@contextlib.contextmanager
def clients(app: Served) -> Iterator[LoadProcess]:
    """Ask anew, late, and on connections that are kept, with pauses of up to twice the linger."""
    kinds = (Fresh(rate=60), Late(rate=20, wait=0.1), Kept(rate=80, connections=20, pause=(0.0, 1.0)))
    with LoadProcess(f"http://127.0.0.1:{app.port}", Plan(kinds=kinds, seconds=None, timeout=30)) as load:
        load.wait_started()
        load.wait_generation("1")
        yield load


def end(app: Served) -> None:
    """Ask for what a bad build does when it is asked for /end, and not for an answer."""
    with socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) as connection:
        connection.sendall(b"GET /end HTTP/1.1\r\nHost: x\r\n\r\n")


FAILED = "await send({'type': 'lifespan.startup.failed', 'message': 'no database'}); return"
LATE = "while not os.path.exists('go'): time.sleep(0.01)\n    "
NO_START = {
    "import": ("TOP", "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "program": ("HERE", "raise RuntimeError('no database')", r"before it was ready \(exit status 1\)"),
    "late": ("HERE", f"{LATE}raise RuntimeError('no database')", r"before it was ready \(exit status 1\)"),
    "lifespan": ("LIFE", FAILED, r"before it was ready \(exit status 3\)"),
    "option": ("HERE", "overseer.serve.asgi(app, state, port=80)", r"before it was ready \(exit status 78\)"),
}
"""Where a release fails at its start, what it does there, and what is remembered of that."""


@pytest.mark.parametrize("fault", NO_START)
def test_no_client_notices_a_release_that_does_not_start(served: Callable[..., Served], fault: str) -> None:
    """It is held with its reason, and the next good one is taken; both may take their time."""
    app, (place, what, why) = served(), NO_START[fault]
    go = app.folder / "go"
    with clients(app) as load:
        bad = app.put("2", place, what)
        if fault == "late":
            starts(app, 3)
            go.touch()
        assert re.search(why, app.why_held(bad))
        assert set(load.generations) == {"1"}
        go.unlink(missing_ok=True)
        good = app.put("3", "HERE", LATE)
        starts(app, 3)
        go.touch()
        app.upgraded(good)
        load.wait_generation("3")
        report = load.stop()
    assert report.failed == 0, report
    assert set(report.generations) == {"1", "3"}


def starts(app: Served, seconds: float) -> None:
    """Wait until the youngest generation has been starting for so long."""

    def is_late() -> bool:
        youngest = app.status()["generations"][-1]
        late = any(each["age"] > seconds for each in youngest["workers"])
        return bool(late and youngest["phase"] == "starting")

    until(is_late, f"a generation is starting for {seconds:g} s")


@dataclass(frozen=True)
class Fault:
    """What a release does on probation, what is remembered of it, and how requests of its own may end."""

    what: str
    why: str
    ends: frozenset[Outcome]


CUT = frozenset({Outcome.CLOSED, Outcome.RESET})
ON_PROBATION = {
    "crashes": Fault("if scope['path'] == '/end': os._exit(7)", r"ended unasked \(exit status 7\)", CUT),
    "hangs": Fault(
        "if scope['path'] == '/end': time.sleep(3600)", r"ended unasked \(killed by signal 9\)", CUT
    ),
    "answers 500 and says so": Fault(
        "if scope['path'] == '/end': app.state.fail('it answers 500')\n    status = 500",
        "it answers 500",
        frozenset({Outcome.SERVER_ERROR}),
    ),
}


@pytest.mark.parametrize("name", ON_PROBATION)
def test_a_release_that_fails_on_probation_costs_what_it_had(
    served: Callable[..., Served], name: str
) -> None:
    """The build before is back, and nothing is lost that was not the bad one's own; it is not tried again.

    One that crashes, or is killed by its watchdog, takes with it what it has accepted. Whoever knocks then is
    not refused, but waits for the build before.
    """
    fault = ON_PROBATION[name]
    app = served(probation=60, watchdog=2)
    current = app.ledger["current"]
    with clients(app) as load:
        bad = app.put("2", "REQUEST", fault.what)
        app.serves(2)
        app.logged(r"generation 1 \(pid \d+\) left after .*: exit status 0")
        end(app)
        app.serves(3, 2 * DEADLINE)
        app.logged(r"generation 2 \(pid \d+\) (left|ended unasked)")
        back = time.monotonic()
        assert re.search(fault.why, app.why_held(bad))
        app.upgraded(app.put("3", probation=0.5))
        load.wait_generation("3")
        report = load.stop()
    assert {each.outcome for each in report.failures} <= fault.ends, report
    assert all(each.due < back for each in report.failures), report
    assert app.ledger["held"].keys() == {bad}
    assert app.ledger["current"] != current


def test_what_was_held_is_not_taken_by_the_next_master_either(served: Callable[..., Served]) -> None:
    """The service is stopped and started, and the same bytes are put where the fetcher looks once more."""
    app = served(debug=True)
    bad = app.put("2", "HERE", "raise RuntimeError('no database')")
    app.why_held(bad)
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
    heard = len(app.log)
    again = served(write=False)
    assert again.offer_bytes((app.folder / "next.py").read_bytes()) == bad
    until(lambda: "the offer is not taken" in again.log[heard:], "it was looked at")
    assert again.restart() == 2
    assert "is staged" not in again.log[heard:]
    assert again.ledger["held"].keys() == {bad}


def test_wrong_answers_are_nobodys_news(served: Callable[..., Served]) -> None:
    """A release that answers 500 and does not notice becomes current; the next good one heals it."""
    app = served()
    with clients(app) as load:
        app.upgraded(app.put("2", "REQUEST", "status = 500"))
        app.upgraded(app.put("3"))
        load.wait_generation("3")
        report = load.stop()
    assert {each.outcome for each in report.failures} == {Outcome.SERVER_ERROR}, report
    assert app.ledger["held"] == {}
