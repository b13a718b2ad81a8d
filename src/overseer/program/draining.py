"""The moment a program is asked to leave: for threads, for asyncio, and as a descriptor."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_log = logging.getLogger("overseer")


def _pipe() -> tuple[int, int]:
    """Make a pipe that does not take the place of a standard stream that was closed."""
    ends = os.pipe()
    if min(ends) > 2:
        return ends
    reader, writer = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in ends)
    for end in ends:
        os.close(end)
    return reader, writer


class Draining:
    """An event that is set once, when the program shall finish what it has and leave.

    Threads ask `is_set()` or block in `wait(timeout)`; coroutines `await` it; whoever has a selector waits
    until `fileno()` is readable (it stays so). Setting it is the link's business. Processes that the program
    forks may ask and wait as well, and then finish what they have although SIGTERM comes meanwhile; callbacks
    are called in the program's own process only.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.stops = False
        """Whether the whole service ends, so that nobody else will answer."""
        self._event = threading.Event()
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[], object]] = []
        self._reader, self._writer = _pipe()
        self._forked = False  # from the process where `begin` is called: only the descriptor tells
        os.register_at_fork(after_in_child=self._become_a_copy)

    def _become_a_copy(self) -> None:
        self._forked = True
        self._lock = threading.RLock()  # whoever held it is not in this process

    def is_set(self) -> bool:
        """Tell whether the program was asked to leave."""
        return self._wait_forked(0) if self._forked else self._event.is_set()

    __bool__ = is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Block until then, or for `timeout` seconds; return whether it has come."""
        return self._wait_forked(timeout) if self._forked else self._event.wait(timeout)

    def _wait_forked(self, timeout: float | None) -> bool:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._die_unless_draining)
        return self._is_readable(timeout)

    def _die_unless_draining(self, number: int, _frame: object) -> None:
        """Heed what whoever is left of a generation is sent: a forked process that asks us knows already."""
        if not self._is_readable(0):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _is_readable(self, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))

    def fileno(self) -> int:
        """Return a descriptor that becomes, and stays, readable then."""
        return self._reader

    def __await__(self) -> Generator[object, None, None]:
        """Wait for it in asyncio; any number of tasks may."""
        return self._wait_in_loop().__await__()

    async def _wait_in_loop(self) -> None:
        import asyncio  # noqa: PLC0415 - whoever comes here has it already

        loop = asyncio.get_running_loop()
        come = loop.create_future()

        def settle() -> None:
            if not come.done():
                come.set_result(None)

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(settle)
            except RuntimeError:
                return  # the loop is closed: nobody waits there any more

        self.call(tell)
        try:
            await come
        finally:
            with self._lock:
                if tell in self._callbacks:
                    self._callbacks.remove(tell)

    def call(self, callback: Callable[[], object]) -> None:
        """Have `callback()` called then, once, in a thread of overseer; at once if it has come already."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def begin(self, reason: str, *, stops: bool = False) -> None:
        """Let it be then. Later calls do nothing, except that they may say that the whole service ends."""
        with self._lock:
            self.stops |= stops
            if self._event.is_set():
                return
            self.reason = reason
            # A byte that nobody reads, rather than a close: forked processes hold the writing end as well.
            # They are told first: whoever waits for the event may end this process at once.
            os.write(self._writer, b"!")
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - it is the program's, and the others must be called
                _log.exception("a callback given to on_drain failed; the others are called")
