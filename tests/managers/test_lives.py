"""One life under each service manager: start, restarts under load, an upgrade, a bad release, a stop.

What a manager runs is what `overseer unit` prints for it, unchanged.
"""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from bench.load import Fresh, Kept, Late, LoadProcess, Plan

from tests.managers.managers import MANAGERS, PATIENCE, Manager
from tests.process.programs import UPGRADES
from tests.process.service import until

pytestmark = pytest.mark.long

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "managers.md"

LOAD = Plan(
    kinds=(Fresh(rate=50), Kept(rate=50, connections=5), Late(rate=20)), seconds=None, timeout=PATIENCE
)


class Life:
    """A service that upgrades itself, seen from outside of its manager."""

    def __init__(self, manager: Manager, port: int) -> None:
        """Write its first release."""
        self.manager = manager
        self.options = {"address": f"127.0.0.1:{port}", "probation": 0.3}
        self.write("app.py", "1")

    def write(self, file: str, version: str, fault: str = "") -> None:
        """Write a release, whole or not at all."""
        text = UPGRADES.replace("**OPTIONS", f"**{self.options | {'version': version}!r}")
        text = text.replace("def program(state):\n", f"def program(state):\n{fault}")
        fresh = self.manager.folder / "fresh"
        fresh.write_text(text)
        fresh.replace(self.manager.folder / file)

    def logged(self, pattern: str, times: int = 1) -> None:
        """Wait until this stands in the log so often."""
        log = self.manager.log

        def found() -> bool:
            return log.exists() and len(re.findall(pattern, log.read_text())) >= times

        try:
            until(found, f"{times} x {pattern!r} in the log", PATIENCE)
        except AssertionError as error:
            told = log.read_text() if log.exists() else "nothing"
            raise AssertionError(f"{error}\n{told}") from None

    def serves(self) -> bool:
        """Tell whether somebody does."""
        try:
            return any(g["phase"] == "serving" for g in self.status()["generations"])
        except (OSError, ValueError):
            return False

    def versions(self) -> set[str]:
        """Return of which releases there are generations."""
        return {generation["version"] for generation in self.status()["generations"]}

    def status(self) -> dict[str, Any]:
        """Ask on the control socket."""
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(PATIENCE)
            caller.connect(str(self.manager.control))
            caller.sendall(b'{"type": "status"}\n')
            answer: dict[str, Any] = json.loads(caller.makefile().readline())
            return answer


@pytest.mark.parametrize("name", MANAGERS)
def test_a_life_in_which_no_request_fails(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """One PID from its start to its stop, which answers what was asked and leaves nobody behind."""
    kind = MANAGERS[name]
    if why := kind.missing():
        pytest.skip(f"NOT PROVEN HERE: {why}")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    manager = kind(f"ovs{os.getpid()}{name.replace(' ', '')}", tmp_path)
    request.addfinalizer(manager.clean)
    life = Life(manager, port)
    manager.start()
    until(life.serves, "it serves", PATIENCE)
    pid = manager.pid()
    with LoadProcess(f"http://127.0.0.1:{port}", LOAD) as load:
        load.wait_started()
        for generation in (2, 3, 4):
            manager.restart()
            load.wait_generation(str(generation), PATIENCE)
        life.write("next.py", "2")
        life.logged("is current: generation 5")
        life.write("next.py", "3", fault="    raise SystemExit('not today')\n")
        life.logged("is held, and not started again by itself")
        manager.restart()
        life.logged("generation [78] serves, ")
        report = load.stop()
    assert report.failed == 0, report
    assert manager.pid() == pid
    until(lambda: life.versions() == {"2"}, "who is of the first release has left", PATIENCE)
    a_stop_answers_what_was_asked(life, port)


def a_stop_answers_what_was_asked(life: Life, port: int) -> None:
    """The rest of a request that came in part is waited for; then everybody goes, with status 0."""
    workers = [w["pid"] for g in life.status()["generations"] for w in g["workers"]]
    assert workers
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        until(lambda: accepted(port), "the connection is accepted", PATIENCE)
        life.manager.ask_to_stop()
        life.logged("drains")
        connection.sendall(b"\r\n")
        assert connection.makefile("rb").read().endswith(b"2\n")
    assert life.manager.end() == "exit status 0"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def accepted(port: int) -> bool:
    """Tell whether nobody waits in the listener's queue: for a listener, ss(8) counts them as Recv-Q."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = [line.split() for line in lines if line.split()[3] == "0A"]
    return [words[4][9:] for words in listening if words[1].endswith(f":{port:04X}")] == ["00000000"]


def test_the_page_has_a_row_for_each_manager_that_was_run() -> None:
    """And for no other but systemd, whose proofs are in a room of their own."""
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| [")]
    named = [row[row.index("[") + 1 : row.index("]")] for row in rows]
    assert named == ["systemd", *MANAGERS]
