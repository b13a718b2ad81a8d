"""How a bench writes down what it found: a page for people, the same as data, and what machine it was."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, name: str, title: str, text: str, found: dict[str, Any]) -> None:
    """Write NAME.md and NAME.json; in the text `{machine}` stands for the machine."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"machine": _machine(), **found}, indent=1) + "\n")
    (folder / f"{name}.md").write_text(f"# {title}\n\n{_with_machine(text)}\n")


def into_page(page: Path, command: str, text: str) -> None:
    """Put a text into the docs, where comments say that it is from a run of that command.

    Raises:
        ValueError: when the page has no such place.

    """
    begin, end = f"<!-- from a run: {command} -->", "<!-- end of the run -->"
    before, found, rest = page.read_text().partition(begin)
    _, ends, after = rest.partition(end)
    if not found or not ends:
        raise ValueError(f"{page.name} has no {begin} with an {end} behind it")
    page.write_text(f"{before}{begin}\n\n{_with_machine(text)}\n\n{end}{after}")


def version(name: str) -> str:
    """Return the version of a package of Python, or else of a program; empty where it tells none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        flag = "-v" if name == "nginx" else "--version"
        done = subprocess.run([name, flag], capture_output=True, text=True, check=False)
        words = (done.stdout or done.stderr).split("\n")[0].split()
        return words[-1].rpartition("/")[2].lstrip("v") if words else ""


def _with_machine(text: str) -> str:
    told = ", ".join(f"{name} {what}" for name, what in _machine().items())
    return text.replace("{machine}", told)


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }
