"""Descriptors that programs leave with the master: connections, memory, whatever shall survive them.

Each has a name, up to some bytes of its owner's own, and an owner: the worker that stored it, later the one
it was handed to. A native program is handed what belongs to a worker that leaves or has gone, each descriptor
to one worker; a foreign one, which can be told nothing later, gets all of them with its listeners, as under
systemd. An entry stays until it is removed by name or, unless that was switched off, until the other side of
it has hung up.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat

from overseer.facts import Phase
from overseer.machine import newest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from overseer.master.children import Child
    from overseer.master.estate import Estate

    Owner = tuple[int, int]  # generation, worker

MOST = 2048
"""Descriptors at once; half of what the process may have open is the other limit."""

MOST_BYTES = 1 << 20
"""Bytes of all that owners have added to their descriptors, as they travel (base64)."""

MOST_OF_ONE = 1 << 16
"""Of one of them."""


class Entry:
    """One descriptor: its name, what its owner has added (base64), who that is."""

    def __init__(self, fd: int, name: str, data: str, owner: Owner, *, polled: bool) -> None:
        self.fd = fd
        self.name = name
        self.data = data
        self.owner = owner
        self.polled = polled  # its other side's hanging up is waited for


class FdStore:
    """All of them; `fileno` becomes readable when `sweep` has something to do."""

    def __init__(self, left: Iterable[list[Any]] = ()) -> None:
        """Take over what another master has left: what `as_state` gave."""
        self.entries: list[Entry] = []
        self._poll = select.epoll() if hasattr(select, "epoll") else None
        self._most = min(MOST, os.sysconf("SC_OPEN_MAX") // 2)
        for fd, name, data, owner, polled in left:
            os.set_inheritable(fd, False)
            self._enter(Entry(fd, name, data, (owner[0], owner[1]), polled=polled))

    def fileno(self) -> int:
        """Return what to wait on; -1 where nothing can be waited for."""
        return self._poll.fileno() if self._poll else -1

    def put(self, entry: Entry, *, by_file: bool = False) -> str:
        """Keep a descriptor; where it cannot be kept, close it and return why.

        It takes the place of one of the same owner and name or, `by_file`, of the same name and file: foreign
        programs may give one name to all of theirs, as under systemd.
        """
        if len(entry.data) > MOST_OF_ONE:
            os.close(entry.fd)
            return f"more than {MOST_OF_ONE * 3 // 4} bytes come with it"
        same = [e for e in self.entries if e.name == entry.name]
        same = [e for e in same if (_file(e.fd) == _file(entry.fd) if by_file else e.owner == entry.owner)]
        kept = [e for e in self.entries if e not in same]
        used = sum(len(e.data) for e in kept) + len(entry.data)
        if len(kept) >= self._most or used > MOST_BYTES:
            os.close(entry.fd)
            full = f"{self._most} descriptors" if len(kept) >= self._most else f"{MOST_BYTES * 3 // 4} bytes"
            return f"the store is full, with {full}"
        for old in same:
            self._drop(old)
        self._enter(entry)
        return ""

    def remove(self, name: str, owner: Owner | None = None) -> None:
        """Close what has this name, and, if one is given, this owner."""
        for entry in [e for e in self.entries if e.name == name and owner in (None, e.owner)]:
            self._drop(entry)

    def sweep(self) -> None:
        """Close what nobody is on the other side of."""
        gone = {fd for fd, _ in self._poll.poll(0)} if self._poll else set()
        for entry in [e for e in self.entries if e.polled and e.fd in gone]:
            self._drop(entry)

    def close(self) -> None:
        """Close everything."""
        for entry in list(self.entries):
            self._drop(entry)

    def as_state(self) -> list[list[Any]]:
        """Return everything as data for the next master; the descriptors are to be kept open."""
        return [[e.fd, e.name, e.data, list(e.owner), e.polled] for e in self.entries]

    def _enter(self, entry: Entry) -> None:
        if self._poll and entry.polled:
            try:
                self._poll.register(entry.fd, 0)  # EPOLLHUP and EPOLLERR come unasked, epoll_ctl(2)
            except PermissionError:  # a file, which has no other side
                entry.polled = False
        self.entries.append(entry)

    def _drop(self, entry: Entry) -> None:
        self.entries.remove(entry)
        if self._poll and entry.polled:
            # Others may have the same open file, which would keep it in the set.
            self._poll.unregister(entry.fd)
        os.close(entry.fd)


def _file(fd: int) -> tuple[int, int, int, int]:
    found = os.fstat(fd)
    way = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    return found.st_dev, found.st_ino, stat.S_IFMT(found.st_mode), way


def hand_over(estate: Estate) -> None:
    """Give what belongs to nobody any more to the generation that serves, or to the only one there is."""
    store = estate.fdstore
    orphans = [e for e in store.entries if not _is_kept(estate, e.owner)] if store.entries else []
    if not orphans:
        return
    serving = newest(estate.world, Phase.SERVING) or newest(estate.world, Phase.STARTING)
    heirs = [
        child
        for child in estate.children.by_pid.values()
        if serving and child.generation == serving.number and _can_take(estate, child)
    ]
    loads = {(c.generation, c.worker): 0 for c in heirs}
    for entry in store.entries:
        if entry.owner in loads:
            loads[entry.owner] += 1
    for entry in orphans:
        ready = [c for c in heirs if not c.channel.wants_write]  # a descriptor cannot wait in a queue
        heir = min(ready, key=lambda c: loads[c.generation, c.worker], default=None)
        if heir is None:
            return
        heir.channel.send({"type": "stored", "name": entry.name, "data": entry.data}, [entry.fd])
        entry.owner = (heir.generation, heir.worker)
        loads[entry.owner] += 1


def give_all(estate: Estate, child: Child) -> tuple[list[int], list[str]]:
    """Return every descriptor and its name, for a foreign program that starts; it owns them from now on."""
    mine = [
        e for e in estate.fdstore.entries if e.owner[0] != child.generation or not _is_kept(estate, e.owner)
    ]
    for entry in mine:
        entry.owner = (child.generation, child.worker)
    return [e.fd for e in mine], [e.name for e in mine]


def _is_kept(estate: Estate, owner: Owner) -> bool:
    """Whether the owner lives and stays."""
    return any(
        (c.generation, c.worker) == owner and not c.leaving and c.status is None
        for c in estate.children.by_pid.values()
    )


def _can_take(estate: Estate, child: Child) -> bool:
    foreign = estate.settings.get(child.generation, estate.launched).foreign.runs
    return child.let_in and not child.leaving and child.status is None and not foreign
