"""What operators do, with the commands they use: look, restart, roll back, clear, look now, stop."""

from __future__ import annotations

import json
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
    assert "no updater runs" in overseer(app, "upgrade", "--now", status=1)


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
