"""What somebody sees who is new here: mistakes that say what to do, and a terminal that is left in order."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.process.operators import OVERSEER, environment, named, overseer
from tests.process.programs import gated
from tests.process.releases import Upgrading
from tests.process.service import DEADLINE, Service, until
from tests.process.terminal import CTRL_C, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GATED = gated("""
    threading.Thread(target=answer, args=(state,)).start()
    allowed("go", state) if state.generation > 1 else None
    state.ready()
    state.draining.wait()
""")
"""A program whose second generation is ready when it may be."""


def terminal(app: Service, *words: str, **env: str) -> Terminal:
    """Sit down beside a service, at a terminal of 80 columns, and type a command."""
    told = {**environment(app), "TERM": "xterm-256color", "COLUMNS": "80", **env}
    return Terminal([*OVERSEER, *words], app.folder, told)


def typed(*words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Type a command anywhere; return its exit status and what it says on standard error."""
    done = subprocess.run(
        [*OVERSEER, *words],
        env=env or {k: v for k, v in os.environ.items() if k != "RUNTIME_DIRECTORY"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_command_with_a_slip_is_told_which_one_may_be_meant() -> None:
    """Nothing is done by guess."""
    status, said = typed("restrat")
    assert status == 2
    assert "No such command 'restrat'. Did you mean restart" in said
    assert "Did you mean" not in typed("coffee")[1]


def test_two_services_in_one_place_are_two_or_none(service: Callable[..., Service]) -> None:
    """The second does not take the first one's place, and says whose it is and what to do."""
    first = service().serves()
    env = {**environment(first)}
    status, said = typed("run", "--address", "127.0.0.1:0", "--", "sleep", "60", env=env)
    assert status == 69
    assert f"overseer.sock: is the control socket of another service, of pid {first.pid}; stop that" in said
    assert "give this one a path of its own (--control" in said
    assert first.status()["pid"] == first.pid


@pytest.mark.long
def test_two_services_of_one_name_are_told_to_have_two() -> None:
    """As when the same command is run twice; those with two names are asked for by name."""
    one, other = f"one-{os.getpid()}", f"other-{os.getpid()}"
    with named(one) as first, named(other):
        for name in (one, other):
            until(lambda name=name: typed("status", "-n", name)[0] == 0, f"{name} answers")  # type: ignore[misc]
        with named(one) as again:
            assert again.wait(DEADLINE) == 69
            said = again.stderr.read() if again.stderr else ""
        assert (
            f"another service, of pid {first.pid}; stop that one, or give this one a name of its own" in said
        )
        status, said = typed("status")
        assert status == 2
        assert "which one is meant? There are " in said
        assert one in said
        assert other in said
        status, said = typed("status", "-n", "nobody")
        assert status == 69
        assert "there is " in said
        assert one in said


def test_a_service_of_a_service_manager_is_found_by_the_name_of_its_folder(tmp_path: Path) -> None:
    """Whoever is called at night has no RUNTIME_DIRECTORY: the manager has made it for the service only."""
    name = f"shop-{os.getpid()}"
    (tmp_path / name).mkdir()
    with Service(tmp_path, env={"RUNTIME_DIRECTORY": str(tmp_path / name)}) as app:
        app.run_folder = tmp_path / name
        app.serves()
        env = {k: v for k, v in os.environ.items() if k != "RUNTIME_DIRECTORY"}
        env["XDG_RUNTIME_DIR"] = str(tmp_path)
        assert typed("restart", "--name", name, env=env)[0] == 0
        status, said = typed("status", "--name", "nobody", env=env)
        assert (status, name in said) == (69, True)
        assert typed("status", "--name", name)[0] == 69


def test_a_table_fits_the_terminal(service: Callable[..., Service]) -> None:
    """80 columns: no line of a status is broken by the terminal, and a pipe gets every column."""
    app = service(version="1.5").serves()
    app.restart()
    with terminal(app, "status") as seen:
        assert seen.ended() == 0
        lines = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in seen.shown.splitlines()]
    assert max(map(len, lines)) <= 80
    (head,) = [line for line in lines if line.startswith("gen ")]
    assert head.split()[:2] == ["gen", "phase"]
    assert "connections" in head
    assert "says" not in head
    assert "  says" in overseer(app, "status")


def test_ctrl_c_leaves_a_watch_on_a_line_of_its_own(service: Callable[..., Service]) -> None:
    """No traceback, and the shell's next prompt begins a line; the screen is not cleared, which flickers."""
    app = service().serves()
    with terminal(app, "status", "--watch") as seen:
        seen.shows("last events", 2)
        seen.type(CTRL_C)
        assert seen.ended() == 130
        assert seen.shown.endswith("^C\n")
        assert "Traceback" not in seen.shown
        assert "\x1b[2J" not in seen.shown


def test_a_pipe_gets_no_colours(tmp_path: Path) -> None:
    """Of no command."""
    with Upgrading(tmp_path) as app:
        app.serves()
        for words in (["status"], ["doctor"], ["events"], ["history"], ["pin"], ["upgrade"], ["--help"]):
            assert "\x1b" not in overseer(app, *words)


def test_who_names_no_release_is_told_which_there_are(tmp_path: Path) -> None:
    """With their versions; and that there is none where there is none."""
    with Upgrading(tmp_path) as app:
        app.serves()
        said = overseer(app, "rollback", "9", status=1)
        assert "no release that is in the store has the version '9', or a digest that begins so; in" in said
        assert "in the store is none" in said
        said = overseer(app, "hold", "9", status=1)
        assert f"in the store is 1 ({app.public[:12]})" in said
        assert "held is none" in overseer(app, "unhold", "9", status=1)


def test_what_makes_no_sense_is_refused_at_once(tmp_path: Path) -> None:
    """Before anybody is asked."""
    (tmp_path / "file").touch()
    path = str(tmp_path / "file")
    assert "that is no socket" in typed("status", "--control", path)[1]
    for words in (["upgrade", "--timeout", "0"], ["history", "--last", "-1"]):
        status, said = typed(*words, "--control", path)
        assert status == 2
        assert "Invalid value for" in said


@pytest.mark.long
def test_a_long_wait_is_seen_on_a_terminal_and_can_be_left(service: Callable[..., Service]) -> None:
    """A restart that takes its time: what is waited for is told, and Ctrl-C stops the waiting alone."""
    app = service(GATED, ready_after=None).serves()
    with terminal(app, "restart") as seen:
        seen.shows("the next generation is waited for")
        seen.type(CTRL_C)
        assert seen.ended() == 130
        assert "what was asked for goes on" in seen.shown
        assert "Traceback" not in seen.shown
    (app.folder / "go").touch()
    app.serves(2)
