"""Descriptors that outlive a generation: put on a shelf by one, taken from it by the next."""

from __future__ import annotations

import base64
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from overseer.program.draining import Draining
    from overseer.program.link import Link

_log = logging.getLogger("overseer")

MOST_BYTES = 48 * 1024
"""Bytes that may come with one descriptor."""
OURS = "overseer-"
"""With what the names of descriptors begin that overseer itself stores: the program does not see them."""


class Stored:
    """A descriptor that an earlier generation has stored: its `name`, its `data`, and `fd`, which is ours."""

    def __init__(self, name: str, data: bytes, fd: int) -> None:
        self.name = name
        self.data = data
        self.fd = fd

    def socket(self) -> socket.socket:
        """Make a socket of it, which owns the descriptor from then on."""
        return socket.socket(fileno=self.fd)

    def __repr__(self) -> str:
        return f"<overseer.Stored {self.name!r}, {len(self.data)} bytes, descriptor {self.fd}>"


class Shelf:
    """The program's side of the master's store of descriptors; without a master nothing is kept."""

    def __init__(self, link: Link | None, draining: Draining) -> None:
        self._link = link
        self._draining = draining
        self._lock = threading.RLock()
        self._there: list[Stored] = []
        self._callbacks: list[tuple[Callable[[Stored], object], bool]] = []

    def store(self, file: Any, name: str, data: bytes) -> bool:
        """Give the master a copy of a descriptor. Raises `ValueError` for a name or data it would refuse."""
        if not (0 < len(name) <= 255 and name.isascii() and name.isprintable() and ":" not in name):
            raise ValueError(f"{name!r} is no name; use up to 255 printable ASCII letters and no colon")
        if len(data) > MOST_BYTES:
            raise ValueError(f"{len(data)} bytes are too many to come with a descriptor; {MOST_BYTES} may")
        fd = file if isinstance(file, int) else file.fileno()
        word = {"type": "store", "name": name, "data": base64.b64encode(data).decode()}
        return self._link is not None and self._link.hand(word, fd)

    def unstore(self, name: str) -> None:
        """Have the master close its copy."""
        if self._link:
            self._link.say({"type": "unstore", "name": name})

    def arrived(self, name: str, data: str, fd: int) -> None:
        """Take in what the master hands over. Once the program drains it is the next generation's."""
        with self._lock:
            if self._draining.is_set():
                os.close(fd)
                return
            stored = Stored(name, base64.b64decode(data), fd)
            self._there.append(stored)
            callbacks = [callback for callback, ours in self._callbacks if ours is _is_ours(stored)]
        for callback in callbacks:
            self._tell(callback, stored)

    def there(self) -> tuple[Stored, ...]:
        """Return what the program was handed over so far."""
        with self._lock:
            return tuple(stored for stored in self._there if not _is_ours(stored))

    def call(self, callback: Callable[[Stored], object], *, ours: bool = False) -> None:
        """Have `callback(stored)` called for each, also for those that are here already.

        For the program's; or for `ours`, which are overseer's own.
        """
        with self._lock:
            self._callbacks.append((callback, ours))
            there = [stored for stored in self._there if _is_ours(stored) is ours]
        for stored in there:
            self._tell(callback, stored)

    def _tell(self, callback: Callable[[Stored], object], stored: Stored) -> None:
        try:
            callback(stored)
        except Exception:  # noqa: BLE001 - it is the program's, and the others must be told
            _log.exception("a callback given to on_stored failed for %r; the others are called", stored.name)


def _is_ours(stored: Stored) -> bool:
    return stored.name.startswith(OURS)
