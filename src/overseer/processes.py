"""Other processes, as the kernel shows them in /proc (proc(5)). Where there is none, nobody is there."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def descendants(pid: int) -> Iterator[int]:
    """Find the children of a process, and theirs; those that come or go meanwhile may be missing."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children") as listing:
                found = [int(child) for child in listing.read().split()]
        except OSError:
            continue
        for child in found:
            yield child
            yield from descendants(child)


def has_open(pid: int, links: set[str]) -> bool:
    """Whether a process has one of these files open, each as its link in /proc/PID/fd reads."""
    folder = f"/proc/{pid}/fd"
    try:
        for entry in os.listdir(folder):
            try:
                if os.readlink(f"{folder}/{entry}") in links:
                    return True
            except FileNotFoundError:
                continue
    except OSError:
        pass
    return False
