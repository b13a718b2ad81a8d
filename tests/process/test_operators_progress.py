"""An operator sees how far an upgrade is, on a terminal that he lets move; elsewhere he reads lines."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.hostile import Hostile, reply
from tests.process.operators import begun, environment, overseer
from tests.process.releases import PROGRAM, Upgrading
from tests.process.service import DEADLINE, until
from tests.process.terminal import CTRL_C, Terminal

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.hostile import Asked, Wire

FILLING = "\n# " + "x" * 3_000_000
"""What makes a release large enough to be seen on its way."""

MOVES = re.compile(r"\x1b\[")
"""How a terminal is told to move its cursor, or to show a colour."""


class Slow(Upgrading):
    """A service whose source sends half of a release, then hardly anything, and the rest when it may."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.content = b""
        self.may_go_on = threading.Event()
        self.source_of_releases = Hostile(self._answer)
        where = f'fetcher.HTTP("{self.source_of_releases.url}/app.py", interval=3600)'
        self.program = PROGRAM.replace('fetcher.File("next.py")', where)
        super().__init__(folder, program=self.program, **options)

    def _answer(self, _asked: Asked, wire: Wire) -> None:
        if not self.content:
            wire.say(reply(self.app.read_bytes(), etag='"1"'))  # what runs already
            return
        whole = reply(self.content, etag='"2"')
        wire.say(whole[: -self.half])
        left = whole[-self.half :]
        while not self.may_go_on.wait(0.05) and wire.say(left[:10]):
            left = left[10:]
        wire.say(left)

    def begins_to_offer(self) -> None:
        """Have a second build at the source; its second half comes when `may_go_on` is set."""
        text = self.source("2", text=self.program) + FILLING
        self.content = text.encode()
        self.half = len(self.content) // 2

    def operator(self, *words: str, **env: str) -> Terminal:
        """Sit down at a terminal beside the service, and type a command."""
        told = {**environment(self), "TERM": "xterm-256color", "COLUMNS": "80", **env}
        return Terminal([sys.executable, "-m", "overseer", *words], self.folder, told)

    def __exit__(self, *args: object) -> None:
        self.may_go_on.set()
        super().__exit__(*args)
        self.source_of_releases.__exit__(*args)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    """Have one that has found nothing new, and is offered a release now; it looks when it is asked to."""
    with Slow(tmp_path) as app:
        app.serves()
        until(lambda: app.status()["looked"], "it has looked once")
        app.begins_to_offer()
        yield app


@contextmanager
def upgrade(app: Slow) -> Iterator[subprocess.Popen[str]]:
    """Ask for an upgrade with a pipe for standard output and error."""
    with begun(app, "upgrade", "--now") as told:
        try:
            yield told
        except BaseException:
            told.kill()
            raise


def test_a_bar_shows_how_far_a_release_is(slow: Slow) -> None:
    """Bytes here, of how many, and how fast; when it is done there is no bar left, but the lines are."""
    with slow.operator("upgrade", "--now") as seen:
        seen.shows(r"fetching app\.py .*?1\.5/3\.0 MB.*?bytes/s")
        slow.may_go_on.set()
        seen.shows(r"generation 2 serves its probation")
        assert seen.ended() == 0
        shown = seen.shown
    assert re.search(r"release \w{12} is staged\n", shown)
    assert re.search(r"release \w{12} is current\n", shown)
    assert "\x1b[?25l" not in shown  # the cursor is never hidden, so nothing can leave it hidden
    assert "\x1b[2K" in shown.rsplit("probation", 1)[1]  # the bar is erased


def test_on_a_pipe_there_is_a_line_for_each_step(slow: Slow) -> None:
    """Nothing that moves, and nothing that is coloured."""
    with upgrade(slow) as told:
        until(lambda: slow.status()["progress"], "it is fetched")
        slow.may_go_on.set()
        said = told.stdout.read() if told.stdout else ""
        assert told.wait(DEADLINE) == 0
    assert re.fullmatch(r"release \w{12} is staged\nrelease \w{12} is current\n", said)


@pytest.mark.long
@pytest.mark.parametrize("wish", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "TERM=dumb"])
def test_who_wants_no_colours_gets_letters_and_lines(slow: Slow, wish: dict[str, str]) -> None:
    """Of every command that has colours, or moves: on a real terminal."""
    with slow.operator("upgrade", "--now", **wish) as seen:
        until(lambda: slow.status()["progress"], "it is fetched")
        slow.may_go_on.set()
        assert seen.ended() == 0
        assert re.fullmatch(r"release \w{12} is staged\nrelease \w{12} is current\n", seen.shown)
    with slow.operator("status", "--watch", **wish) as seen:
        seen.shows("listens on", 2)
        seen.type(CTRL_C)
        assert seen.ended() == 130
        assert not MOVES.search(seen.shown)
    for words in (["status"], ["doctor"], ["events"], ["history"], ["--help"], ["status", "--nonsense"]):
        with slow.operator(*words, **wish) as seen:
            seen.ended()
            assert len(seen.shown.splitlines()) > 1
            assert not MOVES.search(seen.shown), words


@pytest.mark.long
def test_a_status_tells_how_far_a_release_is(slow: Slow) -> None:
    """For people and for programs, and nothing when nothing is on its way."""
    assert slow.status()["progress"] is None
    with upgrade(slow):
        going = until(lambda: slow.status()["progress"], "it is fetched")
        until(lambda: slow.status()["progress"]["arrived"] >= slow.half, "half of it is here")
        assert (going["step"], going["name"], going["size"]) == ("fetching", "app.py", len(slow.content))
        assert re.search(r"updater +\d+: fetching app\.py, 1\.5 of 3\.0 MB\n", overseer(slow, "status"))
        assert slow.ask("reexec")["outcome"] == "done"
        assert slow.status()["progress"]["arrived"] >= slow.half
        with slow.operator("status", "--watch") as seen:
            seen.shows(r"fetching app\.py, 1\.5 of 3\.0 MB")
            slow.may_go_on.set()
            seen.shows(r"2 +serving")
            seen.type(CTRL_C)
            assert seen.ended() == 130
    assert slow.status()["progress"] is None


@pytest.mark.long
def test_two_operators_at_once_see_the_same_and_one_may_go(slow: Slow) -> None:
    """Ctrl-C ends the command and not what was asked for; who stays sees how it ends."""
    with slow.operator("upgrade", "--now") as first, slow.operator("upgrade", "--now") as second:
        for seen in (first, second):
            seen.shows(r"fetching app\.py .*?1\.5/3\.0 MB")
        first.type(CTRL_C)
        assert first.ended() == 130
        assert "what was asked for goes on" in first.shown
        assert "Traceback" not in first.shown
        slow.may_go_on.set()
        assert second.ended() == 0
        assert re.search(r"release \w{12} is current\n", second.shown)
    assert slow.build() == "2"


def test_who_is_killed_leaves_a_terminal_and_a_service_in_order(slow: Slow) -> None:
    """The release comes all the same."""
    with slow.operator("upgrade", "--now") as seen:
        seen.shows(r"1\.5/3\.0 MB")
        os.kill(seen.pid, signal.SIGKILL)
        assert seen.ended() == -signal.SIGKILL
        assert "\x1b[?25l" not in seen.shown
    slow.may_go_on.set()
    until(lambda: slow.build() == "2", "build 2 answers")


def test_an_updater_that_dies_fetches_nothing_any_more(slow: Slow) -> None:
    """No status tells of what nobody does."""
    with upgrade(slow) as told:
        until(lambda: slow.status()["progress"], "it is fetched")
        os.kill(slow.status()["updater"], signal.SIGKILL)
        until(lambda: slow.status()["progress"] is None, "nothing is fetched")
        slow.may_go_on.set()
        assert told.wait(DEADLINE) == 0
