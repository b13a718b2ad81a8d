"""The program's end of the channel: hello, welcome, and from then on a thread that listens for the rest."""

from __future__ import annotations

import itertools
import logging
import os
import select
import signal
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from overseer import wire
from overseer.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from overseer.wire import Word

    Handler = Callable[[int, Any], object] | int | None

_log = logging.getLogger("overseer")

_READY = 255
"""What a forked process wakes with whom the master knows: no signal has that number."""


class Link:
    """Words to and from the master. After `listen` any thread and any signal handler may use it.

    A process that the program forks is not the one the master knows: in it nothing is said but *ready*, which
    the one that the master knows says for it, and the signal handlers are as they were before `heed`.
    """

    def __init__(self, fd: int | None) -> None:
        """Take the descriptor of the channel; None where there is no master: then nothing is ever said."""
        self._channel: wire.Channel | None = None
        if fd is not None:
            sock = socket.socket(fileno=fd)
            sock.setblocking(False)
            self._channel = wire.Channel(sock)
        self._lock = threading.Lock()
        self._unsaid: deque[Word] = deque()
        self._early: list[Word] = []
        self._heeded: dict[int, Handler] = {}
        self._elder = -1
        self._ready = False
        self._open_wake_up()
        self._numbers = itertools.count(1)
        os.register_at_fork(after_in_child=self._become_a_stranger)

    def _open_wake_up(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    @property
    def alone(self) -> bool:
        """Whether there is no master, or none any more."""
        return self._channel is None

    def _forget(self) -> None:
        if self._channel:
            self._channel.close()
            self._channel = None

    def _become_a_stranger(self) -> None:
        self._lock = threading.Lock()  # whoever held it is not in this process
        self._forget()
        os.close(self._reader)
        if self._elder < 0:
            self._elder = self._writer
        else:
            os.close(self._writer)  # shared with the parent, who would take our signals for his
        self._open_wake_up()
        for number, before in self._heeded.items():
            if signal.getsignal(number) == self.signal_came:
                signal.signal(number, before)

    def heed(self, number: int) -> None:
        """Have a signal told to `signalled` (see `listen`) instead of what Python does with it by itself."""
        self._heeded[number] = signal.signal(number, self.signal_came)

    def greet(self, hello: Word) -> tuple[Word, list[int]] | None:
        """Say hello and wait to be let in. Return the welcome and the listeners' descriptors.

        Return None when we are asked to leave instead, or when the master has gone.
        """
        channel = self._channel
        assert channel is not None
        self.say(hello)
        welcome: Word | None = None
        early: list[Word] = []  # came with the welcome, and are for later
        while True:
            poll = select.poll()
            poll.register(channel.fileno(), select.POLLIN | (select.POLLOUT if channel.wants_write else 0))
            poll.poll()
            channel.flush()
            words = channel.receive(with_fds=True)
            if words is None:
                return None
            for word in words:
                if isinstance(word, wire.Malformed):
                    raise ProtocolError(f"the master sent {word}")
                if word["type"] == "drain":
                    return None
                if word["type"] == "welcome":
                    welcome = word
                elif word["type"] == "stored":
                    early.append(word)
            if welcome and len(channel.fds) >= int(welcome["fds"]):
                count = int(welcome["fds"])
                listeners, channel.fds = channel.fds[:count], channel.fds[count:]
                self._early = early
                return welcome, listeners

    def listen(
        self, heard: Callable[[Word], None], lost: Callable[[], None], signalled: Callable[[int], None]
    ) -> None:
        """Start the thread that waits for the master's words, for its end, and for `signal_came`."""

        def wait(usual: set[int]) -> None:
            for word in self._early:
                self._tell(word, heard)
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            while True:
                if self._channel:
                    poll.register(self._channel.fileno(), select.POLLIN | self._wants_write())
                news = poll.poll()
                # What is called from here on is the program's, and may start threads and processes.
                signal.pthread_sigmask(signal.SIG_SETMASK, usual)
                for fd, mask in news:
                    if fd == self._reader:
                        self._woken(signalled)
                    elif self._channel and not self._hear(mask, heard):
                        poll.unregister(fd)
                        self._forget()
                        lost()
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

        start_deaf(wait, "overseer")

    def _woken(self, signalled: Callable[[int], None]) -> None:
        for number in os.read(self._reader, 4096):
            if number == _READY:
                self.say({"type": "ready"})
            elif number:
                signalled(number)

    def _wants_write(self) -> int:
        return select.POLLOUT if self._channel and self._channel.wants_write else 0

    def _hear(self, mask: int, heard: Callable[[Word], None]) -> bool:
        assert self._channel is not None
        if mask & select.POLLOUT:
            with self._lock:
                self._channel.flush()
            self._speak()
        if not mask & ~select.POLLOUT:
            return True
        words = self._channel.receive(with_fds=True)
        for word in words or []:
            if isinstance(word, wire.Malformed):
                _log.warning("the master sent %s", word)
            else:
                self._tell(word, heard)
        return words is not None

    def _tell(self, word: Word, heard: Callable[[Word], None]) -> None:
        """Tell a word; one that brings a descriptor has it as `fd`."""
        if word["type"] == "stored":
            if not (self._channel and self._channel.fds):
                _log.warning("a stored descriptor was lost: this process may not have more open files")
                return
            word = {**word, "fd": self._channel.fds.pop(0)}
        heard(word)

    def hand(self, word: Word, fd: int) -> bool:
        """Tell the master something with a descriptor, and wait until it is on its way; False without one."""
        with self._lock:
            while self._unsaid:
                self._send(self._unsaid.popleft())
            if self._channel is None:
                return False
            self._channel.send(word, [fd])
            while self._channel.wants_write:
                poll = select.poll()
                poll.register(self._channel.fileno(), select.POLLOUT)
                poll.poll()
                self._channel.flush()
        self._speak()
        return True

    def say(self, word: Word) -> None:
        """Tell the master something; nothing happens where there is none. It hears once that all is ready."""
        if word["type"] == "ready":
            if self._ready:
                return
            self._ready = True
            if self._elder >= 0:
                _write(self._elder, _READY)
                return
        self._unsaid.append(word)
        self._speak()

    def _speak(self) -> None:
        # Never a wait: a signal handler may have interrupted the holder of the lock, who looks again anyway.
        while self._unsaid and self._lock.acquire(blocking=False):
            try:
                while self._unsaid:
                    self._send(self._unsaid.popleft())
            finally:
                self._lock.release()

    def _send(self, word: Word) -> None:
        if self._channel:
            self._channel.send(word)
            if self._channel.wants_write:
                self._wake(0)

    def ask_for_restart(self) -> None:
        """Ask the master for a restart; how it ended is told to `heard`, with the same number."""
        self.say({"type": "restart", "id": next(self._numbers)})

    def signal_came(self, number: int, _frame: object = None) -> None:
        """Queue a signal for the thread: a handler may run where a lock is held already."""
        self._wake(number)

    def _wake(self, number: int) -> None:
        _write(self._writer, number)


def _write(fd: int, number: int) -> None:
    try:
        os.write(fd, bytes([number]))
    except (BlockingIOError, BrokenPipeError):
        return  # it has plenty to wake up for, or is no more


def be_deaf() -> None:
    """Ignore every signal that has a handler: called last, before Python gives them back to the system.

    There they would mean death, and the status of a program that has ended well would be another's.
    """
    if threading.current_thread() is threading.main_thread():
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_IGN)


def outlive(seconds: float) -> None:
    """The master has gone: let the program drain for so long, then end it and its process group (D26)."""

    def end(_usual: set[int]) -> None:
        time.sleep(seconds)
        _log.error("the master is gone and the program still here after %g s: it is ended", seconds)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    start_deaf(end, "overseer-end")


def start_deaf(target: Callable[[set[int]], None], name: str) -> None:
    """Start a thread that takes no signals; it is told what mask the others have.

    Python calls a handler in the main thread only. A signal that the kernel gives to another one is told
    when the main thread wakes up for another reason: for a program that waits, never.
    """
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        threading.Thread(target=target, args=(usual,), name=name, daemon=True).start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)
