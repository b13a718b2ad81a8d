"""Releases behind links below `overseer run` (D18): each generation follows them anew."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.process.foreigners import written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.service import Service

BODY = """
print("runs VERSION in", os.readlink("/proc/self/cwd"), "called", os.environ["PWD"], flush=True)
notify("READY=1")
program()
"""
RUN = ("-m", "overseer", "run", "--address", "127.0.0.1:0", "--ready", "notify")
WORDS = ("{generation}", "{worker}")


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """Lay out a folder with two releases, v1 and v2, and a link `current` to the first."""
    for version in ("v1", "v2"):
        program = tmp_path / "releases" / version / "server"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!{sys.executable}\n" + written(BODY.replace("VERSION", version)))
        program.chmod(0o755)
    point(tmp_path / "current", "releases/v1")
    return tmp_path


def point(link: Path, to: str) -> None:
    """Have a link lead elsewhere, in one step, as those do it who deploy."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(to)
    fresh.rename(link)


def test_a_directory_that_is_a_link_leads_each_generation_to_its_release(
    service: Callable[..., Service], releases: Path
) -> None:
    """Program, working directory and PWD are the new ones; the name stays that of the link."""
    options = ("--directory", str(releases / "current"), "--", "./server")
    app = service(command=(*RUN, *options, *WORDS)).serves()
    app.said(rf"runs v1 in {releases}/releases/v1 called {releases}/current\n")
    point(releases / "current", "releases/v2")
    assert app.restart() == 2
    app.said(rf"runs v2 in {releases}/releases/v2 called {releases}/current\n")


def test_a_relative_directory_is_called_by_its_own_name(
    service: Callable[..., Service], releases: Path
) -> None:
    """PWD names the folder from where overseer was started, not from where the link leads."""
    prefix = ("sh", "-c", f'cd {releases}; exec "$@"', "sh")
    app = service(command=(*RUN, "--directory", "current", "--", "./server", *WORDS), prefix=prefix).serves()
    app.said(rf"runs v1 in {releases}/releases/v1 called {releases}/current\n")


def test_a_start_from_within_a_link_is_a_start_from_where_it_leads(
    service: Callable[..., Service], releases: Path
) -> None:
    """A shell that has gone there knows the link's name; each generation goes there anew."""
    prefix = ("sh", "-c", f'cd {releases}/current; exec "$@"', "sh")
    app = service(command=(*RUN, "--", "./server", *WORDS), prefix=prefix).serves()
    point(releases / "current", "releases/v2")
    assert app.restart() == 2
    app.said(rf"runs v2 in {releases}/releases/v2 called {releases}/current\n")


def test_a_program_that_is_a_link_is_followed_anew(service: Callable[..., Service], releases: Path) -> None:
    """Also one in the middle of its path."""
    app = service(command=(*RUN, "--", f"{releases}/current/server", *WORDS)).serves()
    app.said("runs v1 in ")
    point(releases / "current", "releases/v2")
    assert app.restart() == 2
    app.said("runs v2 in ")


@pytest.mark.parametrize("how", ["directory", "folder", "program"])
def test_a_link_that_dangles_fails_the_restart_and_nothing_else(
    service: Callable[..., Service], releases: Path, how: str
) -> None:
    """The reason names it; what serves is the release that served before, and none that is older."""
    link = releases / "current"
    match how:
        case "directory":
            app = service(command=(*RUN, "--directory", str(link), "--", "./server", *WORDS))
            reason = f"{link} cannot be used: No such file or directory"
        case "folder":
            prefix = ("sh", "-c", f'cd {link}; exec "$@"', "sh")
            app = service(command=(*RUN, "--", "./server", *WORDS), prefix=prefix)
            reason = f"cannot enter {link}: No such file or directory"
        case _:
            app = service(command=(*RUN, "--", f"{link}/server", *WORDS))
            reason = f"cannot execute {link}/server: No such file or directory"
    app.serves()
    point(link, "releases/v2")
    assert app.restart() == 2
    point(link, "releases/v3")
    answer = app.ask("restart")
    assert (answer["outcome"], answer["detail"]) == ("failed", reason)
    app.logged(r"generation 3 \(pid \d+\) left")
    app.answers(2)
    point(link, "releases/v1")
    assert app.restart() == 4
    assert app.out.count("runs v1") == 2


def test_a_working_directory_that_was_removed_stops_no_restart(
    service: Callable[..., Service], releases: Path
) -> None:
    """It has no name any more, so no other is meant; the program lies elsewhere."""
    (releases / "gone").mkdir()
    prefix = ("sh", "-c", f'cd {releases}/gone; exec "$@"', "sh")
    app = service(command=(*RUN, "--", f"{releases}/current/server", *WORDS), prefix=prefix, write=False)
    app.serves()
    (releases / "gone").rmdir()
    answer = app.ask("restart")
    assert answer["outcome"] == "done", answer
