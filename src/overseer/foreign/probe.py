"""A short-lived process that asks whether a foreign program answers or accepts, and says READY=1 for it.

Generations share their listeners, so an answer alone proves nothing: it may be the old one's. On Linux an
answer counts only if the connection was accepted by a process of this very generation, which it tells. Who
accepts is chance, and the old one may be quicker: each try knocks once more often than the one before. What
the old one has accepted is closed at once: one that answers a single client at a time would wait for our
request, and have nobody else answered. What nobody has accepted is left to wait: it stands in the queue of
the listener, where many would keep clients out.

It is the master that knows for how long (EXTEND_TIMEOUT_USEC), and whether the program has said READY=1
itself: it is asked now and then. The probe ends with its success, when nobody waits for it, or with the
program.
"""

from __future__ import annotations

import http.client
import os
import select
import socket
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from overseer import notify
from overseer.foreign import inquiry
from overseer.foreign.acceptor import CAN_LOOK, hides, is_below, peer_of
from overseer.foreign.inquiry import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOONEST, _LATEST = 0.02, 0.5
"""Seconds between two tries, longer each time; the master is not asked more often than the latter."""

_GLANCE = 0.002
"""Seconds until the first second look at who has accepted, longer each time."""

_PATIENCE = 5.0
"""Seconds for one answer, and for somebody to accept; and until it is told what is waited for."""


def place_of(socks: Sequence[socket.socket]) -> str:
    """Return where the first listener of TCP is knocked at, as a URL; an empty text if there is none."""
    for sock in socks:
        if sock.type == socket.SOCK_STREAM and sock.family in (socket.AF_INET, socket.AF_INET6):
            host, port = sock.getsockname()[:2]  # which may be every interface: then it is this host's own
            return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    return ""


def start(url: str, address: str, timeout: float, *, alive: float | None = None) -> None:
    """Ask `url` in a process of its own until it answers, and tell NOTIFY_SOCKET `address`.

    The master waits for `timeout`, if not for longer. With `alive` nobody has said what is to be asked. Where
    it cannot be, it is enough that the program has been alive for so many seconds. That process is nobody's
    child: the program, which we become, finds no child that it did not start.
    """
    program = os.getpid()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    status = 1
    try:
        if os.fork() == 0:
            os.setpgid(0, 0)  # not of the program's group, whose last process is waited for when it leaves
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mail:
                mail.bind("")  # a name that the kernel chooses, so that we can be answered
                mail.connect("\0" + address[1:])
                _Probe(url, program, mail, timeout, alive).ask()
        status = 0
    except OSError as error:
        _say(f"the probe of {url} failed: {error}", warning=True)
    finally:
        os._exit(status)


class _Probe:
    """One program, which is asked until it is ready: does what its inquiry says."""

    def __init__(
        self, url: str, program: int, mail: socket.socket, timeout: float, alive: float | None = None
    ) -> None:
        self._now = inquiry.begin(url, patience=min(_PATIENCE, timeout / 2), alive=alive)
        self._program = program
        self._mail = mail
        self._begun = time.monotonic()
        self._next = self._begun  # when the master is asked
        mail.settimeout(_LATEST)

    def ask(self) -> None:
        """Ask until it is, and say so."""
        wait = _SOONEST
        while self._is_wanted():
            if self._is_ready():
                self._mail.settimeout(None)  # the master may have other things to do, and has to hear it
                with suppress(ConnectionError):  # it has seen the program's end
                    self._mail.send(notify.write({"READY": "1", notify.PROBE: "1"}))
                return
            time.sleep(wait)
            wait = min(_LATEST, wait * 1.5)

    @property
    def _age(self) -> float:
        return time.monotonic() - self._begun

    def _hear(self, fact: inquiry.Fact) -> None:
        self._now, line = inquiry.hear(self._now, fact, self._age)
        if line:
            _say(line)

    def _is_wanted(self) -> bool:
        """Whether the program is there, and the master still waits for it."""
        if CAN_LOOK and not os.path.exists(f"/proc/{self._program}"):
            self._hear(inquiry.Left())
        elif not self._now.ends and time.monotonic() >= self._next:
            self._next = time.monotonic() + _LATEST
            try:
                self._mail.send(notify.write({notify.PROBE: "1"}))
                self._hear(inquiry.Word(self._word().ready))
            except TimeoutError:
                pass  # the master has other things to do
            except OSError:  # it has gone, or has seen the program's end
                self._hear(inquiry.Left())
        return not self._now.ends

    def _word(self) -> notify.Notice:
        """Return the last word of the master's: those before it are late answers."""
        said = self._mail.recv(notify.MOST)
        while select.select([self._mail], [], [], 0)[0]:
            said = self._mail.recv(notify.MOST)
        return notify.parse(said)

    def _is_ready(self) -> bool:
        self._hear(inquiry.Lived())
        if self._now.phase is Phase.ASKS:
            try:
                status = self._answers()
            except (OSError, http.client.HTTPException) as error:
                self._hear(inquiry.Failed(getattr(error, "errno", None), str(error)))
            else:
                if status:
                    self._hear(inquiry.Answered(status))
        return self._now.phase is Phase.READY

    def _answers(self) -> int:
        """Return the status with which the program answers; 0 where nobody does, or another generation."""
        parts = urlsplit(self._now.url)
        assert parts.hostname
        place = (parts.hostname, parts.port or 80)
        with ExitStack() as stack:
            socks = [
                stack.enter_context(socket.create_connection(place, timeout=_PATIENCE))
                for _ in range(self._now.knocks)
            ]
            sock = self._choose(socks)
            for other in socks:
                if other is not sock:
                    other.close()
            if sock is None:
                return 0
            if parts.scheme == "tcp":
                return 200
            asked = http.client.HTTPConnection(parts.hostname, parts.port or 80)
            asked.sock = sock
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            asked.request("GET", path, headers={"User-Agent": "overseer-probe", "Connection": "close"})
            return asked.getresponse().status

    def _choose(self, socks: list[socket.socket]) -> socket.socket | None:
        """Return the first that the program, or one below it, accepts; close those of others at once."""
        if not CAN_LOOK:
            return socks[0]
        waiting, wait, others = list(socks), _GLANCE, set[int]()
        end = time.monotonic() + max(_PATIENCE, self._age / 4)
        while waiting and time.monotonic() < end and self._is_wanted():
            for sock in tuple(waiting):
                over = bool(select.select([sock], [], [], 0)[0])  # asked before it is seen who has it
                inode, user = peer_of(sock)
                if inode and is_below(inode, self._program):
                    return sock
                if inode or over:
                    seen = bool(inode) and peer_of(sock)[0] == inode  # not closed while it was looked for
                    self._hear(inquiry.Lost(seen))
                    others.add(user if inode else -1)
                    waiting.remove(sock)
                    sock.close()
            time.sleep(wait)
            wait = min(max(_SOONEST, self._age / 100), wait * 1.5)
        if others:
            self._hear(inquiry.Missed(hides(self._program, others)))
        return None


def _say(line: str, *, warning: bool = False) -> None:
    sys.stderr.write(f"overseer: {'warning: ' if warning else ''}{line}\n")
    sys.stderr.flush()
