"""The updater's end of the channel to the master: words in, words out, and its end noticed at once.

Between two chunks of a download the channel is looked at. While a stranger's code blocks, in a connect or a
read that may take a minute, nobody here can look; so a second thread does nothing but wait for the master's
end, and then interrupts the first one, again and again until it has heard: a signal that comes just before
a system call blocks does not end it. Only a stranger's code is broken off like this: an exception out of
nowhere in the middle of a write to the store would be a fault of its own.
"""

from __future__ import annotations

import math
import select
import signal
import threading
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Protocol, Self

from overseer.wire import Channel, Malformed

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    Word = dict[str, Any]


_HANGUP = getattr(select, "POLLRDHUP", 0)  # where there is none, POLLHUP comes unasked
_AGAIN = 0.05  # seconds between two interruptions
_LONGEST = 86_400.0  # seconds in one wait; poll(2) counts milliseconds in an int
_NAMED = 200  # letters of the name of an offer
_PROGRESS = 0.25  # seconds between two words about the same step: more often nobody can read them


class Leave(BaseException):
    """The channel has ended. Like KeyboardInterrupt it passes through `except Exception`."""


class Attentive(Protocol):
    """Who has to be listened to meanwhile. What `attend` raises ends what is under way; it can be resumed."""

    def attend(self) -> None:
        """Hear what there is to be heard, without waiting."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to be heard, or -1."""

    def foreign(self) -> AbstractContextManager[None]:
        """Surround a stranger's code that may block: it is broken off when nobody waits for it any more."""

    def progress(self, step: str, name: str = "", arrived: int = 0, size: int | None = None) -> None:
        """Tell what is being done, of what, and how many bytes of how many are here; no step: nothing is."""


class Unattended:
    """Nobody has to be listened to."""

    def attend(self) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        """Return no descriptor."""
        return -1

    def foreign(self) -> AbstractContextManager[None]:
        """Let it run."""
        return nullcontext()

    def progress(self, step: str, name: str = "", arrived: int = 0, size: int | None = None) -> None:
        """Tell nobody."""


class Attention:
    """Listen to the master; `heard` is called with every word of it, once somebody has set it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.channel = Channel(sock)
        self.heard: Callable[[Word], None] = lambda _: None
        self._foreign = False
        self._gone = False
        self._step = ""  # what the master was last told of
        self._told = -math.inf  # and when
        self._left = threading.Event()
        self._old: Any = None

    def fileno(self) -> int:
        """Return the channel's descriptor."""
        return self.channel.fileno()

    def say(self, **word: Any) -> None:
        """Say one word; waits if the master does not read, since nothing here is in a greater hurry."""
        self.channel.send(word)
        while self.channel.wants_write:
            _poll(self.fileno(), select.POLLOUT, None)
            self.channel.flush()

    def tell(self, level: str, text: str) -> None:
        """Have the master write a line to the log."""
        self.say(type="say", level=level, text=text)

    def progress(self, step: str, name: str = "", arrived: int = 0, size: int | None = None) -> None:
        """Tell the master of a step when it begins, and of the same one only a few times a second."""
        now = time.monotonic()
        if step == self._step and (not step or now < self._told + _PROGRESS):
            return
        self._step, self._told = step, now
        self.say(type="progress", step=step, name=name[:_NAMED], arrived=arrived, size=size)

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to be heard; return whether there is."""
        return _poll(self.fileno(), select.POLLIN, min(seconds, _LONGEST))

    def attend(self) -> None:
        """Hear what there is to be heard. Raises `Leave` when the master has gone."""
        while self.wait(0.0):
            self.take()

    def take(self) -> None:
        """Read once. Words that came before the end are heard before it is."""
        words = self.channel.receive()
        if words is None:
            raise Leave
        for word in words:
            if isinstance(word, Malformed):
                self.tell("warning", f"the updater was told something it cannot read: {word!r}")
            else:
                self.heard(word)

    @contextmanager
    def foreign(self) -> Iterator[None]:
        """Surround a stranger's code: it is broken off, by `Leave`, when the master goes."""
        self._foreign = True
        try:
            self._break_off()  # it may have gone just before
            yield
        finally:
            self._foreign = False

    def part(self) -> None:
        """Hear the last words of a master that has gone."""
        with suppress(Leave):
            while True:
                self.take()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGIO, lambda *_: self._break_off())
            threading.Thread(target=self._watch, args=[threading.get_ident()], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        if self._old is not None:
            signal.signal(signal.SIGIO, signal.SIG_IGN)  # the other thread may be about to send one
            self._old = None

    def _watch(self, main: int) -> None:
        """Wait for the end of the master, and interrupt the main thread until it has noticed."""
        _poll(self.fileno(), _HANGUP, None)
        self._gone = True
        while not self._left.is_set():
            signal.pthread_kill(main, signal.SIGIO)
            self._left.wait(_AGAIN)

    def _break_off(self) -> None:
        if self._foreign and self._gone:
            self._foreign = False
            raise Leave


def _poll(fd: int, events: int, seconds: float | None) -> bool:
    """Wait for a descriptor, whatever its number: a release may be offered by code that opens thousands."""
    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(None if seconds is None else math.ceil(seconds * 1000)))
