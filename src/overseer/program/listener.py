"""A listening socket of the master, as the program sees it: a real socket that knows about draining.

All processes that hold the socket share one open file description, and with it the O_NONBLOCK flag
(open(2)). So the flag stays set for ever, and what a program wants of blocking and timeouts is kept here, per
process: a generation that makes "its" listener non-blocking does not disturb the one before.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from overseer.errors import ListenerDrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from overseer.program.draining import Draining

T = TypeVar("T")

_LONGEST = 1_000_000
"""Seconds of one wait: poll(2) takes no more than 2**31 ms. Whoever waits longer waits again."""


class Listener(socket.socket):
    """A socket to accept connections from; the master owns it, the program uses it.

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
        super().settimeout(0.0)

    def settimeout(self, value: float | None, /) -> None:
        """Set how long `accept` waits, in seconds, in this process: None for ever, 0 not at all."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._patience = value

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

    def detach(self) -> int:
        """Give the descriptor away, which is a use as well; its new owner knows nothing of draining."""
        self._used()
        return super().detach()

    def __repr__(self) -> str:
        closed = " closed" if super().fileno() < 0 else ""
        return f"<overseer.Listener {self.address!r}{closed}>"

    def shutdown(self, how: int, /) -> NoReturn:  # noqa: ARG002
        """Refuse: it would end the listening of every generation. Raises `OSError` (EPERM)."""
        raise OSError(
            errno.EPERM, "a listener is shared with other generations: close it, do not shut it down"
        )

    def dup(self) -> Listener:
        """Return a second listener of this process on the same socket; closing one leaves the other open."""
        return type(self)(os.dup(super().fileno()), self.address, self._draining, self._used)

    def _accept(self) -> tuple[int, object]:
        """Do the work of `accept`, also where it is called as `socket.socket.accept(listener)`."""
        accept: Callable[[], tuple[int, object]] = super()._accept  # type: ignore[misc]
        return self._receive(accept)

    def _receive(self, call: Callable[..., T], *args: Any) -> T:
        """Call until it gives something, as long as the program wants to wait and does not drain."""
        self._used()
        deadline = self._deadline()
        while True:
            if self._draining.is_set():
                if self._patience == 0.0:
                    raise BlockingIOError(errno.EAGAIN, "this generation drains")
                raise ListenerDrainingError(f"{self.address}: this generation drains; others accept now")
            try:
                return call(*args)
            except (BlockingIOError, InterruptedError):
                if deadline == 0.0:
                    raise
                self._wait(select.POLLIN, deadline, until_draining=True)

    def _deadline(self) -> float | None:
        """Return when the program's patience ends: None for never, 0 for not waiting at all."""
        return time.monotonic() + self._patience if self._patience else self._patience

    def _wait(self, event: int, deadline: float | None, *, until_draining: bool) -> None:
        poll = select.poll()
        poll.register(super().fileno(), event)
        if until_draining:
            poll.register(self._draining.fileno(), select.POLLIN)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("timed out")
        poll.poll(None if left is None else math.ceil(min(left, _LONGEST) * 1000))


class DatagramListener(Listener):
    """A UDP socket of the master: what `accept` is to the others, receiving is to this one.

    Once the program drains it receives nothing more: a blocking call raises `ListenerDrainingError`, a
    non-blocking one `BlockingIOError`, and what arrives is the next generation's. Sending always works.
    """

    def recv(self, *args: Any) -> bytes:
        """Receive a datagram, see `socket.recv`."""
        return self._receive(super().recv, *args)

    def recv_into(self, *args: Any, **options: Any) -> int:
        """Receive a datagram, see `socket.recv_into`."""
        return self._receive(partial(super().recv_into, **options), *args)

    def recvfrom(self, *args: Any) -> tuple[bytes, Any]:
        """Receive a datagram, see `socket.recvfrom`."""
        return self._receive(super().recvfrom, *args)

    def recvfrom_into(self, *args: Any, **options: Any) -> tuple[int, Any]:
        """Receive a datagram, see `socket.recvfrom_into`."""
        return self._receive(partial(super().recvfrom_into, **options), *args)

    def recvmsg(self, *args: Any) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        """Receive a datagram, see `socket.recvmsg`."""
        return self._receive(super().recvmsg, *args)

    def recvmsg_into(self, *args: Any) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        """Receive a datagram, see `socket.recvmsg_into`."""
        return self._receive(super().recvmsg_into, *args)

    def send(self, *args: Any) -> int:
        """Send a datagram, see `socket.send`."""
        return self._send(super().send, *args)

    def sendto(self, *args: Any) -> int:
        """Send a datagram, see `socket.sendto`."""
        return self._send(super().sendto, *args)

    def sendmsg(self, *args: Any) -> int:
        """Send a datagram, see `socket.sendmsg`."""
        return self._send(super().sendmsg, *args)

    def _send(self, call: Callable[..., int], *args: Any) -> int:
        deadline = self._deadline()
        while True:
            try:
                return call(*args)
            except (BlockingIOError, InterruptedError):
                if deadline == 0.0:
                    raise
                self._wait(select.POLLOUT, deadline, until_draining=False)


def listener_of(fd: int, address: str, draining: Draining, used: Callable[[], None]) -> Listener:
    """Return the kind of listener that a descriptor needs."""
    with socket.socket(fileno=os.dup(fd)) as asked:
        kind = DatagramListener if asked.type == socket.SOCK_DGRAM else Listener
    return kind(fd, address, draining, used)
