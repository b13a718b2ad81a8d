"""The master is small, asleep, and knows nothing of the program."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.service import ECHO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.process.service import Service

SOURCES = Path(__file__).parents[2] / "src"

FORBIDDEN = {"asyncio", "ssl", "http", "urllib", "logging", "dataclasses", "typing", "subprocess"}
FORBIDDEN |= {"threading", "hashlib", "pathlib", "inspect", "ast", "tempfile", "ctypes", "email", "site"}
"""What would cost a master memory that it is not to have, or would mean that it parses strangers' bytes.

(`re` is not here: json has it.)
"""

HEAVY = ECHO.replace(
    "import overseer\n", "import asyncio, ctypes, decimal, email, hashlib, ssl\nimport overseer\n", 1
)
"""A program that imports much."""


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """What a master imports; this one has nothing to be the master of, and ends before it begins."""
    main = SOURCES / "overseer" / "master" / "__main__.py"
    command = [sys.executable, "-I", "-S", "-X", "importtime", str(main)]
    said = subprocess.run(command, capture_output=True, check=False, text=True).stderr
    return set(re.findall(r"^import time: .*\| +(\S+)$", said, re.MULTILINE))


def test_the_master_imports_nothing_that_it_does_not_need(imported: set[str]) -> None:
    """Neither parsers of strangers' bytes nor the expensive conveniences of the standard library."""
    assert not {name.partition(".")[0] for name in imported} & FORBIDDEN


def test_the_master_imports_nothing_but_the_standard_library_and_its_own(imported: set[str]) -> None:
    """Of the package only its own rooms: nothing of the program's, the updater's or the user's side."""
    others = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) - {"overseer"}
    assert others == set()
    rooms = {name.split(".")[1] for name in imported if name.startswith("overseer.")}
    shared = {
        "values",
        "errors",
        "facts",
        "machine",
        "wire",
        "addresses",
        "sockets",
        "settings",
        "version",
        "notify",
        "processes",
    }
    assert {"machine", "wire", "master"} <= rooms <= shared | {"master"}


def test_a_running_master_has_loaded_nothing_of_the_program(service: Callable[..., Service]) -> None:
    """No shared object of what the program imports is mapped into it; it is an isolated interpreter."""
    app = service(HEAVY).serves()
    app.restart()
    loaded = set(re.findall(r"[^/ ]+\.so\b[.0-9]*", Path(f"/proc/{app.pid}/maps").read_text()))
    foreign = {
        name for name in loaded if re.match(r"(lib)?_?(ssl|crypto|hashlib|ctypes|ffi|asyncio|decimal)", name)
    }
    assert foreign == set()
    words = Path(f"/proc/{app.pid}/cmdline").read_bytes().split(b"\0")
    assert words[1:3] == [b"-I", b"-S"]
    assert words[0] == sys.executable.encode()


def test_a_master_is_small(service: Callable[..., Service], record_property: Callable[..., None]) -> None:
    """At most 6 MB that only it has, beside a program of the same interpreter, restarted and renewed."""
    app = service(HEAVY).serves()
    for _ in range(3):
        app.restart()
    app.ask("reexec")
    app.restart()
    private = private_kilobytes(app.pid)
    record_property("private_kilobytes", private)
    assert private <= 6 * 1024


def private_kilobytes(pid: int) -> int:
    """Return the memory that only this process has (smaps_rollup, proc(5))."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(
        int(kilobytes) for kilobytes in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", text, re.MULTILINE)
    )


def test_a_master_has_one_thread(service: Callable[..., Service]) -> None:
    """Nothing in it happens at the same time as anything else."""
    app = service(HEAVY).serves()
    app.restart()
    assert len(list(Path(f"/proc/{app.pid}/task").iterdir())) == 1


@pytest.mark.parametrize("probation", [0, pytest.param(3600, marks=pytest.mark.long)])
def test_an_idle_master_does_not_wake_up(service: Callable[..., Service], probation: int) -> None:
    """While nothing happens, nothing is done: not one context switch in three seconds."""
    app = service(probation=probation, workers=2).serves()
    app.restart()
    app.answers(2)
    before = steady(switches(app.pid))
    for _ in nothing_happens(3):
        pass
    assert next(switches(app.pid)) == before


def switches(pid: int) -> Iterator[tuple[int, int]]:
    """Return how often a process gave up the processor, and how often it was made to; again and again."""
    while True:
        text = Path(f"/proc/{pid}/status").read_text()
        found = re.findall(r"voluntary_ctxt_switches:\t(\d+)", text)
        yield int(found[0]), int(found[1])


def steady(counts: Iterator[tuple[int, int]]) -> tuple[int, int]:
    """Wait until a count stays the same for a moment: what was begun before has been done."""
    count = next(counts)
    for _ in nothing_happens(20, steps=40):
        last, count = count, next(counts)
        if last == count:
            return count
    raise AssertionError(f"it does not come to rest: {count}")


def nothing_happens(seconds: float, steps: int = 1) -> Iterator[None]:
    """Wait for what never comes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(seconds / steps)
        for _ in range(steps):
            with contextlib.suppress(TimeoutError):
                ours.recv(1)
            yield
