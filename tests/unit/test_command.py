"""How a program was started, read off the running process, for every way to start Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

TELLING = """
import dataclasses, json, sys
from overseer.command import this_command
from overseer.errors import NotSupportedError
try:
    print(json.dumps(dataclasses.asdict(this_command())))
except NotSupportedError as error:
    print(json.dumps({"error": str(error)}))
"""

PYTHON = sys.executable


def told(*words: str, folder: Path, stdin: str = "", env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run Python with these words; return what the program made of its start."""
    done = subprocess.run(
        [PYTHON, *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, **(env or {})},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_script_is_named_by_its_whole_path(tmp_path: Path) -> None:
    """With the interpreter and its flags before it, and its arguments apart."""
    (tmp_path / "app.py").write_text(TELLING)
    script = str(tmp_path / "app.py")
    assert told("-X", "dev", "-O", "app.py", "-m", "two words", folder=tmp_path) == {
        "argv": [PYTHON, "-X", "dev", "-O", script],
        "args": ["-m", "two words"],
        "binary": script,
        "kind": "script",
    }


def test_a_link_to_a_script_stays_a_link(tmp_path: Path) -> None:
    """It may lead elsewhere when the next generation starts."""
    (tmp_path / "real.py").write_text(TELLING)
    (tmp_path / "app.py").symlink_to("real.py")
    assert told("app.py", folder=tmp_path)["binary"] == str(tmp_path / "app.py")


def test_a_folder_that_is_a_link_stays_a_link(tmp_path: Path) -> None:
    """Whoever went there by the link is sent there again by the link."""
    (tmp_path / "one").mkdir()
    (tmp_path / "current").symlink_to("one")
    (tmp_path / "one" / "app.py").write_text(TELLING)
    folder = tmp_path / "current"
    assert told("app.py", folder=folder, env={"PWD": str(folder)})["binary"] == str(folder / "app.py")


def test_an_archive_is_a_file_too(tmp_path: Path) -> None:
    """A zipapp is the binary."""
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", TELLING)
    found = told("app.pyz", "a", folder=tmp_path)
    assert (found["kind"], found["binary"]) == ("archive", str(tmp_path / "app.pyz"))


def test_a_folder_is_no_binary(tmp_path: Path) -> None:
    """It runs where it stands."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(TELLING)
    found = told("app", folder=tmp_path)
    assert (found["kind"], found["binary"], found["argv"][-1]) == ("in place", "", str(tmp_path / "app"))


@pytest.mark.parametrize("name", ["app", "package", "package.part"])
def test_a_module_is_no_binary(tmp_path: Path, name: str) -> None:
    """`-m` is kept as it was written, for modules, packages and modules in them."""
    (tmp_path / "app.py").write_text(TELLING)
    (tmp_path / "package").mkdir()
    for file in ("__init__", "__main__", "part"):
        (tmp_path / "package" / f"{file}.py").write_text("" if file == "__init__" else TELLING)
    found = told("-m", name, "a", folder=tmp_path)
    assert found == {"argv": [PYTHON, "-m", name], "args": ["a"], "binary": "", "kind": "in place"}


def test_a_text_is_no_binary(tmp_path: Path) -> None:
    """`-c` is kept as it was written."""
    found = told("-c", TELLING, "a", folder=tmp_path)
    assert found == {"argv": [PYTHON, "-c", TELLING], "args": ["a"], "binary": "", "kind": "in place"}


@pytest.mark.parametrize("words", [["-"], [], ["-", "a"]])
def test_a_program_on_standard_input_cannot_be_started_again(tmp_path: Path, words: list[str]) -> None:
    """It has been read, and is gone."""
    assert "not started from a file" in told(*words, folder=tmp_path, stdin=TELLING)["error"]


def test_a_pipe_cannot_be_started_again(tmp_path: Path) -> None:
    """As the shell's `<(...)` makes one."""
    assert "/dev/stdin is no file" in told("/dev/stdin", folder=tmp_path, stdin=TELLING)["error"]


def test_arguments_changed_before_the_import_are_noticed(tmp_path: Path) -> None:
    """What is an argument and what is the script could only be guessed."""
    (tmp_path / "app.py").write_text("import sys; sys.argv.pop()\n" + TELLING)
    assert "import overseer first" in told("app.py", "a", folder=tmp_path)["error"]


def test_arguments_changed_after_the_import_are_as_they_were(tmp_path: Path) -> None:
    """Programs take them apart."""
    (tmp_path / "app.py").write_text("import overseer, sys; sys.argv.pop()\n" + TELLING)
    assert told("app.py", "a", folder=tmp_path)["args"] == ["a"]
