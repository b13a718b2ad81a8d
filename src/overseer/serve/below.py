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
import errno
import os
import platform
import re
import resource
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FDS = "/proc/self/fd"
_LIBC = ctypes.PyDLL(None, use_errno=True)
_ADD, _DEL = 1, 2
_TOLD = rb"^tfd: +%d events: +([0-9a-f]+) data: +([0-9a-f]+)"
"""How the kernel writes down an entry: `tfd:  16 events: 8000201d data: 7fdfd6a3f180 …`"""
_SPARE = 16
"""Descriptors that are kept free, and no more than one in sixteen of those that may be open."""
_instances: list[int] = []
"""The epoll instances that were found last; to look for them among a thousand descriptors takes a while."""


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
    """Return all descriptors of this process; and those that are free, where it takes one more to know."""
    try:
        return [int(entry) for entry in os.listdir(FDS)]
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        return list(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))


def inode(number: int) -> int | None:
    """Return which socket a descriptor is; None if it is none."""
    try:
        found = os.fstat(number)
    except OSError:  # closed meanwhile
        return None
    return found.st_ino if stat.S_ISSOCK(found.st_mode) else None


def entries(number: int) -> list[Entry]:
    """Find where a descriptor is waited for. Copies of an epoll instance tell of the same entry, each."""
    found = list(_entries(number, tuple(_instances)))
    if not found:
        _instances[:] = [one for one in numbers() if _is_instance(one)]
        found = list(_entries(number, tuple(_instances)))
    return found


def _entries(number: int, watchers: Iterable[int]) -> Iterator[Entry]:
    for watcher in filter(_is_instance, watchers):
        try:
            with open(f"/proc/self/fdinfo/{watcher}", "rb") as info:
                told = info.read()
        except OSError:  # closed meanwhile, or no descriptor is free to look with
            continue
        for line in re.finditer(_TOLD % number, told, re.MULTILINE):
            yield Entry(watcher, number, int(line[1], 16), int(line[2], 16))


def _is_instance(number: int) -> bool:
    try:
        return os.readlink(f"{FDS}/{number}") == "anon_inode:[eventpoll]"
    except OSError:  # closed meanwhile
        return False


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


def client(address: Any) -> tuple[str, str]:
    """Return an address of TCP as a server tells it to its application: host, without a zone, and port."""
    return (address[0].partition("%")[0], str(address[1]))


def exchange(file: int, found: Iterable[Entry]) -> bool:
    """Do the same where a server waits, and have it woken by the new file; return whether it was by the old.

    Nothing may be under way on the old one. Where nobody waits any more, all stays as it is.
    """
    removed = [entry for entry in found if entry.remove()]
    for number in {entry.number for entry in removed}:
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


def has_room(count: int) -> bool:
    """Whether so many more files could be opened at the moment."""
    taken: list[int] = []
    try:
        while len(taken) < count:
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        for number in taken:
            os.close(number)
    return True


class Spare:
    """Descriptors that are kept free: who accepts until there are no more leaves none to look with."""

    def __init__(self) -> None:
        room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16
        self._numbers: list[int] = []
        with contextlib.suppress(OSError):  # there is none to be kept
            while len(self._numbers) < min(room, _SPARE):
                self._numbers.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def use(self) -> None:
        """Have them to be opened, from now on."""
        while self._numbers:
            os.close(self._numbers.pop())
