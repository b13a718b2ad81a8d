"""What is below the numbers of a server: another file can be put there, and the server does not know.

A descriptor is a number, and `dup2(2)` changes in one step which open file it is. A server that is no Python
goes on with the number. It waits with epoll(7), whose entries belong to the open file and not to the number;
so an entry is taken out before, and put back for the other file, in the words by which the server knows it.

Between these steps the server must not run Python, and what it does by itself must not matter: all of it is
done with the interpreter's lock held, which those of `os` and `select` would let go.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FDS = "/proc/self/fd"
_LIBC = ctypes.PyDLL(None, use_errno=True)
_ADD, _DEL = 1, 2


class _Event(ctypes.Structure):
    """epoll_event, as epoll_ctl(2) has it: without a gap on x86-64 alone."""

    if platform.machine() in {"x86_64", "AMD64"}:
        _pack_ = 1
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


@dataclass(frozen=True)
class Entry:
    """A number as an epoll instance has it."""

    watcher: int
    """The number of the instance."""
    number: int
    events: int
    """For what it is waited."""
    data: int
    """The word by which it is told; with some servers it is an address."""

    def remove(self) -> bool:
        """Take it out; return whether it was there: its number is still that of the file it was made for."""
        return bool(_LIBC.epoll_ctl(self.watcher, _DEL, self.number, ctypes.byref(_Event())) == 0)

    def add(self) -> bool:
        """Put it in for what is below the number now; return whether it could be.

        What can be read or written already is told at once.
        """
        event = _Event(self.events, self.data)
        return bool(_LIBC.epoll_ctl(self.watcher, _ADD, self.number, ctypes.byref(event)) == 0)


def numbers() -> list[int]:
    """Return all descriptors of this process."""
    return [int(entry) for entry in os.listdir(_FDS)]


def inode(number: int) -> int | None:
    """Return which socket a descriptor is; None if it is none."""
    try:
        found = os.fstat(number)
    except OSError:  # closed meanwhile
        return None
    return found.st_ino if stat.S_ISSOCK(found.st_mode) else None


def entries(number: int) -> Iterator[Entry]:
    """Find where a descriptor is waited for. Copies of an epoll instance tell of the same entry, each."""
    for watcher in numbers():
        try:
            if os.readlink(f"{_FDS}/{watcher}") != "anon_inode:[eventpoll]":
                continue
            with open(f"/proc/self/fdinfo/{watcher}", encoding="ascii") as info:
                for line in info:
                    words = line.split()
                    if words[:2] == ["tfd:", str(number)]:  # tfd: 16 events: 8000201d data: 7fdfd6a3f180 …
                        yield Entry(watcher, number, int(words[3], 16), int(words[5], 16))
        except FileNotFoundError:
            continue


def put(file: int, number: int) -> None:
    """Put the file that is below one number below the other one, too. Raises `OSError`."""
    if _LIBC.dup3(file, number, os.O_CLOEXEC) < 0:
        raise OSError(ctypes.get_errno(), "dup3")


@contextlib.contextmanager
def duplicate(number: int) -> Iterator[socket.socket | None]:
    """Have a duplicate of a socket for a moment, whatever becomes of its number; None if it is none."""
    sock = None
    with contextlib.suppress(OSError):  # closed meanwhile, and no socket now
        copy = os.dup(number)
        try:
            sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
    with sock or contextlib.nullcontext():
        yield sock


def place(sock: socket.socket) -> str:
    """Return where a socket is bound: its port, or the name of a Unix socket."""
    name = sock.getsockname()
    return str(name[1]) if isinstance(name, tuple) else os.fsdecode(name)


def exchange(file: int, number: int) -> bool:
    """Do the same, and have the server woken by the new one; return whether it was woken by the old one.

    Nothing may be under way on the old one. Without somebody who waits for it, all stays as it is.
    """
    found = list(entries(number))
    removed = [entry for entry in found if entry.remove()]
    if removed:
        put(file, number)
        for entry in removed:
            entry.add()
    return bool(removed)


def blank() -> tuple[socket.socket, socket.socket]:
    """Return a connection on which nothing can be read, nor written, so that a server that tries has to wait.

    The second one is its other end, to be kept.
    """
    here, there = socket.socketpair()
    here.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            here.send(bytes(65536))
    return here, there
