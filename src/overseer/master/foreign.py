"""Programs that do not speak our words but systemd's: told by signals, heard on a socket of their own.

A foreign program is started by a shim of ours, which speaks for it until it becomes it: it says hello, takes
the listeners and the address of the socket for notices, and execs the program. From then on the end of its
channel is no news; what the program has to say comes as sd_notify(3) says, one datagram at a time, with the
credentials of the sender checked by the kernel. Each worker has a socket of its own, so that whose notice it
is needs no word (law 7).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from math import inf

from overseer import notify
from overseer.facts import Extended, Life, Phase, Ready
from overseer.master.fdstore import Entry
from overseer.master.hearing import keep
from overseer.master.journal import DEBUG, INFO, WARNING
from overseer.processes import descendants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.facts import Event
    from overseer.master.children import Child
    from overseer.master.estate import Estate
    from overseer.notify import Notice
    from overseer.settings import Foreign

_AT_ONCE = 64
"""Notices that are read before others are served."""

_FDS = 253
"""Descriptors in one message (SCM_MAX_FD, unix(7))."""

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_SPACE = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(4 * _FDS)


def settings_of(estate: Estate, child: Child) -> Foreign:
    """Return how a worker is spoken to; for a native program `runs` is false."""
    return estate.settings.get(child.generation, estate.launched).foreign


def open_mail(child: Child) -> socket.socket | None:
    """Open the socket for a worker's notices, where the system can.

    The kernel chooses a name in the abstract space (unix(7)), which needs no folder and leaves no file; where
    there is none the program cannot say anything, and has to be alive or probed to be ready.
    """
    if not hasattr(socket, "SO_PASSCRED"):
        return None
    mail = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    mail.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    mail.bind("")
    child.mail = mail
    return mail


def name_of(mail: socket.socket) -> str:
    """Return the name of a socket for notices, as NOTIFY_SOCKET has it."""
    name: bytes = mail.getsockname()
    return "@" + name[1:].decode("ascii")


def read(estate: Estate, child: Child) -> Iterator[Event]:
    """Read what a worker's processes have sent and return what it means."""
    for _ in range(_AT_ONCE):
        if child.mail is None:
            return
        try:
            data, rights, flags, asker = child.mail.recvmsg(notify.MOST + 1, _SPACE)
        except OSError:
            return
        fds, sender = _unpack(rights)
        for fd in fds:
            os.set_inheritable(fd, False)
        try:
            if flags & socket.MSG_CTRUNC:
                estate.journal.say(f"{child.name} sent more descriptors than could be taken", WARNING)
            elif _may_speak(child, sender):
                said = notify.parse(data)
                yield from _hear(estate, child, said)
                _answer(child, said, asker)
                if said.remove:
                    estate.fdstore.remove(said.name)
                while said.store and fds:
                    owner = (child.generation, child.worker)
                    keep(
                        estate, child, Entry(fds.pop(0), said.name, "", owner, polled=said.poll), by_file=True
                    )
            else:
                estate.journal.say(
                    f"a notice for {child.name} came from pid {sender[0]}, uid {sender[1]}: left out", WARNING
                )
        finally:
            for fd in fds:  # with BARRIER=1 its closing is the answer
                os.close(fd)


def _unpack(rights: list[tuple[int, int, bytes]]) -> tuple[list[int], tuple[int, int]]:
    fds: list[int] = []
    sender = (0, -1)
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            count = len(data) // 4
            fds += struct.unpack(f"{count}i", data[: count * 4])
        elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid, uid, _ = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
            sender = (pid, uid)
    return fds, sender


def _may_speak(child: Child, sender: tuple[int, int]) -> bool:
    """Root, our own user (a short-lived helper may have ended since), and whoever runs below the worker."""
    pid, uid = sender
    return uid in (0, os.geteuid()) or pid == child.pid or pid in descendants(child.pid)


def _hear(estate: Estate, child: Child, said: Notice) -> Iterator[Event]:
    n, w, now, foreign = child.generation, child.worker, time.monotonic(), settings_of(estate, child)
    say = estate.journal.say
    if said.status is not None and said.status != child.says:
        child.says = said.status
        say(f"{child.name} says: {said.status}", DEBUG)
    if said.extend is not None:
        say(f"{child.name} needs longer: {said.extend:g} s from now", INFO)
        yield Extended(n, w, said.extend)
        child.goes = max(child.goes, now + said.extend) if child.goes < inf else inf
    if said.watchdog is not None:
        child.watchdog = said.watchdog or inf
    if said.ready and not child.said_ready and (said.probe or not foreign.probed):
        child.said_ready = True
        child.fed = now
        yield Ready(n, w)
    if said.fed and child.fed < inf:
        child.fed = now
    if said.triggered:
        say(f"{child.name} says itself that it is ill (WATCHDOG=trigger): it is killed", WARNING)
        _put_down(child)
    if said.stopping:
        say(f"{child.name} says that it is stopping", DEBUG if child.leaving else INFO)
        _let_go(estate, child, now, said.extend or 0.0)
    if said.errno:
        say(f"{child.name} says that it failed: {os.strerror(said.errno)} ({said.errno})", WARNING)
    if said.main_pid not in (None, child.pid):
        say(
            f"{child.name} names {said.main_pid} as its main process, which is not followed: "
            "run the program in the foreground",
            WARNING,
        )


def _answer(child: Child, said: Notice, probe: bytes) -> None:
    """Tell a probe that asks whether its program is ready already, by whatever: it may end then."""
    if said.probe and not said.ready and probe and child.mail:
        with contextlib.suppress(OSError):  # it has gone, or does not listen
            child.mail.sendto(notify.write({"READY": str(int(child.said_ready))}), probe)


def _let_go(estate: Estate, child: Child, now: float, wants: float) -> None:
    """It leaves unasked: from now on it is as if it had been asked to, with the patience for that."""
    if not child.leaving:
        settings = estate.settings.get(child.generation, estate.launched)
        child.leaving, child.goes = True, now + max(wants, settings.policy.terminate_timeout)


def ask_to_leave(estate: Estate, child: Child) -> bool:
    """Tell a foreign program to drain, or to stop with the service; return whether it is one."""
    foreign = settings_of(estate, child)
    if not (foreign.runs and child.let_in):
        return False
    if child.goes < inf:
        return True  # it is leaving by itself, and many take a second signal for "at once"
    if not child.channel.ended and child.channel.receive() is not None:
        child.signal(signal.SIGTERM)  # it is still the shim, to which other signals mean nothing
    elif estate.world.life is Life.RUNNING:
        child.signal(foreign.drain_signal)
    else:
        child.signal(foreign.stop_signal)
    return True


def was_to_serve(estate: Estate, child: Child, phase: Phase) -> bool:
    """Say of one that ended well, yet before it was ready, what that mostly is; return whether it was one.

    Without listeners it was a command that is done.
    """
    began = phase is Phase.STARTING and settings_of(estate, child).runs and child.let_in
    lost = began and bool(estate.listening.of(child.generation))
    if lost:
        estate.journal.say(
            f"{child.name} has put itself into the background, or had nothing to serve: "
            "run the program in the foreground",
            WARNING,
        )
    return lost


def judge(estate: Estate, child: Child, status: int) -> int:
    """Return the status of a worker's end as it is meant: dying of the signal to leave is a good end."""
    foreign = settings_of(estate, child)
    if not foreign.runs:
        return status
    good = set(foreign.clean_exits)
    if child.leaving and not child.killed:
        signals = (foreign.drain_signal, foreign.stop_signal, int(signal.SIGTERM))
        good |= {meant for number in signals for meant in (-number, 128 + number)}  # 128: as a shell tells it
    return 0 if status in good else status


def serves(child: Child, now: float) -> None:
    """From now on its silence counts."""
    if child.fed == inf:
        child.fed = now


def alarm(estate: Estate) -> float:
    """Return when the first watchdog barks, or somebody who is stopping by itself should have ended."""
    children = estate.children.by_pid.values()
    return min((min(_barks(child), child.goes) for child in children), default=inf)


def watch_over(estate: Estate, now: float) -> None:
    """Kill who has been silent, or stopping, for too long; its end is as unexpected as a crash."""
    for child in estate.children.by_pid.values():
        if now >= child.goes:
            estate.journal.say(
                f"{child.name} is stopping by itself, and takes too long: it is killed", WARNING
            )
            _put_down(child)
        if now >= _barks(child):
            silent = now - child.fed
            estate.journal.say(
                f"{child.name} was silent for {silent:.1f} s, its watchdog allows {child.watchdog:g} s: "
                "it is killed",
                WARNING,
            )
            _put_down(child)


def _barks(child: Child) -> float:
    ours = child.status is None and not child.leaving
    return child.fed + child.watchdog if ours else inf


def _put_down(child: Child) -> None:
    child.fed = child.goes = inf
    child.end()
