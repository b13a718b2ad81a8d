"""Commands of the pages: typed into a terminal, or, where a test must not do that, looked at word by word."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import time
import tomllib
from typing import TYPE_CHECKING

from tests.docs.blocks import ROOT, UntestableError
from tests.docs.terminal import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docs.blocks import Block
    from tests.docs.places import Places
    from tests.docs.terminal import Terminal

TYPED = {
    "cat", "cd", "chmod", "cp", "curl", "echo", "env", "export", "grep", "head", "jobs", "kill", "ls",
    "mkdir", "mv", "printf", "ps", "python", "python3", "sed", "sh", "tail", "test", "wait",
    "systemd-analyze", "overseer", "ssh-keygen", "ssh-agent", "ssh-add",
}  # fmt: skip
"""What is really run."""

NOTHING_FOUND = 1
"""The status of a grep without a match (grep(1))."""

BUILT_IN = {"cd", "export", "jobs", "wait"}
"""What the shell does by itself."""

MANAGERS = {
    "systemctl": {"daemon-reload", "enable", "start", "stop", "restart", "status", "reload", "kill", "show"},
    "journalctl": {"-u"},
    "supervisorctl": {"update", "signal", "stop", "start", "restart", "status"},
    "sv": {"2", "up", "down", "status", "term", "stop", "start"},
    "docker": {"build", "run", "kill", "stop", "logs", "exec"},
    "podman": {"build", "run", "kill", "stop", "logs", "exec"},
}
"""What is only looked at, since it would change the machine: its verbs."""


def only_looked_at(command: str) -> bool:
    """Whether this command is not run; raise `UntestableError` where it is wrong or not known at all."""
    looked = False
    for words in _simple(command):
        head, rest = words[0], words[1:]
        if head == "sudo":
            head, rest = rest[0], rest[1:]
        match head:
            case "make":
                _know(rest[0] in _verbs(), f"the Makefile has no verb {rest[0]!r}")
            case "pip" | "pip3":
                _know(_is_ours(rest), f"{command!r} does not install what this repository makes")
            case "git":
                _know(rest[0] == "clone", f"git {rest[0]}: only clone is known")
            case ".":
                _know(rest == [".venv/bin/activate"], f"{rest}: not what make setup makes")
            case "ln":
                _know(rest[0] == "-s", "only symbolic links are known")
            case _ if head in MANAGERS:
                _know(MANAGERS[head] & {*rest}, f"{command!r}: no verb that is known; see {__name__}")
            case _ if head in TYPED or "/" in head or "=" in head:
                continue
            case _:
                raise UntestableError(f"{head!r} in {command!r} is neither run nor known; see {__name__}")
        looked = True
    return looked


def missing(block: Block) -> set[str]:
    """Return the programs that its commands need and this machine has not got."""
    heads = {words[0] for command, _ in _steps(block) for words in _simple(command) if words[0] in TYPED}
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"  # as the terminal has it
    return {head for head in heads if not shutil.which(head, path=path)} - BUILT_IN


def follow(block: Block, terminal: Terminal, places: Places) -> None:
    """Type the commands of a block, and see what it says is to be seen."""
    if "file" in block.wants:
        path = places.folder / block.wants["file"]
        path.write_text(places.commands(block.text))
        path.chmod(0o755)
        return
    for command, expected in _steps(block):
        if only_looked_at(command):
            continue
        status, begins = _type(command, terminal, places)
        # Two speak at once: the master's lines have an order, and all others have one.
        place = dict.fromkeys((True, False), terminal.where(begins))
        for line in expected:
            if line.strip() != "...":
                master = line.startswith("overseer: ")
                place[master] = terminal.shows(pattern_of(places.commands(line)), place[master])
        assert status == 0 or block.language == "console", f"{block.name}: {command!r} ended with {status}"


def _type(command: str, terminal: Terminal, places: Places) -> tuple[int, int]:
    """Type a command. A reader who greps for a line before it is written looks again."""
    end = time.monotonic() + PATIENCE
    status, begins = terminal.type(places.commands(command))
    while status == NOTHING_FOUND and command.startswith("grep ") and time.monotonic() < end:
        terminal.pause()
        status, begins = terminal.type(places.commands(command))
    return status, begins


def save(block: Block, folder: Path, places: Places) -> None:
    """Write a program of the page where its commands look for it."""
    (folder / block.wants["file"]).write_text(places.program(block.text))


def pattern_of(line: str) -> str:
    """Turn a line of shown output into a pattern: figures that are chance stand for any such figure."""
    pattern = re.escape(line.rstrip()).replace(r"\.\.\.", ".*")
    pattern = re.sub(r"\b[0-9a-f]{12}\b", "[0-9a-f]{12}", pattern)
    pattern = re.sub(r"\d+(\\\.)\d+\\ s\b", r"\\d+[.]\\d+\\ s", pattern)
    pattern = re.sub(r"(pid\\ )\d+", r"\1\\d+", pattern)
    return re.sub(r"^(\\\[\d\\\]\\ )\d+$", r"\1\\d+", pattern)


def _steps(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Cut a block into commands, each with the lines it is said to print."""
    whole = block.text.replace("\\\n", "")
    if block.language == "sh":
        for line in whole.splitlines():
            command = line.partition(" #")[0].strip()
            if command and not command.startswith("#"):
                yield command, []
        return
    command, expected = "", list[str]()
    for line in whole.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, expected
            command, expected = line[2:].partition("   # ")[0], []
        elif line:
            expected.append(line)
    if not command:
        raise UntestableError(f"{block.name}: a console begins with `$ ` and a command")
    yield command, expected


def _simple(command: str) -> Iterator[list[str]]:
    for part in re.split(r"&&|\|\||[;|&]", re.sub(r"\d?>&?\d?|'[^']*'|\"[^\"]*\"", " _ ", command)):
        words = shlex.split(part)
        if words:
            yield words


def _know(fact: object, otherwise: str) -> None:
    if not fact:
        raise UntestableError(otherwise)


def _verbs() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _is_ours(words: list[str]) -> bool:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [word for word in words[1:] if not word.startswith("-") and word != "_"]
    known = {project["name"], *(f"{project['name']}[{extra}]" for extra in extras)}
    return words[0] == "install" and set(wanted) <= known
