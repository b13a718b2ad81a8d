"""What is on its way into the store: folders that may be lost, and one download that can be resumed.

An interrupted download is kept with the validators it came with, its size and its digest so far. After a
power cut a file can have its length without its bytes, so what waits here is believed only as far as its
note, written after an fsync, says, and only if the digest of it is still right.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.errors import StoreError
from overseer.store import durable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overseer.store.layout import Layout

_PARTIAL = "partial"
_DATA = "download"
_NOTE = "partial.json"

MARGIN = 16 << 20
"""Bytes that must stay free: the ledger has to be written whatever happens."""


@dataclass(frozen=True)
class Waiting:
    """A download that can be resumed: `size` bytes of the offer known by `seen`, with the digest `sha256`."""

    folder: str
    size: int
    sha256: str
    seen: Mapping[str, str]

    @property
    def path(self) -> str:
        """Where its bytes are."""
        return os.path.join(self.folder, _DATA)


def new_folder(layout: Layout) -> str:
    """Make a folder for a release on its way. Raises `OSError`."""
    folder = os.path.join(layout.staging, secrets.token_hex(8))
    os.mkdir(folder, 0o700)
    return folder


def begin(layout: Layout) -> tuple[str, int]:
    """Begin a download: return its folder and the descriptor its bytes go to. There is one at a time."""
    drop(layout)
    folder = os.path.join(layout.staging, _PARTIAL)
    os.mkdir(folder, 0o700)
    return folder, durable.create(data_path(folder))


def data_path(folder: str) -> str:
    """Return where in its folder the bytes of a download are."""
    return os.path.join(folder, _DATA)


def keep(folder: str, fd: int, *, size: int, sha256: str, seen: Mapping[str, str]) -> None:
    """Note what has arrived so far, so that it can be resumed. `fd` is its file. Raises `OSError`."""
    os.fsync(fd)
    text = json.dumps({"size": size, "sha256": sha256, "seen": dict(seen)}).encode()
    durable.replace_file(os.path.join(folder, _NOTE), text, mode=0o600)


def finish(folder: str) -> None:
    """A download is whole: there is nothing more to resume."""
    durable.remove(os.path.join(folder, _NOTE))


def waiting(layout: Layout) -> Waiting | None:
    """Return the download that waits, None when there is none that makes sense."""
    folder = os.path.join(layout.staging, _PARTIAL)
    try:
        with open(os.path.join(folder, _NOTE), "rb") as file:
            raw = json.load(file)
        found = Waiting(folder, int(raw["size"]), str(raw["sha256"]), dict(raw["seen"]))
        whole = found.size > 0 and os.path.getsize(found.path) >= found.size
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if whole else None


def take_up(found: Waiting) -> tuple[int, hashlib._Hash] | None:
    """Open what waits, cut to what is believed, for more to be appended; None when it is not to be believed.

    Returns the descriptor, at the end, and the running digest.
    """
    try:
        fd = os.open(found.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    sha, at = hashlib.sha256(), 0
    try:
        while at < found.size and (chunk := os.pread(fd, min(durable.CHUNK, found.size - at), at)):
            sha.update(chunk)
            at += len(chunk)
        if at == found.size and sha.hexdigest() == found.sha256:
            os.ftruncate(fd, at)
            os.lseek(fd, at, os.SEEK_SET)
            return fd, sha
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def drop(layout: Layout) -> None:
    """Throw away the download that waits."""
    durable.remove(os.path.join(layout.staging, _PARTIAL))


def wipe(layout: Layout) -> None:
    """Throw away everything but a download that can be resumed."""
    kept = _PARTIAL if waiting(layout) else ""
    for name in os.listdir(layout.staging):
        if name != kept:
            with suppress(OSError):  # what cannot be removed is in nobody's way
                durable.remove(os.path.join(layout.staging, name))


def need_room(layout: Layout, size: int) -> None:
    """Check that `size` more bytes fit, here and beside the public file. Raises `StoreError`."""
    folders = [layout.root]
    public = os.path.dirname(layout.public)
    if layout.publishes:
        if os.stat(public).st_dev == os.stat(layout.root).st_dev:
            size *= 2
        else:
            folders.append(public)
    for folder in folders:
        status = os.statvfs(folder)
        free = status.f_bavail * status.f_frsize
        if free < size + MARGIN:
            raise StoreError(
                f"{folder} has {free >> 20} MiB free and the release needs {(size + MARGIN) >> 20} MiB; "
                "nothing was downloaded"
            )
