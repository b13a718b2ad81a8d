"""What operators do, with the commands they use: look, restart, roll back, clear, look now, stop."""

from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING

import pytest

from tests.process.operators import overseer
from tests.process.releases import Upgrading
from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.process.service import Service


@pytest.fixture
def upgrading(tmp_path: Path) -> Iterator[Callable[..., Upgrading]]:
    """Start self-upgrading programs that do not outlive the test."""
    started: list[Upgrading] = []

    def start(**options: object) -> Upgrading:
        started.append(Upgrading(tmp_path, **options))  # type: ignore[arg-type]
        return started[-1].serves()

    yield start
    for one in started:
        one.__exit__()


def test_an_operator_sees_what_is_going_on(service: Callable[..., Service]) -> None:
    """For people as lines that fit a terminal, for programs as JSON; and the exit status tells of nobody."""
    app = service(version="1.5").serves()
    lines = overseer(app, "status").splitlines()
    assert lines[0].startswith(f"app.py: running, master {app.pid} (overseer ")
    table = lines[: lines.index("", lines.index("") + 1)]
    assert table[-1].split()[:7] == ["1", "serving", "in", "place", "1.5", "1", str(app.pids(1)[0])]
    assert json.loads(overseer(app, "status", "--json"))["generations"][0]["version"] == "1.5"
    assert overseer(app, "stop") == "stopped\n"
    assert app.wait() == 0
    assert "no master answers" in overseer(app, "status", status=69)


def test_an_operator_sees_how_many_connections_are_open(service: Callable[..., Service]) -> None:
    """Of each worker, those that drain included; from the kernel, so that no program has to say it."""
    app = service().serves()
    held = app.hold()
    app.restart()
    other, another = app.hold(), app.hold()

    def seen() -> list[tuple[int, int]]:
        found = json.loads(overseer(app, "status", "--json"))["generations"]
        return [(g["number"], g["workers"][0]["connections"]) for g in found]

    assert seen() == [(1, 1), (2, 2)]
    assert " connections " in overseer(app, "status")
    assert 'overseer_open_connections{phase="draining",service="app.py"} 1.0' in overseer(app, "metrics")
    for connection in (held, other, another):
        connection.sendall(b"go\n")
        assert connection.makefile().readline()
        connection.close()
    until(lambda: seen() == [(2, 0)], "all were closed")


def test_a_restart_tells_how_it_ended(service: Callable[..., Service]) -> None:
    """With its words and with its exit status; the service serves on either way."""
    app = service().serves()
    assert overseer(app, "restart", "--wait") == "generation 2 serves\n"
    assert overseer(app, "reexec").startswith("the master has started anew")
    app.write("raise SystemExit(7)")
    assert "exit status 7" in overseer(app, "restart", status=1)
    assert app.status()["generations"][0]["number"] == 2
    assert "no updater runs: the program has no fetcher" in overseer(app, "upgrade", "--now", status=1)
    assert "it has no fetcher" in overseer(app, "history", status=1)


def test_an_upgrade_can_be_had_now_and_taken_back(upgrading: Callable[..., Upgrading]) -> None:
    """What was current comes back as any release does; what is left is held until it is cleared."""
    app = upgrading()
    first = app.public
    assert "there is nothing newer" in overseer(app, "upgrade", "--now")
    second = app.offer("2")
    assert f"release {second[:12]} is current\n" in overseer(app, "upgrade", "--now")
    assert f"release {first[:12]} is started" in overseer(app, "rollback")
    app.upgraded(first)
    until(lambda: second in app.ledger["held"], "what was left is held")
    until(lambda: app.build() == "1", "build 1 answers")
    assert "no release that is held" in overseer(app, "unhold", "ffffffff", status=1)
    assert "may be taken again" in overseer(app, "unhold", second[:8])
    app.upgraded(second)
    what = [line.split()[1] for line in overseer(app, "history", "--last", "0").splitlines()]
    assert what.count("promoted") == 3
    assert [w for w in what if w in ("held", "released")] == ["held", "released"]


def test_what_is_on_probation_is_taken_back_at_once(upgrading: Callable[..., Upgrading]) -> None:
    """And `hold` means the same of it."""
    app = upgrading(probation=3600)
    first = app.public
    second = app.offer("2")
    assert app.ask("fetch")["outcome"] == "done"
    app.serves(2)
    assert f"release {second[:12]} is held; {first[:12]} stays" in overseer(app, "hold", second[:12])
    until(lambda: app.build() == "1", "build 1 answers again")
    until(lambda: second in app.ledger["held"], "the ledger holds it")
    assert "nothing newer" in overseer(app, "upgrade")


def test_what_cannot_be_written_down_is_not_done_and_that_is_said(
    upgrading: Callable[..., Upgrading],
) -> None:
    """A disk that is full, seen by its operator: which one, and that all is as before."""
    app = upgrading()
    updater = app.status()["updater"]
    _, hard = resource.prlimit(updater, resource.RLIMIT_FSIZE)
    resource.prlimit(updater, resource.RLIMIT_FSIZE, (0, hard))
    said = overseer(app, "pin", status=1)
    assert said == f"nothing is changed: {app.store} cannot be written: File too large\n"
    assert app.ledger["pin"] is None


def test_the_current_release_is_left_rather_than_held(upgrading: Callable[..., Upgrading]) -> None:
    """Who wants to hold it is told the word for what he means."""
    app = upgrading()
    said = overseer(app, "hold", app.public[:12], status=1)
    assert said.endswith("is the current one, which cannot be held; a rollback leaves it\n")


def test_what_a_release_has_printed_is_shown_in_one_line(upgrading: Callable[..., Upgrading]) -> None:
    """In the status and in the history as in the log."""
    app = upgrading()
    app.offer_bytes(b"print('hello')\nprint('world')\n")
    overseer(app, "upgrade", status=1)
    for words in (("status",), ("history",), ("events",)):
        assert "it printed: | hello | world" in overseer(app, *words)


def test_who_changes_the_program_by_hand_is_told_that_a_restart_does_not_take_it(
    upgrading: Callable[..., Upgrading],
) -> None:
    """What runs is the copy in the store: said at the change and after each restart, not of equal bytes."""
    app = upgrading()
    first, source = app.public, app.app.read_text()
    told = (
        rf"warning: updater: {app.app} was changed by hand: a restart starts release {first[:12]} as before"
    )
    app.write(app.source("9"))
    overseer(app, "upgrade")
    app.logged(told)
    assert overseer(app, "restart") == "generation 2 serves\n"
    assert app.build() == "1"
    app.logged(told, times=2)
    app.write(source)
    before = app.status()["looked"]
    assert overseer(app, "restart") == "generation 3 serves\n"
    until(lambda: app.status()["looked"] > before, "the next updater has looked")
    assert app.log.count("was changed by hand") == 2
