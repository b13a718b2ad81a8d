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

import errno
import http.client
import os
import select
import socket
import sys
import time
from contextlib import ExitStack, suppress
from math import inf
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from overseer import notify
from overseer.foreign.acceptor import CAN_LOOK, hides, is_below, peer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOONEST, _LATEST = 0.02, 0.5
"""Seconds between two tries, longer each time; the master is not asked more often than the latter."""

_BAD = 400
"""The least status that is no good answer."""

_GLANCE = 0.002
"""Seconds until the first second look at who has accepted, longer each time."""

_MOST_KNOCKS = 8
"""Connections of one try."""

_PATIENCE = 5.0
"""Seconds for one answer, and for somebody to accept; and until it is told what is waited for."""

_FORBIDDEN = {errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES, errno.EADDRNOTAVAIL, errno.ENETUNREACH}
"""What is said of a knock where walls do not let us, or not see who accepts; or where there is no way."""


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
    """One program, which is asked until it is ready."""

    def __init__(
        self, url: str, program: int, mail: socket.socket, timeout: float, alive: float | None = None
    ) -> None:
        self._url = url
        self._program = program
        self._mail = mail
        self._begun = time.monotonic()
        self._patience = min(_PATIENCE, timeout / 2)
        self._alive = alive
        self._told = 0
        self._knocks = 1
        self._gone = self._seen = False  # a knock, and who has accepted it
        self._wanted = True
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

    def _is_wanted(self) -> bool:
        """Whether the program is there, and the master still waits for it."""
        if CAN_LOOK and not os.path.exists(f"/proc/{self._program}"):
            return False
        if self._wanted and time.monotonic() >= self._next:
            self._next = time.monotonic() + _LATEST
            try:
                self._mail.send(notify.write({notify.PROBE: "1"}))
                self._wanted = not notify.parse(self._mail.recv(notify.MOST)).ready
            except TimeoutError:
                pass  # the master has other things to do
            except OSError:  # it has gone, or has seen the program's end
                self._wanted = False
            else:
                self._remind()
        return self._wanted

    def _remind(self) -> None:
        asks = self._wanted and self._url and self._alive is not None and (self._seen or not self._gone)
        if asks and not self._told and self._age > self._patience:
            self._told = 1
            _say(
                f"the program has accepted nothing at {self._url}, its first address of TCP, and is ready "
                "when it does; --ready-url asks at another, and --ready alive asks nothing"
            )

    def _is_ready(self) -> bool:
        if not self._url:
            return self._alive is not None and self._age >= self._alive
        status = 0
        try:
            status = self._answers()
        except (OSError, http.client.HTTPException) as error:
            said = getattr(error, "errno", None)
            if said in _FORBIDDEN or (said == errno.ECONNREFUSED and self._alive is not None):
                self._cannot_ask(error)  # refused where it listens: this is another network (PrivateNetwork=)
        if status >= _BAD and status != self._told:
            self._told = status
            _say(f"{self._url} answers with status {status}, which is not ready")
        return 0 < status < _BAD

    def _cannot_ask(self, error: Exception) -> None:
        if self._alive is not None:
            lives = f"it has been alive for {self._alive:g} s" if self._alive < inf else "it says READY=1"
            _say(
                f"knocking at {self._url} tells nothing here ({error}): the program is ready when {lives}",
                warning=True,
            )
            self._url = ""
        elif not self._told:
            self._told = 1
            _say(
                f"{self._url} cannot be asked here ({error}), and the program is ready when it answers",
                warning=True,
            )

    def _answers(self) -> int:
        """Return the status with which the program answers; 0 where nobody does, or another generation."""
        parts = urlsplit(self._url)
        assert parts.hostname
        place = (parts.hostname, parts.port or 80)
        with ExitStack() as stack:
            socks = [
                stack.enter_context(socket.create_connection(place, timeout=_PATIENCE))
                for _ in range(self._knocks)
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
                self._seen = self._seen or bool(inode)
                if inode or over:
                    others.add(user if inode else -1)
                    self._gone = True
                    waiting.remove(sock)
                    sock.close()
            time.sleep(wait)
            wait = min(max(_SOONEST, self._age / 100), wait * 1.5)
        if others:
            self._knocks = min(_MOST_KNOCKS, self._knocks + 1)
            if hides(self._program, others):
                raise PermissionError(errno.EACCES, "who accepts may not be seen, for want of CAP_SYS_PTRACE")
            if not self._seen and self._age > self._patience:
                raise PermissionError(errno.EACCES, "each connection is closed before it is seen who has it")
        return None


def _say(text: str, *, warning: bool = False) -> None:
    sys.stderr.write(f"overseer: {'warning: ' if warning else ''}{text}\n")
    sys.stderr.flush()
