"""A file on this machine as a source: copy a new build over it, and it is taken.

A copy in progress is never offered: two looks, at least `SETTLE` seconds apart, must agree on the file's
time, size and inode, and the bytes that are read must still be those of that file when the last is read.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from overseer.errors import ConfigError, FetchError
from overseer.fetcher.offer import CHUNK, Download, LookAgain, Offer, Partial
from overseer.fetcher.options import check_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SETTLE = 0.25
"""Seconds between two looks that must agree before a file counts as whole."""

PATIENCE = 5.0
"""Seconds of change after which a file that never settles is said to be an error."""


@dataclass
class File:
    """Watch the file at `path`; look every `interval` seconds.

    `path` may be relative (to the working folder) and may be a symbolic link: what it points to is watched.
    A file that is missing or empty is no release and no error. `clock` is for tests.
    Raises `ConfigError` for an empty path or an interval that is not positive.
    """

    path: str | os.PathLike[str]
    interval: float = 1.0
    clock: Callable[[], float] = field(default=time.monotonic, kw_only=True, repr=False, compare=False)
    _last: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _since: float = field(default=0.0, init=False, repr=False, compare=False)
    _restless: float | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not os.fspath(self.path):
            raise ConfigError("path", "is empty; name the file to watch")
        check_time("interval", self.interval)

    def latest(self, seen: Mapping[str, str] | None) -> Offer | LookAgain | None:
        """Offer the file when it is another one than `seen` and two looks agree on it."""
        found = identity(self.path)
        now = self.clock()
        folder = os.path.dirname(os.fspath(self.path)) or "."
        if found is None and not os.path.isdir(folder):  # a slip in the path, or a share that is not mounted
            raise FetchError(f"there is no folder {folder}, where a release is looked for")
        if found is None or found == seen:
            self._restless = None
            return None
        if found != self._last:
            self._last, self._since = found, now
            if self._restless is None:
                self._restless = now
            elif now - self._restless >= PATIENCE:
                self._restless = None
                raise FetchError(
                    f"{os.fspath(self.path)} has been changing for {PATIENCE:g} seconds; "
                    "it is looked at again later. Copy beside it and rename to replace it at once"
                )
            return LookAgain(after=SETTLE, reason="the file may still be written")
        if now - self._since < SETTLE:
            return LookAgain(after=SETTLE - (now - self._since), reason="the file may still be written")
        self._restless = None
        return offer_of(self.path, found, found)


def identity(path: str | os.PathLike[str]) -> dict[str, str] | None:
    """Say what tells the file at `path` from another one; None when it is missing or empty.

    Raises `FetchError` when it cannot be looked at or is not a regular file.
    """
    try:
        # Opened, not only looked at: over NFS that is what refreshes the attributes, and a file that may
        # not be read is told now instead of at every download.
        with open(path, "rb", opener=_open_without_waiting) as file:
            return _identity(file.fileno(), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FetchError(f"{os.fspath(path)} cannot be read: {error.strerror or error}") from error


def offer_of(path: str | os.PathLike[str], found: Mapping[str, str], seen: Mapping[str, str]) -> Offer:
    """Offer the file at `path`, which was found to be `found`; `seen` is what is remembered of it."""

    def start(partial: Partial | None) -> Download:
        del partial  # reading a local file again costs less than proving that it is still the same one
        return Download(0, _read(path, found))

    return Offer(
        seen=seen,
        open=start,
        name=os.path.basename(os.fspath(path)),
        size=int(found["size"]),
    )


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(
        path, flags | os.O_NONBLOCK | os.O_NOCTTY
    )  # a FIFO in the place of the file must not hang us


def _identity(descriptor: int, path: str | os.PathLike[str]) -> dict[str, str] | None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise FetchError(f"{os.fspath(path)} is not a regular file; a release must be one")
    if not status.st_size:
        return None
    return {
        "mtime_ns": str(status.st_mtime_ns),
        "size": str(status.st_size),
        "inode": str(status.st_ino),
    }


def _read(path: str | os.PathLike[str], found: Mapping[str, str]) -> Iterator[bytes]:
    try:
        with closing(open(path, "rb", buffering=0, opener=_open_without_waiting)) as file:
            if _identity(file.fileno(), path) != found:
                raise FetchError(f"{os.fspath(path)} changed before it was read; it is looked at again later")
            left = int(found["size"])
            while chunk := file.read(min(CHUNK, left)) if left else b"":
                left -= len(chunk)
                yield chunk
            if left or _identity(file.fileno(), path) != found:
                raise FetchError(f"{os.fspath(path)} changed while it was read; it is looked at again later")
    except OSError as error:
        raise FetchError(f"{os.fspath(path)} cannot be read: {error.strerror or error}") from error
