"""Sockets of a server that does not show them, looked at from outside: by their numbers in /proc/self/fd.

A server that is no Python keeps its descriptors to itself, but they are those of this process. A number is
looked at through a duplicate, which stays what it is while the server closes the number or uses it again.
Linux only (proc(5), epoll(7), tcp(7)).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import select
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.serve.below import FDS, blank, client, duplicate, entries, inode, numbers, place, put
from overseer.serve.closing import is_taken
from overseer.serve.silence import is_silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from overseer.serve.below import Entry

    Key = tuple[str, str, str]

_INFO = 136
"""Bytes of the kernel's tcp_info that are wanted: up to tcpi_bytes_received."""
_ESTABLISHED = 1
_REST = 0.001
"""Seconds in which what is done for many connections stops after each."""
_RESTS = 500
"""How often it does at most, where there are more."""


def can_look() -> bool:
    """Whether this system shows a process its own descriptors."""
    return hasattr(select, "epoll") and os.path.isdir(FDS)


class Pace:
    """What is done for many connections, a little at a time.

    A thread that is woken by a request waits for a CPU while it is done: others of the process's, which the
    loop knows nothing of, and those of the next generation. What rests for a moment lets them have it.
    """

    def __init__(self, count: int) -> None:
        """Know how many there are."""
        self._steps = itertools.cycle(range(1 + count // _RESTS))

    async def step(self) -> None:
        """Let others have the CPU, or at least the loop attend to others: between one and the next."""
        await asyncio.sleep(0 if next(self._steps) else _REST)


class Door:
    """A listener as a server has it: a number of its own, below which the listener can be changed.

    The server is given `number`, and closes it when it ends.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.number = listener.dup().detach()
        self.place = place(listener)
        self.name = listener.getsockname()
        self.family = listener.family
        self.is_shut = False
        self._below = listener.dup()
        self._nobodys = _nobodys()  # now: by then there may be no descriptor free
        self._ours = set(self._all()) - {self.number}
        self._theirs: list[int] = []
        self._entries: list[Entry] = []
        self._changing = threading.Lock()

    def is_watched(self) -> bool:
        """Whether the server waits for knocks by now, in the one way that we know how to end: with epoll."""
        self._theirs = [number for number in self._all() if number not in self._ours]  # it may have copied it
        self._entries = [entry for number in self._theirs for entry in entries(number)]
        return bool(self._entries)

    def take_away(self) -> None:
        """Have the server accept no more, from now on and for ever, and know nothing of it.

        It is not woken by knocks any more; and when it looks by itself, the socket that it finds below the
        number is one at which nobody knocks. The second alone is not enough: other processes have the
        listener open, so the kernel would go on telling of it, and in words (the data of epoll_ctl(2)) that
        point to what the server frees when it ends.
        """
        self.is_shut = True
        with self._changing:
            if self._below is not self._nobodys:
                self._below.close()
                self._below = self._nobodys
                self._change(self._below, watched=False)

    @contextlib.contextmanager
    def lead(self, listener: socket.socket) -> Iterator[None]:
        """Have the server accept from another listener for a moment; who knocks at its own one waits.

        That can be done when that one has been taken away, too, until the server ends.
        """
        with self._changing:
            self._change(listener, watched=True)
            try:
                yield
            finally:
                self._change(self._below, watched=not self.is_shut)

    def close(self) -> None:
        """Close what is ours."""
        self._below.close()
        self._nobodys.close()

    def _all(self) -> list[int]:
        mine = inode(self._below.fileno())
        return [number for number in numbers() if inode(number) == mine]

    def _change(self, listener: socket.socket, *, watched: bool) -> None:
        for entry in self._entries:  # copies of an instance tell of the same one: the second time it is none
            entry.remove()
        for number in self._theirs:
            put(listener.fileno(), number)
        for entry in self._entries if watched else ():
            entry.add()


def _nobodys() -> socket.socket:
    """Return a listener at which nobody knocks."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("")  # a name that the kernel makes up
    sock.listen(0)
    sock.setblocking(False)
    return sock


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What the kernel knows of a connection."""

    received: int
    """Bytes that have come on it; 0 where that is not known, for one that is not TCP."""
    quiet: float
    """Seconds since anything has come or gone on it; endless where that is not known."""
    heard: bool
    """Whether the client was the last one to say something."""
    unread: bool
    """Whether something has come that the server has not read."""
    unsent: bool
    """Whether something was written that the client has not got."""


class Connections:
    """What has been accepted from some listeners by somebody in this process."""

    def __init__(self, listeners: Iterable[socket.socket]) -> None:
        self._places = {place(listener) for listener in listeners}
        self._known: dict[int, Key | None] = {}
        self._numbers: dict[Key, int] = {}
        self._blank: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        """Close what is ours, when nobody has a number any more below which a connection was."""
        for sock in self._blank:
            sock.close()

    def look(self) -> set[Key]:
        """Return who is connected: where to, from which host, and from which port there.

        Clients of a Unix socket have no address: these are told apart, and not known again.
        """
        for _ in self._looking():
            pass
        return set(self._numbers)

    async def look_by_and_by(self) -> set[Key]:
        """Return the same, and let the loop attend to others between one connection and the next.

        A hundred connections that are seen for the first time take some milliseconds.
        """
        for _ in self._looking():
            await asyncio.sleep(0)
        return set(self._numbers)

    def _looking(self) -> Iterator[None]:
        """Look at each socket, and pause behind each that was not known; what was found counts at the end."""
        known: dict[int, Key | None] = {}
        where: dict[Key, int] = {}
        for number in numbers():
            found = inode(number)
            if found is None:
                continue
            fresh = found not in self._known
            known[found] = key = self._identify(number) if fresh else self._known[found]
            if key:
                where[key] = number
            if fresh:
                yield
        self._known, self._numbers = known, where

    def _identify(self, number: int) -> Key | None:
        with duplicate(number) as sock:
            return self._key(sock) if sock else None

    def _key(self, sock: socket.socket) -> Key | None:
        """Return the key of a connection; None for any other socket."""
        try:
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if sock.type != socket.SOCK_STREAM or listens or (where := place(sock)) not in self._places:
                return None
            if sock.family == socket.AF_UNIX:
                return (where, "", str(os.fstat(sock.fileno()).st_ino))
            peer = sock.getpeername()
        except OSError:  # it has ended
            return None
        return (where, *client(peer))

    @contextlib.contextmanager
    def open(self, key: Key) -> Iterator[socket.socket | None]:
        """Have a duplicate of a connection for a moment; None if it has gone."""
        number = self._numbers.get(key)
        if number is None:
            self.look()
            number = self._numbers.get(key)
        if number is None:
            yield None
            return
        with duplicate(number) as sock:
            yield sock if sock and self._key(sock) == key else None

    def take(self, key: Key) -> socket.socket | None:
        """Return a duplicate of a connection, which is not closed before that is.

        None if it has gone, or no descriptor is free.
        """
        with self.open(key) as sock, contextlib.suppress(OSError):
            return sock.dup() if sock else None
        return None

    def see(self, key: Key) -> Sight | None:
        """Look at a connection; None if it has gone."""
        with self.open(key) as sock:
            return _sight(sock) if sock else None

    def part(self, key: Key, sight: Sight, give: Callable[[socket.socket], bool]) -> None:
        """Give a connection away from below its server, and only if nothing has come since it was seen.

        The server keeps a number below which there is nothing to be had. Before the connection is given, it
        is looked at once more: what came earlier the server may have read, and goes on with; what comes
        later nobody can read here. One whose client has said the end meanwhile is left to itself.
        """
        try:
            self._blank = self._blank or blank()
        except OSError:  # no descriptor is free: later
            return
        nothing = self._blank[0].fileno()
        with self.open(key) as sock:
            number = self._numbers.get(key, -1)
            watched = entries(number) if sock else []
            if sock is None or inode(number) != os.fstat(sock.fileno()).st_ino:
                return
            removed = [entry for entry in watched if entry.remove()]
            if not removed:
                return
            put(nothing, number)
            if _received(sock) == sight.received and (not _is_open(sock) or give(sock)):
                return
            if inode(number) == inode(nothing):  # it has not been closed meanwhile
                put(sock.fileno(), number)
                for entry in removed:
                    entry.add()

    def end(self, key: Key, sight: Sight) -> None:
        """End a connection below its server, at once, and only if nothing has come since it was seen.

        That nothing is unread does not tell: the server reads what comes, at any moment, in a thread of its
        own. The bytes are counted last, by a call that lets no other thread of Python in between.
        """
        with self.open(key) as sock:
            if sock and is_silent(sock) and _received(sock) == sight.received:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def _sight(sock: socket.socket) -> Sight:
    unsent = not is_taken(sock)
    unread = not is_silent(sock)
    if sock.family == socket.AF_UNIX:
        return Sight(received=0, quiet=math.inf, heard=False, unread=unread, unsent=unsent)
    info = _tcp_info(sock)
    sent, heard = (struct.unpack_from("I", info, at)[0] for at in (44, 52))  # milliseconds ago
    received = _received(sock)
    return Sight(
        received=received,
        quiet=min(sent, heard) / 1000,
        heard=bool(received) and heard < sent,
        unread=unread,
        unsent=unsent,
    )


def _received(sock: socket.socket) -> int:
    """Return how many bytes have come on a connection of TCP; 0 for others."""
    if sock.family == socket.AF_UNIX:
        return 0
    found: int = struct.unpack_from("Q", _tcp_info(sock), 128)[0]
    return found


def _is_open(sock: socket.socket) -> bool:
    """Whether nobody has said the end of a connection of TCP."""
    return _tcp_info(sock)[0] == _ESTABLISHED


def backlog(listener: socket.socket) -> int | None:
    """Return how many may wait at a listener, as the kernel has it; None where it does not say."""
    if listener.family == socket.AF_UNIX:
        return None
    found: int = struct.unpack_from("I", _tcp_info(listener), 28)[0]
    return found


def _tcp_info(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO).ljust(_INFO, b"\0")
