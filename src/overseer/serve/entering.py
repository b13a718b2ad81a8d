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
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from overseer.serve.below import duplicate, entries, exchange, inode, numbers, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


class Entering:
    """The way of others' connections into a server."""

    def __init__(self, doors: Iterable[Door], calls: Calls) -> None:
        self._doors = tuple(doors)
        self._calls = calls
        self._coming: queue.SimpleQueue[tuple[socket.socket, float]] = queue.SimpleQueue()
        self._late: deque[socket.socket] = deque()
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
        self._coming.put((sock, time.monotonic()))

    @property
    def is_over(self) -> bool:
        """Whether the server has all that were taken."""
        return not self._todo

    def pass_on(self, handing: Handing) -> None:
        """Give those that came too late to the next generation; when there is none, they are had here."""
        for _ in range(len(self._late)):
            sock = self._late.popleft()
            if handing.hand(sock):
                self._done(sock)
            elif handing.hopes:
                self._late.append(sock)
            else:
                self._is_last = True
                self._coming.put((sock, time.monotonic()))

    def _done(self, sock: socket.socket) -> None:
        sock.close()
        with self._counting:
            self._todo -= 1

    def _run(self) -> None:
        last = 0.0
        while True:
            sock, came = self._coming.get()
            try:
                client = sock.getpeername()
            except OSError:  # it has gone
                self._done(sock)
                continue
            door = self._door(sock)
            while not (door and self._comes_late(door)):
                if door and self._enter(sock, client, door):
                    last = time.monotonic()
                elif door and time.monotonic() < max(last, came) + _PATIENCE:
                    time.sleep(_MOMENT)
                    continue
                else:
                    _log.warning(
                        "a connection of the generation before is ended: the server does not accept it"
                    )
                self._done(sock)
                break
            else:
                self._late.append(sock)

    def _door(self, sock: socket.socket) -> Door | None:
        """Return where a connection would have been accepted here: the application is told of it.

        Of listeners with the same port it is the one with its address, or else the one for all of its kind.
        """
        name = sock.getsockname()
        fit = [door for door in self._doors if door.place == place(sock)]
        return max(fit, key=lambda door: (door.name == name, door.family == sock.family), default=None)

    def _comes_late(self, door: Door) -> bool:
        return door.is_shut and not self._is_last

    def _enter(self, sock: socket.socket, client: Any, door: Door) -> bool:
        with contextlib.suppress(OSError), _knock(door.family) as (listener, knock):
            before = {inode(number) for number in numbers()}
            with door.lead(listener):
                found = _accepted(knock, before)
            if found:
                sock.setblocking(False)
                if door.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._calls.rename(_name(knock.getsockname()), _name(client))
                return exchange(sock.fileno(), found)
        return False


@contextlib.contextmanager
def _knock(family: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Have a listener for a moment, and somebody who knocks there, from where nobody else comes."""
    unix = family == socket.AF_UNIX
    family = family if unix else socket.AF_INET
    with socket.socket(family) as listener, socket.socket(family) as knock:
        listener.setblocking(False)
        listener.bind("" if unix else ("127.0.0.1", 0))
        listener.listen(1)
        knock.bind("" if unix else (f"127.{_any()}.{_any()}.{_any()}", 0))
        knock.connect(listener.getsockname())
        yield listener, knock


def _any() -> int:
    return random.randint(1, 254)  # noqa: S311 - nothing is kept secret by it


def _accepted(knock: socket.socket, before: set[int | None]) -> list[Entry]:
    """Return how somebody in this process waits for what he has accepted; nothing if nobody does."""
    until = time.monotonic() + _MOMENT
    while time.monotonic() < until:
        for number in numbers():
            if inode(number) in before:
                continue
            with duplicate(number) as sock, contextlib.suppress(OSError):
                if sock and sock.getpeername() == knock.getsockname() and (found := entries(number)):
                    return found
        time.sleep(_STEP)
    return []


def _name(address: tuple[str, int]) -> tuple[str, str]:
    return (address[0].partition("%")[0], str(address[1]))
