"""Tab, in real shells on real terminals: commands, names of services, releases and files."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from overseer.cli.asking import services
from tests.process.operators import environment, named, overseer
from tests.process.releases import Upgrading
from tests.process.service import until
from tests.process.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(overseer completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -D; eval "$(overseer completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "overseer completion fish | source"),
}
"""How each is started without anybody's settings, and what the help says to put into them."""


@contextmanager
def shell(kind: str, folder: Path, env: Mapping[str, str]) -> Iterator[Terminal]:
    """Open one that has read what it has to know."""
    if not shutil.which(kind):
        pytest.skip(f"there is no {kind} here (tests/machine.sh)")
    argv, learn = SHELLS[kind]
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    told = {**env, "PATH": path, "HOME": str(folder), "TERM": "vt100", "LC_ALL": "C.UTF-8"}
    with Terminal(argv, folder, told) as opened:
        opened.type(f"{learn}; echo it has {'r'}''ead that\n")
        opened.shows(r"it has read that(?s:.*?)[$#%>] ")  # and the next prompt: now it listens to keys
        yield opened


def tab(opened: Terminal, begun: str, whole: str) -> None:
    """Type the beginning of a word, press Tab, and see the rest of it; the line is then thrown away."""
    opened.shown = ""
    opened.type(begun)
    opened.shows(begun[-4:])
    opened.type("\t")
    opened.shows(whole.removeprefix(begun.rsplit(maxsplit=1)[-1]))
    opened.type("\x15")


@pytest.mark.parametrize("kind", SHELLS)
def test_a_shell_completes_commands_names_and_files(kind: str, tmp_path: Path) -> None:
    """And options; what is no name of ours it looks for among the files."""
    env = {name: told for name, told in os.environ.items() if name != "RUNTIME_DIRECTORY"}
    name = f"whole-{os.getpid()}-of-it"
    (tmp_path / "a-long-file.toml").touch()
    with named(name), shell(kind, tmp_path, env) as opened:
        until(lambda: name in services(), "it is there")
        tab(opened, "overseer rest", "restart")
        tab(opened, "overseer status --wat", "--watch")
        tab(opened, f"overseer restart --name whole-{os.getpid()}-", name)
        tab(opened, "overseer run --config a-long-f", "a-long-file.toml")
        tab(opened, "overseer doctor a-long-f", "a-long-file.toml")


@pytest.mark.long
def test_a_shell_completes_releases(tmp_path: Path) -> None:
    """By what the service that is meant remembers, and holds; without one, nothing, and no traceback."""
    with Upgrading(tmp_path, build="2024.11") as app:
        app.serves()
        second = app.offer("2025.12")
        app.upgraded(second)
        overseer(app, "rollback")
        with shell("bash", tmp_path, environment(app)) as opened:
            tab(opened, "overseer rollback 2025", "2025.12")
            until(lambda: app.ledger["held"], "it is held")
            tab(opened, f"overseer unhold {second[:4]}", second[:12])
            app.ask("stop")
            opened.shown = ""
            opened.type("overseer rollback 2025\t")
            opened.type("\x15echo no''thing\n")
            opened.shows("nothing")
            assert "Traceback" not in opened.shown
