"""A listening socket of the master, as the program sees it: a real socket that knows about draining.

All processes that hold the socket share one open file description, and with it the O_NONBLOCK flag
(open(2)). So the flag stays set for ever, and what a program wants of blocking and timeouts is kept here, per
process: a generation that makes "its" listener non-blocking does not disturb the one before.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import TYPE_CHECKING, NoReturn

from overseer.errors import ListenerDrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from overseer.program.draining import Draining


_FOR_EVER = 2_000_000.0
"""Seconds (23 days) that a datagram is waited for where the program wants to wait for ever."""


class Listener(socket.socket):
    """A socket to accept connections (or, for UDP, datagrams) from; the master owns it, the program uses it.

    The first use (`accept`, `listen`, or a look at its `fileno` in order to wait on it) counts as *ready*
    when the program does not say it itself. Once the program drains, a blocking `accept` raises
    `ListenerDrainingError`, and a non-blocking one `BlockingIOError`, as if nobody called: whoever knocks is
    the next generation's. Closing it closes this process' descriptor and nothing else.
    """

    def __init__(self, fd: int, address: str, draining: Draining, used: Callable[[], None]) -> None:
        super().__init__(fileno=fd)
        self.address = address
        """The address as the Config has it; `getsockname()` tells where that is."""
        self._draining = draining
        self._used = used
        self._patience: float | None = None
        # Whatever is set here, CPython never makes the descriptor blocking for a timeout that is a number.
        super().settimeout(_FOR_EVER if self.type == socket.SOCK_DGRAM else 0.0)

    def settimeout(self, value: float | None, /) -> None:
        """Set how long `accept` waits, in seconds, in this process: None for ever, 0 not at all."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._patience = value
        if self.type == socket.SOCK_DGRAM:
            super().settimeout(_FOR_EVER if value is None else value)

    def gettimeout(self) -> float | None:
        """Return what `settimeout` set; at first None."""
        return self._patience

    @property
    def timeout(self) -> float | None:
        """What `settimeout` set."""
        return self._patience

    def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001 - the standard library's signature
        """Set a timeout of None (blocking) or 0; the descriptor itself always stays non-blocking."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Tell whether `accept` waits."""
        return self._patience != 0.0

    def listen(self, backlog: int = 0, /) -> None:  # noqa: ARG002
        """Do nothing but count as ready: the master listens already, with a backlog of its own."""
        self._used()

    def fileno(self) -> int:
        """Return the descriptor; whoever waits on it is ready."""
        self._used()
        return super().fileno()

    def __repr__(self) -> str:
        closed = " closed" if super().fileno() < 0 else ""
        return f"<overseer.Listener {self.address!r}{closed}>"

    def shutdown(self, how: int, /) -> NoReturn:  # noqa: ARG002
        """Refuse: it would end the listening of every generation. Raises `OSError` (EPERM)."""
        raise OSError(
            errno.EPERM, "a listener is shared with other generations: close it, do not shut it down"
        )

    def _accept(self) -> tuple[int, object]:
        """Do the work of `accept`, also where it is called as `socket.socket.accept(listener)`."""
        self._used()
        patience = self._patience
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            if self._draining.is_set():
                if patience == 0.0:
                    raise BlockingIOError(errno.EAGAIN, "this generation drains")
                raise ListenerDrainingError(f"{self.address}: this generation drains; others accept now")
            try:
                accepted: tuple[int, object] = super()._accept()  # type: ignore[misc]
            except (BlockingIOError, InterruptedError):
                if patience == 0.0:
                    raise
                self._wait(deadline)
            else:
                return accepted

    def _wait(self, deadline: float | None) -> None:
        poll = select.poll()
        poll.register(super().fileno(), select.POLLIN)
        poll.register(self._draining.fileno(), select.POLLIN)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("timed out")
        poll.poll(None if left is None else left * 1000)
