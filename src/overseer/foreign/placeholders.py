"""What stands for a listener in a command line: `{fd:web}`, `{port:web}`, `{host:web}`, and others.

A name is that of an address (`web=127.0.0.1:80`, or what overseer made of it) or its place in the list, from
0; without one the first is meant. What is in braces and is none of these is left as it is: the program's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from overseer import addresses
from overseer.errors import ConfigError

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

FIRST_FD = 3
"""SD_LISTEN_FDS_START, sd_listen_fds(3)."""

_WANTED = re.compile(r"\{(fd|port|host|generation|worker)(?::([A-Za-z0-9_.-]+))?\}")


def check(text: str, listens_on: Sequence[str]) -> None:
    """Raise `ConfigError` where a text asks for a listener that there is not."""
    for kind, name in _WANTED.findall(text):
        if kind in ("fd", "port", "host"):
            _index(name, names(listens_on), f"{{{kind}{':' if name else ''}{name}}}")


def fill(text: str, socks: Sequence[socket.socket], known: Sequence[str], told: Mapping[str, str]) -> str:
    """Put in what is meant: `socks` in the order of their descriptors, with their names `known`."""

    def put(found: re.Match[str]) -> str:
        kind, name = found[1], found[2] or ""
        if kind in told:
            return told[kind]
        at = _index(name, known, found[0])
        if kind == "fd":
            return str(FIRST_FD + at)
        place = socks[at].getsockname()
        if not isinstance(place, tuple):
            raise ConfigError("command", f"{found[0]}: {known[at]} is a Unix socket, which has no {kind}")
        return str(place[1] if kind == "port" else place[0])

    return _WANTED.sub(put, text)


def names(listens_on: Sequence[str]) -> list[str]:
    """Return what the listeners are called, in order, as LISTEN_FDNAMES has it."""
    return [addresses.parse(text).name for text in listens_on]


def _index(name: str, known: Sequence[str], text: str) -> int:
    if name in known:
        return known.index(name)
    at = int(name) if name.isdecimal() else 0
    if at >= len(known) or (name and not name.isdecimal()):
        there = ", ".join(known) or "none; give one with --address"
        raise ConfigError("command", f"{text}: there is no such listener; there are: {there}")
    return at
