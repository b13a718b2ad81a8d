"""Connections on which nothing is under way are handed to the generation that serves, and not ended.

Who ends a connection that is kept may meet a request that is on its way, and HTTP/1.1 has no word against
that (RFC 9112, 9.5). A descriptor can be handed over instead: what has come, or will, waits in the kernel for
whoever reads it.

Each worker leaves one end of a socket pair with the master (`Shelf.store`), who passes it on when its owner
drains. Whoever gets it says hello, and reads connections from it. When that one drains, the next one gets the
same end, and finds there what nobody has read yet.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from overseer.serve.closing import is_taken
from overseer.serve.silence import end_silent, end_silent_transport
from overseer.serve.taking import take

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from overseer.program.shelf import Stored
    from overseer.program.state import State

_log = logging.getLogger("overseer")

_NAME = "overseer-connections"
_PATIENCE = 1.0
"""Seconds in which the next generation says hello, if it ever does: after the beginning of a drain, and after
the one that took connections has said bye."""
_STEP = 0.05
"""Seconds between two looks whether a descriptor is free."""
_HELLO, _BYE, _CONNECTION = b"hello", b"bye", b"connection"


class Handing:
    """The way on which connections leave this worker, and those on which others' come."""

    def __init__(self, state: State, take: Callable[[socket.socket], None]) -> None:
        """Nothing is handed before `open`. `take` is called with what comes, in a thread of overseer's."""
        self._state = state
        self._take = take
        self._name = f"{_NAME}-{state.generation}-{state.worker}-{os.urandom(4).hex()}"
        self._way: socket.socket | None = None
        self._heir: bytes | None = None  # by the word with which it greeted
        self._until = 0.0  # when nobody is hoped for any more
        self._count = itertools.count(1)
        self._readers: list[threading.Thread] = []
        self._is_over = False

    def open(self) -> None:
        """Leave the way with the master, and take what others hand over; nothing where that cannot be."""
        if not self._state.enabled:
            return
        try:
            self._way, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except (OSError, AttributeError):
            return  # there are no such sockets here: connections are ended, then
        self._way.setblocking(False)
        with theirs:
            self._state.shelf.store(theirs, self._name, b"")
        self._state.shelf.call(self._learn, ours=True)

    def close(self) -> None:
        """Hand over nothing more."""
        if self._way:
            self._state.shelf.unstore(self._name)
            self._way.close()
            self._way = None

    # -- from here ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Look out for an heir: this generation drains."""
        self._until = time.monotonic() + _PATIENCE

    @property
    def hopes(self) -> bool:
        """Whether there is an heir, or may be soon: until then no connection has to be ended."""
        return self.has_heir or (
            self._way is not None and not self._state.draining.stops and time.monotonic() < self._until
        )

    @property
    def has_heir(self) -> bool:
        """Whether another generation takes connections."""
        while self._way:
            try:
                word, _, who = self._way.recv(64).partition(b" ")
            except BlockingIOError:
                break
            except OSError:
                word = who = b""
            if word == _HELLO:
                self._heir = who
            elif who == self._heir:  # a bye may come later than the hello of the one after
                self._heir = None
            self._until = time.monotonic() + _PATIENCE
            if not word:
                self.close()  # the master has ended
        return self._heir is not None and self._way is not None and not self._state.draining.stops

    def hand(self, sock: Any) -> bool:
        """Give a connection away; return whether it is another's now, and ours to be closed without a word.

        With an heir that takes no more at the moment it is to be tried again.
        """
        if not self.has_heir or self._way is None:
            return False
        try:
            socket.send_fds(self._way, [b"%s %d" % (_CONNECTION, next(self._count))], [sock.fileno()])
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:  # more are on their way than a user may have open
                return False
            _log.warning("connections cannot be handed to the next generation, and are ended: %s", error)
            self.close()
            return False
        return True

    def part(self, transport: Any) -> bool:
        """Part with a silent connection of asyncio's; return whether its transport is to be closed now.

        It is handed over, in one step of the loop that reads from it: so nothing can be read in between, and
        what comes waits for the next one. Without an heir, or under TLS, whose state is no descriptor's, its
        end is said.
        """
        return end_silent_transport(transport, self.hand if self.hopes else end_silent)

    # -- to here --------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing comes or goes any more, once this generation drains; asked a step of a loop apart.

        What the last reader has taken is on its way into the loop when the reader has ended. What was handed
        over waits until it is taken, for who took it may drain first: the master keeps the way for the next
        one as long as our end of it is open.
        """
        comes = any(reader.is_alive() for reader in self._readers)
        goes = self._way is not None and not is_taken(self._way) and self.hopes
        was_over, self._is_over = self._is_over, not (comes or goes)
        return was_over and self._is_over

    def _learn(self, stored: Stored) -> None:
        if stored.name.startswith(_NAME):
            reader = threading.Thread(target=self._read, args=(stored,), name="overseer-hand", daemon=True)
            self._readers.append(reader)
            reader.start()

    def _read(self, stored: Stored) -> None:
        """Take what comes on a way, until its owner has gone, or until this generation drains."""
        me = b" " + os.urandom(4).hex().encode()
        with stored.socket() as way:
            _say(way, _HELLO + me)
            poll = select.poll()
            poll.register(way, select.POLLIN)
            poll.register(self._state.draining, select.POLLIN)
            waits = False
            while True:
                found = {fd for fd, _ in poll.poll()}
                draining = self._state.draining
                if draining and not (draining.stops and way.fileno() in found):
                    _say(way, _BYE + me)  # what is read by nobody here is for the next one, if there is one
                    return
                try:
                    sock = take(way)
                except (BlockingIOError, ConnectionResetError):
                    continue  # it is reset once when its owner has gone and not read all; there may be more
                except OSError as error:
                    if error.errno not in (errno.EMFILE, errno.ENFILE):
                        raise
                    if not waits:
                        _log.warning("connections are handed over, and wait: %s", error.strerror)
                    waits = True
                    time.sleep(_STEP)
                    continue
                if not sock:
                    self._state.shelf.unstore(stored.name)
                    return
                self._take(sock)


def _say(way: socket.socket, word: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its owner may have gone
        way.send(word)


def into(
    loop: asyncio.AbstractEventLoop, make: Callable[[], asyncio.Protocol]
) -> Callable[[socket.socket], None]:
    """Return what makes a connection of asyncio's of each socket; called in other threads than the loop's."""
    tasks: set[asyncio.Task[Any]] = set()

    def begin(sock: socket.socket) -> None:
        task = loop.create_task(loop.connect_accepted_socket(make, sock))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def take(sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            loop.call_soon_threadsafe(begin, sock)
        except RuntimeError:  # the loop has ended
            sock.close()

    return take
