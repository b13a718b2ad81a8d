"""Connections of the generation before, which a server that only accepts is made to have.

It is led to a listener at which we have knocked ourselves, and then finds the other connection below the
number that it has accepted. Nothing has been said on either, so it does not notice; but it takes us for the
client.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import select
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from overseer.serve.below import client, duplicate, entries, exchange, has_room, inode, numbers, place
from overseer.serve.silence import is_silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from overseer.serve.below import Entry
    from overseer.serve.calls import Calls
    from overseer.serve.handing import Handing
    from overseer.serve.outside import Door

_log = logging.getLogger("overseer")

_STEP = 0.0005
"""Seconds between two looks for what the server has accepted."""
_MOMENT = 0.1
"""Seconds in which it accepts, if it does."""
_PATIENCE = 3.0
"""Seconds without one that it accepts, after which one is given up, and each that follows at its first
try: it may have too many."""
_NEEDED = 6
"""Descriptors for one: of those whom the server accepts and who knocks where, and to look for the former."""
_AT_ONCE = 16
"""Connections that enter at one time; what has to be looked for is looked for once."""


@dataclass(frozen=True, eq=False)
class _Coming:
    """A connection on its way in."""

    sock: socket.socket
    door: Door | None
    came: float


class Entering:
    """The way of others' connections into a server."""

    def __init__(self, doors: Iterable[Door], calls: Calls) -> None:
        self._doors = tuple(doors)
        self._calls = calls
        self._coming: queue.SimpleQueue[_Coming] = queue.SimpleQueue()
        self._late: deque[_Coming] = deque()
        self._todo = 0  # counted by the loop's thread and by that of the way in
        self._counting = threading.Lock()
        self._is_last = False
        self._thread: threading.Thread | None = None

    def take(self, sock: socket.socket) -> None:
        """Have the server have a connection, soon; called in another thread than the loop's."""
        with self._counting:
            self._todo += 1
            if not self._thread:
                self._thread = threading.Thread(target=self._run, name="overseer-entering", daemon=True)
                self._thread.start()
        self._coming.put(_Coming(sock, self._door(sock), time.monotonic()))

    @property
    def is_over(self) -> bool:
        """Whether the server has all that were taken."""
        return not self._todo

    def pass_on(self, handing: Handing) -> None:
        """Give those that came too late to the next generation; when there is none, they are had here."""
        for _ in range(len(self._late)):
            one = self._late.popleft()
            if handing.hand(one.sock):
                self._done(one)
            elif handing.hopes:
                self._late.append(one)
            else:
                self._is_last = True
                self._coming.put(replace(one, came=time.monotonic()))

    def _done(self, one: _Coming) -> None:
        one.sock.close()
        with self._counting:
            self._todo -= 1

    def _run(self) -> None:
        waiting: list[_Coming] = []
        last, at_once = 0.0, _AT_ONCE
        while True:
            while not waiting or not self._coming.empty():
                waiting.append(self._coming.get())
            waiting.sort(key=lambda one: is_silent(one.sock))  # a request does not wait for those that rest
            door = waiting[0].door
            some = [one for one in waiting if one.door is door][:at_once]
            if door and door.is_shut and not self._is_last:
                self._late.extend(some)
                over = some
            elif door and (over := self._enter(some, door)):
                last, at_once = time.monotonic(), _AT_ONCE
            elif door and not has_room(_NEEDED):  # it is not the server that refuses it
                last, at_once, over = time.monotonic(), 1, []
                time.sleep(_MOMENT)
            else:
                at_once = 1  # there may be no room for more
                end = time.monotonic() - _PATIENCE
                over = [one for one in some if not door or max(last, one.came) <= end]
                if not over:
                    time.sleep(_MOMENT)
                for one in over:
                    _log.warning(
                        "a connection of the generation before is ended: the server does not accept it"
                    )
                    self._done(one)
            waiting = [one for one in waiting if one not in over]

    def _door(self, sock: socket.socket) -> Door | None:
        """Return where a connection would have been accepted here: the application is told of it.

        Of listeners with the same port it is the one with its address, or else the one for all of its kind.
        """
        name = sock.getsockname()
        fit = [door for door in self._doors if door.place == place(sock)]
        return max(fit, key=lambda door: (door.name == name, door.family == sock.family), default=None)

    def _enter(self, ones: list[_Coming], door: Door) -> list[_Coming]:
        """Have connections entered at a door; return those that have, or have gone."""
        over = []
        with contextlib.suppress(OSError), _knocks(door.family, len(ones)) as (listener, names):
            before = {inode(number) for number in numbers()}
            wait = select.poll()
            wait.register(listener, select.POLLIN)
            with door.lead(listener):
                _soon(lambda: not wait.poll(0))
            found: dict[Any, list[Entry]] = {}
            _soon(lambda: len(_find(names, before, found)) == len(names))
            for one, name in zip(ones, names, strict=True):
                if name in found and self._change_places(one.sock, name, found[name], door):
                    self._done(one)
                    over.append(one)
        return over

    def _change_places(self, sock: socket.socket, name: Any, found: list[Entry], door: Door) -> bool:
        try:
            real = sock.getpeername()
            sock.setblocking(False)
            if door.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._calls.rename(client(name), client(real))
        except OSError:
            return True  # it has gone
        return exchange(sock.fileno(), found)


@contextlib.contextmanager
def _knocks(family: int, count: int) -> Iterator[tuple[socket.socket, list[Any]]]:
    """Have a listener for a moment, and the names of those who knock there, from where nobody else comes."""
    unix = family == socket.AF_UNIX
    family = family if unix else socket.AF_INET
    with contextlib.ExitStack() as stack:
        listener, *knocks = (stack.enter_context(socket.socket(family)) for _ in range(1 + count))
        listener.setblocking(False)
        listener.bind("" if unix else ("127.0.0.1", 0))
        listener.listen(count)
        for knock in knocks:
            knock.bind("" if unix else (f"127.{_any()}.{_any()}.{_any()}", 0))
            knock.connect(listener.getsockname())
        yield listener, [knock.getsockname() for knock in knocks]


def _any() -> int:
    return random.randint(1, 254)  # noqa: S311 - nothing is kept secret by it


def _soon(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, for a moment."""
    until = time.monotonic() + _MOMENT
    while not is_so() and time.monotonic() < until:
        time.sleep(_STEP)


def _find(names: list[Any], before: set[int | None], found: dict[Any, list[Entry]]) -> dict[Any, list[Entry]]:
    """Find out how somebody in this process waits for what he has accepted from these; return all so far."""
    for number in numbers():
        if inode(number) not in before:
            with duplicate(number) as sock, contextlib.suppress(OSError):
                name = sock.getpeername() if sock else None
                if name in names and name not in found and (waits := entries(number)):
                    found[name] = waits
    return found
