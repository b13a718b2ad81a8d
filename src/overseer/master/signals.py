"""Signals of the master: a handler only queues a byte, the loop reads it.

What they mean is decided by the loop; here stands which ones are taken, and that nothing is lost while
the process replaces itself (the mask survives execve, handlers do not: execve(2), signal(7)).
"""

from __future__ import annotations

import os
import select
import signal

STOP = frozenset({signal.SIGTERM, signal.SIGINT})
HALT = frozenset({signal.SIGQUIT})
_NAMED = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR")
_REAL_TIME = range(getattr(signal, "SIGRTMIN", 0), getattr(signal, "SIGRTMAX", -1) + 1)
FORWARDED = frozenset(getattr(signal, name) for name in _NAMED if hasattr(signal, name)) | {*_REAL_TIME}
"""What else reaches the program, each exactly once (D23): all that would end a master and mean nothing to it.

Left as they are: those the kernel sends for a fault of ours, and those of job control.
"""

TERMINAL = frozenset({signal.SIGWINCH})
"""What a terminal sends to the whole foreground job: forwarded only to a program outside of it."""


class Signals:
    """A descriptor that becomes readable when a signal has come, and `read`, which tells which."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._taken: set[int] = set()
        # A full pipe means 64 KiB of unread signals: the loop is told enough.
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self.take(signal.SIGCHLD)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._reader

    def take(self, *numbers: int) -> None:
        """Have these signals queued. One that was ignored when we were started stays ignored (nohup(1))."""
        for number in numbers:
            if number == signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _queued)
                self._taken.add(number)

    def read(self) -> list[int]:
        """Return the signals that have come, oldest first."""
        try:
            return list(os.read(self._reader, 1 << 16))
        except BlockingIOError:
            return []

    def waiting(self) -> bool:
        """Tell whether `read` would return any."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(0))

    def forget(self) -> None:
        """In a forked child: behave as if no signal had ever been taken."""
        signal.set_wakeup_fd(-1)
        # Python ignores these two at its start; a program expects what its parent's parent had.
        for number in (*self._taken, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)


def block() -> set[int]:
    """Hold back every signal and return the mask there was before."""
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())}


def restore(mask: set[int]) -> None:
    """Let signals come as they did before `block`."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def die_like(status: int) -> int:
    """End as the program did: return its exit code, or die by the signal that killed it.

    Returns 128 + n where dying by signal n is impossible, as for PID 1 (pid_namespaces(7)).
    """
    if status >= 0:
        return status
    number = -status
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    _no_core()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number


def _no_core() -> None:
    """The program has left its core file, if any; the master's own would say nothing."""
    import resource  # noqa: PLC0415 - only when dying, and not worth its memory before

    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _queued(_number: int, _frame: object) -> None:
    """The byte is in the pipe already: CPython's own handler wrote it (signal.set_wakeup_fd)."""
