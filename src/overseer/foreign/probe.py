"""A short-lived process that asks whether a foreign program answers or accepts, and says READY=1 for it.

Generations share their listeners, so an answer alone proves nothing: it may be the old one's. On Linux an
answer counts only if the connection was accepted by a process of this very generation, which it tells. Who
accepts is chance, and the old one may be quicker: each try knocks once more often than the one before. What
the old one has accepted is closed at once: one that answers a single client at a time would wait for our
request, and have nobody else answered. The master does nothing meanwhile, and the probe ends with its
success, with `ready_timeout`, or with the program.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import sys
import time
from contextlib import ExitStack
from math import inf
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from overseer import notify
from overseer.foreign.acceptor import CAN_LOOK, inode_of_peer, is_below

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOONEST, _LATEST = 0.02, 0.5
"""Seconds between two tries, longer each time."""

_BAD = 400
"""The least status that is no good answer."""

_GLANCE = 0.002
"""Seconds until the first second look at who has accepted, longer each time."""

_MOST_KNOCKS = 8
"""Connections of one try."""

_PATIENCE = 5.0
"""Seconds for one answer, and for somebody to accept."""

_FORBIDDEN = {errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES, errno.EADDRNOTAVAIL, errno.ENETUNREACH}
"""What is said of a knock where a service manager's walls do not let us, or there is no way to an address."""


def place_of(socks: Sequence[socket.socket]) -> str:
    """Return where the first listener of TCP is knocked at, as a URL; an empty text if there is none."""
    for sock in socks:
        if sock.type == socket.SOCK_STREAM and sock.family in (socket.AF_INET, socket.AF_INET6):
            host, port = sock.getsockname()[:2]  # which may be every interface: then it is this host's own
            return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    return ""


def start(url: str, address: str, timeout: float, *, alive: float = inf) -> None:
    """Ask `url` in a process of its own until it answers, and tell NOTIFY_SOCKET `address`.

    With `alive` nobody has said what is to be asked. Where it cannot be, it is enough that the program has
    been alive for so many seconds. That process is nobody's child: the program, which we become, finds no
    child that it did not start.
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
            _Probe(url, program, timeout, alive).ask(address)
        status = 0
    except OSError as error:
        _say(f"the probe of {url} failed: {error}", warning=True)
    finally:
        os._exit(status)


class _Probe:
    """One program, which is asked until it is ready."""

    def __init__(self, url: str, program: int, timeout: float, alive: float) -> None:
        self._url = url
        self._program = program
        self._begun = time.monotonic()
        self._timeout = timeout
        self._alive = alive
        self._told = 0

    def ask(self, address: str) -> None:
        """Ask until it is, and say so."""
        wait, knocks = _SOONEST, 1
        while self._age < self._timeout and os.path.exists(f"/proc/{self._program}" if CAN_LOOK else "/"):
            if self._is_ready(knocks):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mail:
                    mail.sendto(notify.write({"READY": "1", notify.PROBE: "1"}), "\0" + address[1:])
                return
            time.sleep(wait)
            wait, knocks = min(_LATEST, wait * 1.5), min(_MOST_KNOCKS, knocks + 1)

    @property
    def _age(self) -> float:
        return time.monotonic() - self._begun

    def _is_ready(self, knocks: int) -> bool:
        if not self._url:
            return self._age >= self._alive
        status = 0
        try:
            status = _answers(self._url, self._program, knocks)
        except (OSError, http.client.HTTPException) as error:
            if self._alive < inf and getattr(error, "errno", None) in _FORBIDDEN:
                _say(
                    f"nobody can knock at {self._url} here ({error}): "
                    f"the program is ready when it has been alive for {self._alive:g} s",
                    warning=True,
                )
                self._url = ""
        if status >= _BAD and status != self._told:
            self._told = status
            _say(f"{self._url} answers with status {status}, which is not ready")
        if not status and self._alive < inf and self._age > _PATIENCE and not self._told:
            self._told = 1
            _say(
                f"the program has accepted nothing at {self._url} yet, and is ready when it does; "
                f"with --ready alive it is when it has been alive for {self._alive:g} s"
            )
        return 0 < status < _BAD


def _say(text: str, *, warning: bool = False) -> None:
    sys.stderr.write(f"overseer: {'warning: ' if warning else ''}{text}\n")
    sys.stderr.flush()


def _answers(url: str, program: int, knocks: int) -> int:
    """Return the status with which the program answers; 0 where nobody does, or another generation."""
    parts = urlsplit(url)
    assert parts.hostname
    place = (parts.hostname, parts.port or 80)
    with ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection(place, timeout=_PATIENCE)) for _ in range(knocks)
        ]
        sock = _choose(socks, program)
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


def _choose(socks: list[socket.socket], program: int) -> socket.socket | None:
    """Return the first that the program, or a process below it, accepts; close those of others at once."""
    if not CAN_LOOK:
        return socks[0]
    waiting, end, wait = list(socks), time.monotonic() + _PATIENCE, _GLANCE
    while waiting and time.monotonic() < end:
        for sock in tuple(waiting):
            if inode := inode_of_peer(sock):
                if is_below(inode, program):
                    return sock
                waiting.remove(sock)
                sock.close()
        time.sleep(wait)
        wait = min(_SOONEST, wait * 1.5)
    return None
