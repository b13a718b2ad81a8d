"""A program that hangs: who says that he is well lives, who falls silent is killed, and nobody else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

SAYS = ECHO.replace(
    "def program(state):\n",
    """def program(state):
    def say():
        while not os.path.exists("silence"):
            state.alive()
            threading.Event().wait(0.05)
    threading.Thread(target=say, daemon=True).start()
""",
)
"""Says that it is well until there is a file `silence`; it goes on answering then."""

LATE = SAYS.replace('not os.path.exists("silence")', "True").replace(
    "def program(state):\n", "def program(state):\n    import time\n    time.sleep(3.5)\n    state.ready()\n"
)
"""Says nothing before it is ready, and from then on that it is well."""


def test_a_worker_that_falls_silent_is_replaced(service: Callable[..., Service]) -> None:
    """One that says that it is well is left alone, through a restart and the master's renewal."""
    app = service(SAYS, watchdog=3, workers=2).serves()
    assert app.restart() == 2
    assert app.ask("reexec")["outcome"] == "done"
    before = app.pids(2)
    (app.folder / "silence").touch()
    silent = r"generation 2, worker [12] \(pid \d+\) was silent for .* its watchdog allows 3 s: it is killed"
    app.logged(silent, 2)
    (app.folder / "silence").unlink()
    until(lambda: len({*app.pids(2)} - {*before}) == 2, "both are replaced")


def test_with_the_only_one_the_service_ends(service: Callable[..., Service]) -> None:
    """It is for the service manager to start it anew."""
    app = service(watchdog=0.5)
    assert app.wait() != 0
    assert "its watchdog allows 0.5 s: it is killed" in app.log


@pytest.mark.long
def test_who_drains_or_starts_is_not_watched(service: Callable[..., Service]) -> None:
    """A start may take as long as `ready_timeout` lets it, and a request as long as `terminate_timeout`."""
    app = service(SAYS, watchdog=3).serves()
    held = app.hold()
    old = app.pids(1)[0]
    app.write(LATE, ready_after=None)
    assert app.restart() == 2
    (app.folder / "silence").touch()
    assert app.restart() == 3
    os.kill(old, 0)
    assert app.release(held) == 1
    assert "was silent" not in app.log
