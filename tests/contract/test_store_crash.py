"""A crash, or a refusal, at every call that changes the disk: what is started next is whole, old or new.

The quick way is a shim around the calls, in a forked process for each of them. The long way is strace, which
kills and refuses at real system calls, whoever makes them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from errno import ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.contract import interrupted
from tests.contract.interrupted import (
    JOURNEYS,
    REFUSALS,
    Shim,
    die,
    finish,
    judge,
    prepared,
    refuse,
    tear,
    travel,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = str(Path(__file__).parents[2])

SYSTEM_CALLS = (
    "write", "pwrite64", "fsync", "rename", "mkdir", "unlink", "unlinkat", "rmdir", "symlink", "chmod",
    "fchmod", "fchown", "ftruncate", "copy_file_range", "fsetxattr", "ioctl",
)  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    """Have a folder in memory where there is one: a killed process needs no disk to be killed at."""
    shared = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=shared if os.path.isdir(shared) else None) as made:
        yield Path(made)


def fork(work: Callable[[], int]) -> int:
    """Do something in another process; return its exit status, or minus the signal that ended it."""
    pid = os.fork()
    if not pid:
        status = 70
        try:
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def clear(folder: Path) -> None:
    """Remove what is in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def count(name: str, folder: Path) -> int:
    """Make a journey undisturbed, and count the calls on the way."""
    folder.mkdir()
    binary = prepared(folder)
    read_end, write_end = os.pipe()

    def work() -> int:
        real, shim = os.write, Shim()
        status = travel(name, binary)
        real(write_end, str(shim.calls).encode())
        return status

    assert fork(work) == 0
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        calls = int(pipe.read())
    shutil.rmtree(folder)
    return calls


def chosen(quick: dict[Any, Iterable[str]]) -> list[Any]:
    """Make every journey with every fault, but only some of them whenever the quick suite runs."""
    return [
        pytest.param(fault, name, marks=[] if name in some else [pytest.mark.long])
        for fault, some in quick.items()
        for name in JOURNEYS
    ]


@pytest.mark.parametrize(("how", "name"), chosen({die: ["first_start"], tear: ()}))
def test_a_crash_at_any_call_leaves_all_of_the_old_or_all_of_the_new(
    folder: Path, name: str, how: Callable[..., Any]
) -> None:
    """Killed before the call, and in the middle of it; then the journey is made again, and arrives."""
    calls = count(name, folder / "count")
    for at in range(1, calls + 1):
        binary = prepared(folder)
        where = f"{name}, killed at call {at} of {calls}"

        def work(binary: str = binary, at: int = at) -> int:
            Shim(at, how)
            return travel(name, binary)

        assert fork(work) == -9, where
        judge(binary, where)
        finish(name, binary, where)
        clear(folder)
    print(f"{name}: {calls} points of {how.__name__}")


@pytest.mark.parametrize(
    ("number", "name"),
    chosen({**dict.fromkeys(REFUSALS, ()), ENOSPC: ["first_start"]}),
)
def test_a_refusal_at_any_call_is_an_error_of_ours_and_loses_nothing(
    folder: Path, name: str, number: int
) -> None:
    """And the same journey, made again by the next process, arrives."""
    calls = count(name, folder / "count")
    for at in range(1, calls + 1):
        binary = prepared(folder)
        where = f"{name}, refused call {at} of {calls} with {os.strerror(number)}"

        def work(binary: str = binary, at: int = at) -> int:
            Shim(at, refuse(number))
            return travel(name, binary)

        assert fork(work) in (0, 3), where
        judge(binary, where)
        finish(name, binary, where)
        clear(folder)
    print(f"{name}: {calls} points refused with {os.strerror(number)}")


# -- the long way ------------------------------------------------------------------------------------------


def traced(name: str, binary: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Make a journey under strace."""
    command = ["strace", "-qq", *options, sys.executable, "-B", "-m", interrupted.__name__, name, binary]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


def points(name: str, folder: Path) -> Counter[str]:
    """Make a journey under strace, and count its system calls."""
    folder.mkdir()
    log = folder / "log"
    done = traced(name, prepared(folder), "-e", f"trace={','.join(SYSTEM_CALLS)}", "-o", str(log))
    if done.returncode:
        pytest.skip(f"strace does not run here: {done.stderr.strip()}")
    calls = Counter(re.findall(r"^(\w+)\(", log.read_text(), re.MULTILINE))
    shutil.rmtree(folder)
    return calls


@pytest.mark.very_long
@pytest.mark.long
@pytest.mark.parametrize("name", JOURNEYS)
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO", "error=ENOSPC"])
def test_a_fault_at_any_system_call_leaves_all_of_the_old_or_all_of_the_new(
    folder: Path, name: str, fault: str
) -> None:
    """The same as above, with the kernel's own calls."""
    if not shutil.which("strace"):
        pytest.skip("LOUD SKIP: there is no strace here, so no fault was injected at a real system call")
    total = 0
    for call, calls in points(name, folder / "count").items():
        for at in range(1, calls + 1):
            binary = prepared(folder)
            where = f"{name}, {fault} at {call} {at} of {calls}"
            done = traced(
                name,
                binary,
                "-e",
                f"trace={call}",
                "-e",
                f"inject={call}:{fault}:when={at}",
                "-o",
                "/dev/null",
            )
            assert done.returncode in ((-9, 137) if fault == "signal=KILL" else (0, 3)), f"{where}: {done}"
            judge(binary, where)
            finish(name, binary, where)
            clear(folder)
            total += 1
    print(f"{name}: {total} system calls with {fault}")
