"""Where a service's control socket is: one rule for whoever binds it and whoever asks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from overseer import places
from overseer.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_given_comes_first() -> None:
    """Whatever the environment says."""
    environ = {"RUNTIME_DIRECTORY": "/run/app"}
    assert places.control_path(environ, control="/there", name="app") == "/there"


def test_the_service_managers_folder_comes_next() -> None:
    """The first, where it gives several."""
    environ = {"RUNTIME_DIRECTORY": "/run/app:/run/other"}
    assert places.control_path(environ, name="app") == "/run/app/overseer.sock"


def test_a_name_tells_the_place_otherwise() -> None:
    """In a folder of the user's own; without a name there is none."""
    expected = {0: "/run/overseer"}.get(os.geteuid(), "/run/user/7/overseer")
    environ = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert places.control_path(environ, name="app") == f"{expected}/app.sock"
    assert places.control_path(environ) == ""


@pytest.mark.parametrize("name", ["a/b", ".hidden", "two words", "x" * 61, "new\nline", "ä"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    """It becomes part of a path and of lines of the log."""
    with pytest.raises(ConfigError):
        places.control_path({}, name=name)


@pytest.mark.parametrize(
    ("program", "name"), [("/usr/sbin/nginx", "nginx"), ("./my app", "my-app"), ("/", "program"), (".x", "x")]
)
def test_every_command_has_a_name(program: str, name: str) -> None:
    """Made of its file name, and always one that is allowed."""
    assert places.check_name(places.name_of(program)) == name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/usr/bin/python3.12", "app.py", "--port", "1"], "app.py"),
        (["python", "-m", "http.server"], "http.server"),
        (["node", "web/server.js"], "server.js"),
        (["python3", "-u", "app.py"], "python3"),
        (["python"], "python"),
        (["./bashful", "x"], "bashful"),
    ],
)
def test_a_script_gives_its_name_and_not_its_interpreter(command: list[str], name: str) -> None:
    """Two services of one language are two; what cannot be told is not guessed."""
    assert places.name_of_command(command) == name


def test_a_folder_that_others_may_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could put a socket of their own in the place of ours."""
    there = tmp_path / "overseer"
    monkeypatch.setattr(places, "folder", lambda _: str(there))
    assert places.make_folder({}) == str(there)
    assert there.stat().st_mode & 0o777 == 0o700
    there.chmod(0o777)
    with pytest.raises(ConfigError, match="only we may write"):
        places.make_folder({})
    there.rmdir()
    there.symlink_to(tmp_path)
    with pytest.raises(ConfigError):
        places.make_folder({})
