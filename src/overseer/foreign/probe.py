"""A short-lived process that asks whether a foreign program answers, and says READY=1 for it.

Generations share their listeners, so an answer alone proves nothing: it may be the old one's. On Linux an
answer counts only if the connection was accepted by a process of this very generation, which /proc tells. Who
accepts is chance, and the old one may be quicker: each try knocks once more often than the one before. The
master does nothing meanwhile, and the probe ends with its success, with `ready_timeout`, or with the program.
"""

from __future__ import annotations

import http.client
import os
import socket
import struct
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from overseer import notify

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOONEST, _LATEST = 0.02, 0.5
"""Seconds between two tries, longer each time."""

_MOST_KNOCKS = 8
"""Connections of one try."""

_PATIENCE = 5.0
"""Seconds for one answer, and for somebody to accept."""


def start(url: str, address: str, timeout: float) -> None:
    """Ask `url` in a process of its own until it answers, and tell NOTIFY_SOCKET `address`.

    That process is nobody's child: the program, which we become, finds no child that it did not start.
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
            _ask(url, address, time.monotonic() + timeout, program)
        status = 0
    except OSError as error:
        sys.stderr.write(f"overseer: warning: the probe of {url} failed: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


def _ask(url: str, address: str, deadline: float, program: int) -> None:
    wait, knocks = _SOONEST, 1
    while time.monotonic() < deadline and os.path.exists(f"/proc/{program}" if _HAS_PROC else "/"):
        try:
            good = _answers(url, program, knocks)
        except (OSError, http.client.HTTPException):
            good = False
        if good:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mail:
                mail.sendto(notify.write({"READY": "1", notify.PROBE: "1"}), "\0" + address[1:])
            return
        time.sleep(wait)
        wait, knocks = min(_LATEST, wait * 1.5), min(_MOST_KNOCKS, knocks + 1)


def _answers(url: str, program: int, knocks: int) -> bool:
    parts = urlsplit(url)
    assert parts.hostname
    place = (parts.hostname, parts.port or 80)
    with ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection(place, timeout=_PATIENCE)) for _ in range(knocks)
        ]
        sock = next((each for each in socks if _is_ours(each, program)), None)
        if sock is None:
            return False
        if parts.scheme == "tcp":
            return True
        asked = http.client.HTTPConnection(parts.hostname, parts.port or 80)
        asked.sock = sock
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        asked.request("GET", path, headers={"User-Agent": "overseer-probe", "Connection": "close"})
        return asked.getresponse().status < 400


def _is_ours(sock: socket.socket, program: int) -> bool:
    """Wait until somebody has accepted, and tell whether it is the program or a process below it."""
    if not _HAS_PROC:
        return True
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        inode = _inode_of_peer(sock)
        if inode:
            return any(_holds(pid, inode) for pid in (program, *_below(program)))
        time.sleep(_SOONEST)
    return False


def _inode_of_peer(sock: socket.socket) -> str:
    """Return the inode of the other end, once it is accepted: before, and elsewhere, there is none."""
    table = "tcp6" if sock.family == socket.AF_INET6 else "tcp"
    here, there = sock.getsockname(), sock.getpeername()
    mine, theirs = _as_kernel(here), _as_kernel(there)
    for name in {table, "tcp6"}:  # an IPv4 connection to a listener of both is in the second
        with open(f"/proc/net/{name}", encoding="ascii") as lines:
            for line in lines:
                fields = line.split()
                if len(fields) > 9 and (_tail(fields[1]), _tail(fields[2])) == (theirs, mine):
                    return fields[9] if fields[9] != "0" else ""
    return ""


def _as_kernel(place: tuple[str, int]) -> str:
    """Return an address as /proc/net/tcp ends: four bytes in the machine's order, and the port."""
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    (word,) = struct.unpack("=I", socket.inet_pton(family, place[0])[-4:])
    return f"{word:08X}:{place[1]:04X}"


def _tail(field: str) -> str:
    return field[-13:]


def _holds(pid: int, inode: str) -> bool:
    wanted = f"socket:[{inode}]"
    try:
        return any(_link(f"/proc/{pid}/fd/{fd}") == wanted for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _below(pid: int) -> Iterator[int]:
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as listing:
                found = [int(child) for child in listing.read().split()]
            for child in found:
                yield child
                yield from _below(child)
    except OSError:
        return


_HAS_PROC = os.path.exists("/proc/self/fd")
