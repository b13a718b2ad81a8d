"""The manual pages tell every command, and nothing in them is odd to whoever sets them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib

import pytest
from docs.generate import MANUALS

from overseer.cli.main import COMMANDS
from tests.docs.blocks import ROOT

PAGES = [ROOT / path for path in MANUALS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize(
    "command",
    [["mandoc", "-T", "lint", "-W", "style"], ["groff", "-man", "-ww", "-z", "-Tutf8"]],
    ids=lambda command: command[0],
)
def test_it_is_set_without_a_word(page: os.PathLike[str], command: list[str]) -> None:
    """By both programs that set such pages."""
    if not shutil.which(command[0]):
        pytest.skip(f"there is no {command[0]} here (tests/machine.sh)")
    done = subprocess.run([*command, page], capture_output=True, text=True, check=False, timeout=60)
    # About the operating system's own conventions, which differ.
    said = [line for line in (done.stdout + done.stderr).splitlines() if "operating system" not in line]
    assert said == []


def test_every_command_has_its_part() -> None:
    """With its options."""
    text = (ROOT / "docs" / "man" / "overseer.1").read_text()
    told = set(re.findall(r"^\.SS overseer (\w+)$", text, re.MULTILINE))
    assert told == set(COMMANDS) - {"repo"}
    assert r"\fB\-n, \-\-name NAME\fR" in text


@pytest.mark.skipif(not shutil.which("man"), reason="there is no man here (tests/machine.sh)")
def test_man_shows_it() -> None:
    """As whoever types `man overseer` reads it."""
    path = ROOT / "docs" / "man" / "overseer.1"
    env = {**os.environ, "MANPAGER": "cat", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["man", "-l", path], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    shown = re.sub(r".\x08|\x1b\[[\d;]*m", "", done.stdout)
    assert re.search(r"^OVERSEER\(1\) +User Commands +OVERSEER\(1\)$", shown, re.MULTILINE)
    assert "-- gunicorn app:app" in shown
    assert "130" in shown


def test_the_wheel_puts_them_where_man_looks() -> None:
    """Below share/man of whatever it is installed into."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {path: f"share/man/man1/{os.path.basename(path)}" for path in MANUALS}
