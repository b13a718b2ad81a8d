"""One at a time: the lock of a store, across processes.

It is an flock: the kernel lets go of it with its holder, however that ends, so there is no stale lock.
The file's content is for people only: who holds it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import time
from contextlib import suppress

from overseer.errors import StoreError

_SLICE = 0.05  # seconds between two tries while the holder lives


class StoreLockedError(StoreError):
    """Another process works with this store; `holder` says which, as far as it is known."""

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(
            f"the store {os.path.dirname(path)} is in use by {holder}; one overseer only can upgrade a "
            "binary: stop that one, or give this one a copy of its own"
        )
        self.holder = holder


def lock(path: str, *, wait: float = 0.0) -> int:
    """Take the lock and return its descriptor; whoever closes it, or ends, lets go.

    `wait` is how many seconds the present holder may still take. Raises `StoreLockedError`, and `OSError`
    where the file cannot be made.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    deadline = time.monotonic() + wait
    try:
        _take(fd, path, deadline)
        sign(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def inherited(fd: int, path: str) -> int:
    """Take over a descriptor that somebody locked and passed on; `StoreError` if it is another file's."""
    try:
        same = os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError as error:
        raise StoreError(f"the lock handed over is not that of {path}: {error}") from error
    if not same or not _try(fd):
        raise StoreError(f"the lock handed over is not that of {path}; it is not used")
    return fd  # whoever handed it over still holds it, and stands in the file


def sign(fd: int) -> None:
    """Write who holds it: for people, so a disk that is full does not matter."""
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()} {_command(os.getpid())}\n".encode(), 0)


def holder_of(path: str) -> str:
    """Say who holds the lock at `path`, for people; nothing when nobody does."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return "" if _try(fd) else _holder(fd)
    finally:
        os.close(fd)


def _take(fd: int, path: str, deadline: float) -> None:
    while not _try(fd):
        left = deadline - time.monotonic()
        if left <= 0:
            raise StoreLockedError(path, _holder(fd))
        select.select([], [], [], min(left, _SLICE))  # an flock can be waited for, but not until a time


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True


def _holder(fd: int) -> str:
    text = os.pread(fd, 4096, 0).decode(errors="replace").strip()
    pid, _, command = text.partition(" ")
    return f"process {pid} ({command})" if pid.isdecimal() else "another process"


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(2000).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "overseer"
