"""How many connections each worker has open, as the kernel tells it (proc(5)); the program need not say.

Counted is what has been accepted from a listener of the service and is not closed yet, by the worker or by a
process that it has started: a kept-alive connection without a request counts, one that waits to be accepted
does not. Linux only; elsewhere, and where we may not look, nothing is known.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LISTENS = "0A"
_OVER = frozenset({"06", "07"})
"""TIME_WAIT and CLOSE: nobody has them any more."""

_UNIX_LISTENS = "00010000"
"""__SO_ACCEPTCON among the flags of /proc/net/unix."""


def count(status: dict[str, Any]) -> dict[int, int]:
    """Return the number of open connections by the pid of each worker; one that is not known is missing."""
    master = status["pid"]
    ours = _sockets([master])
    if ours is None:
        return {}
    accepted = _accepted(master, ours)
    groups = _groups()
    found: dict[int, int] = {}
    for generation in status["generations"]:
        for worker in generation["workers"]:
            held = _sockets(groups.get(worker["pid"], [worker["pid"]]))
            if held is not None:
                found[worker["pid"]] = len(held & accepted)
    return found


def tell(status: dict[str, Any]) -> None:
    """Have each worker in a status know its `connections`, where they are known."""
    found = count(status)
    for generation in status["generations"]:
        for worker in generation["workers"]:
            if worker["pid"] in found:
                worker["connections"] = found[worker["pid"]]


def accepted_by(tcp: Iterable[str], unix: Iterable[str], ours: set[str]) -> set[str]:
    """Return the inodes of the connections that listeners among `ours` have accepted.

    `tcp` are the lines of /proc/net/tcp and tcp6, `unix` those of /proc/net/unix, without their heads.
    """
    rows = [
        (words[1].partition(":")[2], words[3], words[9]) for words in map(str.split, tcp) if len(words) > 9
    ]
    ports = {port for port, state, inode in rows if state == _LISTENS and inode in ours}
    found = {i for port, state, i in rows if port in ports and state != _LISTENS and state not in _OVER}
    named = [
        (w[6], w[7], w[3] == _UNIX_LISTENS) for w in (line.split(None, 7) for line in unix) if len(w) > 7
    ]
    names = {name for inode, name, listens in named if listens and inode in ours}
    return found | {inode for inode, name, listens in named if name in names and not listens}


def _accepted(master: int, ours: set[str]) -> set[str]:
    net = f"/proc/{master}/net"  # of its own network namespace
    return accepted_by([*_lines(f"{net}/tcp"), *_lines(f"{net}/tcp6")], _lines(f"{net}/unix"), ours)


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as table:
            next(table, None)
            yield from (line.rstrip("\n") for line in table)
    except OSError:
        return


def _groups() -> dict[int, list[int]]:
    """Return the processes of each group, which a worker leads."""
    found: dict[int, list[int]] = {}
    try:
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    except OSError:
        return {}
    for pid in pids:
        try:
            found.setdefault(os.getpgid(pid), []).append(pid)
        except OSError:  # it has gone
            continue
    return found


def _sockets(pids: Iterable[int]) -> set[str] | None:
    """Return the inodes of the sockets of some processes; None where we may look into none of them."""
    found: set[str] = set()
    known = False
    for pid in pids:
        folder = f"/proc/{pid}/fd"
        try:
            entries = os.listdir(folder)
        except OSError:
            continue
        known = True
        for entry in entries:
            try:
                target = os.readlink(f"{folder}/{entry}")
            except OSError:  # closed meanwhile
                continue
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    return found if known else None
