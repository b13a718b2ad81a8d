"""Processes of the master: started, killed, reaped; whole trees of them.

Each worker leads a process group of its own, and the master is the reaper of every orphan below it
(PR_SET_CHILD_SUBREAPER, set by the launcher; PID 1 is one by nature), so that a one-file executable, whose
real program is a grandchild, or a forking server is ended as a whole. It leads a session, too: the kernel
shares a CPU out between sessions (sched(7), autogroup), so one that starts does not stand before those that
serve. Only where the master is a job of an interactive terminal do its children stay in its group: Ctrl-C,
Ctrl-Z and reading the terminal then work as the kernel means them to.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from math import inf

from overseer import wire
from overseer.master.signals import block, restore
from overseer.processes import descendants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from overseer.master.signals import Signals

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""What a shell's status says of a command that could not be started (sh(1))."""


class Child:
    """A process we started: who it is to us, and the channel to it."""

    def __init__(self, pid: int, channel: wire.Channel, born: float, *, leads: bool) -> None:
        self.pid = pid
        self.channel = channel
        self.born = born  # seconds, monotonic
        self.leads = leads  # a session of its own, with a process group
        self.leaving = False  # was asked to
        self.killed = False  # by us
        self.status: int | None = None  # has ended, but some of its group have not
        self.generation = 0  # 0: it is no worker
        self.worker = 0
        self.several = False  # its generation has more workers
        self.greeted = False  # has said hello
        self.let_in = False  # was welcomed
        self.said_ready = False
        self.said_fail = False
        self.noise = 0  # lines it sent that mean nothing
        self.mail: socket.socket | None = None  # where a foreign program's notices come
        self.says = ""  # its STATUS
        self.watchdog = inf  # seconds that it may be silent
        self.fed = inf  # when it last gave a sign of life, once it serves
        self.goes = inf  # when it has to be gone: it has said itself that it is stopping

    @property
    def name(self) -> str:
        """What the log calls it."""
        if not self.generation:
            return f"the updater (pid {self.pid})"
        worker = f", worker {self.worker}" if self.several else ""
        return f"generation {self.generation}{worker} (pid {self.pid})"

    def hang_up(self) -> None:
        """Let it read the end of its channel."""
        try:
            self.channel.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it has hung up first

    def signal(self, number: int) -> None:
        """Send a signal to the process itself; one that has gone is no error (D23)."""
        if self.status is None:
            _send(os.kill, self.pid, number)

    def hurry_company(self) -> None:
        """It has ended, others of its group have not: ask them to."""
        _send(os.killpg, self.pid, signal.SIGTERM)

    def end(self) -> None:
        """Kill it with everything below it."""
        for pid in list(descendants(self.pid)):
            _send(os.kill, pid, signal.SIGKILL)
        if self.leads:
            _send(os.killpg, self.pid, signal.SIGKILL)
        self.signal(signal.SIGKILL)

    def has_company(self) -> bool:
        """Whether its process group still has a member."""
        return self.leads and _send(os.killpg, self.pid, 0)


class Children:
    """All of them, by pid."""

    def __init__(self, signals: Signals, *, job: bool, reaper: bool, folder: str = "") -> None:
        """Start processes in `folder`, found anew each time: a link may lead elsewhere by then."""
        self.by_pid: dict[int, Child] = {}
        self._signals = signals
        self._job = job
        self._folder = folder
        self._reaper = reaper  # orphans become ours, so their end is noticed

    def spawn(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        role: str,
        now: float,
        lent: Mapping[str, int] | None = None,
    ) -> Child:
        """Start a process in a role, with one end of a new channel, and with descriptors `lent` to it.

        Each descriptor is named by a variable.

        Raises `OSError` where no process or descriptor is to be had. A program that cannot be executed
        is no error here: the child says so on its standard error and ends with 126 or 127, as in a shell.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        lent = lent or {}
        private = {wire.ROLE: role, wire.CHANNEL: wire.name_channel(theirs.fileno())}
        private |= {name: str(fd) for name, fd in lent.items()}
        mask = block()  # between fork and exec a signal must not reach our handlers in the child
        try:
            pid = os.fork()
            if pid == 0:
                kept = [theirs.fileno(), *lent.values()]
                self._become(argv, {**environ, **private}, kept, mask, strict=role == "program")
        except OSError:
            ours.close()
            raise
        finally:
            restore(mask)
            theirs.close()
        child = Child(pid, wire.Channel(ours), now, leads=not self._job)
        self.by_pid[pid] = child
        return child

    def _become(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        kept: Sequence[int],
        mask: set[int],
        *,
        strict: bool,
    ) -> None:
        """Run the command in the folder, in the child; `strict`: there or nowhere, and the master is told."""
        status = NOT_EXECUTABLE
        try:
            if not self._job:
                os.setsid()
            for fd in kept:
                os.set_inheritable(fd, True)
            self._signals.forget()
            restore(mask)
            if (failure := self._enter_folder()) and strict:
                status = NOT_FOUND
                os.write(2, f"overseer: {failure}\n".encode())
                os.write(kept[0], wire.encode({"type": "fail", "reason": failure}))
                return
            _make_room(kept[0])
            os.execvpe(argv[0], list(argv), environ)
        except OSError as error:
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            os.write(2, f"overseer: cannot execute {argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(status)

    def _enter_folder(self) -> str:
        """Go where the name of the folder leads by now; say why not where it leads nowhere.

        Its link dangles, then, or it was renamed, and what lies where the master stands is what was meant
        once. A folder that was removed, or may not be entered by this user, is no other: we stay.
        """
        try:
            os.chdir(self._folder or ".")
        except (FileNotFoundError, NotADirectoryError) as error:
            try:
                os.getcwd()
            except OSError:
                return ""
            return f"cannot enter {self._folder}: {error.strerror}"
        except OSError:
            return ""
        return ""

    def reap(self, leftover: Callable[[Child], None]) -> Iterator[tuple[Child, int]]:
        """Collect everybody who has ended and return the children among them, with their status.

        A child that was asked to leave has left when its whole process group has; `leftover` is told of
        one that goes while others of its group stay. Of one that goes unasked the rest is killed.
        Orphans that became ours are collected and mean nothing (D25).
        """
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            child = self.by_pid.get(pid)
            if child and child.status is None:
                child.status = os.waitstatus_to_exitcode(wait_status)
                if child.killed or not (child.leaving and self._reaper):
                    child.end()
                elif child.has_company():
                    leftover(child)
        for child in list(self.by_pid.values()):
            awaited = child.leaving and self._reaper and child.has_company()
            if child.status is not None and not awaited:
                del self.by_pid[child.pid]
                yield child, child.status


def fill_standard_descriptors() -> None:
    """Where one of the first three was closed, the next socket would take its place and be written to."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this one


def is_terminal_job() -> bool:
    """Whether we talk to our controlling terminal, so that a shell's job control is about us."""
    return any(map(_is_our_terminal, (0, 1, 2)))


def _is_our_terminal(fd: int) -> bool:
    try:
        return os.tcgetpgrp(fd) > 0
    except OSError:  # no terminal, or another session's
        return False


_ROOMS = (16_384, 4_096, 1_024, 256)
"""How many descriptors there is room for: the most that RLIMIT_NOFILE lets one have."""


def _make_room(fd: int) -> None:
    """Have the table of descriptors grow now, while this process has one thread.

    Linux has it grow by doubling, from 64. With threads each step waits until no CPU can be using the old one
    (`expand_fdtable` in fs/file.c: `synchronize_rcu`), 10 to 20 ms in which whoever accepts a connection
    stands still, and in a generation that is about to be full of connections (decision 0023). A table
    survives execve(2). It does not survive fork(2), which copies what is in use.
    """
    for room in _ROOMS:
        try:
            os.close(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, room - 1))
        except OSError:
            continue
        return


def _send(call: Callable[[int, int], object], pid: int, number: int) -> bool:
    try:
        call(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
