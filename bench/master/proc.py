"""What the kernel knows of a process (proc(5)): memory, wake-ups, CPU, children. Linux only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from overseer import processes


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: what only this process has, its share of everything, and all that is mapped in."""

    private: int
    pss: int
    rss: int


def memory(pid: int) -> Memory:
    """Read /proc/PID/smaps_rollup."""
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    private = sum(size for name, size in found.items() if name.startswith("Private_"))
    return Memory(private, found["Pss"], found["Rss"])


def wakeups(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep of their own will since its start.

    Each time they were woken up, or had never slept: the difference of two readings is the wake-ups between.
    """
    return sum(_status(f"/proc/{pid}/task/{task}", "voluntary_ctxt_switches") for task in tasks(pid))


def tasks(pid: int) -> list[str]:
    """Return the threads of a process."""
    return os.listdir(f"/proc/{pid}/task")


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has had, without its children, to the nanosecond.

    That is the sum of its living threads (schedstat); utime and stime of /proc/PID/stat come in ticks of
    10 ms, which is longer than a restart takes the master.
    """
    total = 0
    for task in tasks(pid):
        total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and not reaped."""
    found: list[int] = []
    for task in tasks(pid):
        found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """Return its children, theirs, and so on; those that go meanwhile may be missing."""
    return list(processes.descendants(pid))


def _status(folder: str, field: str) -> int:
    for line in Path(folder, "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise LookupError(f"{folder}/status has no {field}")
