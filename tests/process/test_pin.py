"""What operators decide about releases is remembered, whatever ends meanwhile."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.process.operators import begun, overseer
from tests.process.releases import PROGRAM, Upgrading
from tests.process.service import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SELDOM = PROGRAM.replace('File("next.py")', 'File("next.py", interval=3600)')
"""A program that looks for releases only when it starts, and when an operator has it look."""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Upgrading]:
    """Start a self-upgrading program that does not outlive the test."""
    with Upgrading(tmp_path, program=SELDOM) as started:
        yield started.serves()


def test_a_pinned_release_stays_until_it_is_unpinned(app: Upgrading) -> None:
    """Over restarts of it and of the master; then what was passed over is taken."""
    first = app.public
    assert f"{first[:12]} is pinned" in overseer(app, "pin")
    second = app.offer("2", text=SELDOM)
    assert f"{first[:12]} is pinned, and it is what runs" in overseer(app, "upgrade", status=1)
    app.restart()
    app.signal(signal.SIGKILL)
    app.wait()
    with Upgrading(app.folder, write=False) as again:
        again.serves()
        assert f"pinned       {first[:12]}: no other release is taken" in overseer(again, "status")
        assert json.loads(overseer(again, "status", "--json"))["pinned"] == first[:12]
        assert f"there is nothing newer; {first[:12]} is pinned" in overseer(again, "upgrade")
        assert again.public == first
        assert "is not pinned any more" in overseer(again, "unpin")
        again.upgraded(second)
        assert [each["release"] for each in (*again.history("pinned"), *again.history("unpinned"))] == [
            first
        ] * 2


@pytest.mark.long
def test_a_version_that_is_to_come_can_be_pinned(app: Upgrading) -> None:
    """Every other one is passed over; what is pinned is what runs then, and what may be gone back to."""
    first = app.public
    assert "version 3 is pinned" in overseer(app, "pin", "3")
    app.offer("2", text=SELDOM)
    assert "version 3 is pinned, and no other release is taken" in overseer(app, "upgrade", status=1)
    assert app.ledger["held"] == {}
    third = app.offer("3", text=SELDOM)
    assert "is current" in overseer(app, "upgrade")
    assert "there is nothing newer; version 3 is pinned" in overseer(app, "upgrade"), "it has looked"
    app.offer("4", text=SELDOM)
    assert "it is what runs" in overseer(app, "upgrade", status=1)
    assert "is pinned, and no other release is taken" in overseer(app, "rollback", status=1)
    overseer(app, "unpin")
    app.upgraded(app.offer("4", text=SELDOM))
    assert first not in app.ledger["held"]
    assert third not in app.ledger["held"]


@pytest.mark.long
def test_what_is_put_in_place_by_hand_waits_for_the_pin(app: Upgrading) -> None:
    """It is said at the start, nothing is lost, and after unpin the next start takes it."""
    first = app.public
    overseer(app, "pin")
    app.write(app.source("9"))
    by_hand = app.public
    app.ask("stop")
    app.wait()
    with Upgrading(app.folder, write=False) as again:
        again.serves()
        again.logged(rf"was replaced by hand, but {first[:12]} is pinned: it is not started before unpin")
        assert again.build() == "1"
        assert (again.public, again.ledger["current"]) == (by_hand, first)
        overseer(again, "unpin")
        again.ask("stop")
        again.wait()
    with Upgrading(app.folder, write=False) as last:
        last.serves()
        last.upgraded(by_hand)


@pytest.mark.long
def test_nothing_is_pinned_while_another_release_is_on_trial(app: Upgrading) -> None:
    """The operator is told what to do first."""
    app.offer("2", probation=3600)
    app.write(app.source("2", probation=3600))  # whatever the policy of the first: the second one's counts
    assert app.ask("fetch")["outcome"] == "done"
    app.serves(2)
    assert "is on trial: wait for its end, or roll it back" in overseer(app, "pin", status=1)


@pytest.mark.long
def test_what_is_left_by_hand_is_held_whoever_ends_meanwhile(app: Upgrading) -> None:
    """The updater that was asked to go back is killed in the probation: the store remembers."""
    first = app.public
    app.upgraded(second := app.offer("2", text=SELDOM))
    with begun(app, "rollback") as operator:
        until(lambda: app.ledger["trial"], "the way back has begun")
        assert app.ledger["trial"]["leaves"] == second
        os.kill(app.status()["updater"], signal.SIGKILL)
        app.upgraded(first)
        assert operator.wait(DEADLINE) in {0, 1}  # whether it could be answered
    until(lambda: app.ledger["held"] == {second: "an operator wants it so"}, "what was left is held")
    assert [each["release"] for each in app.history("held")] == [second]
