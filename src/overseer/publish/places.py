"""Where a repository is kept: one flat folder of files, here or elsewhere.

Every name but `timestamp.json` is written once and never changed, so that whoever reads an older state is
not disturbed; and `timestamp.json` is replaced last and in one piece, only if it is still what was read
before. So a publisher may be killed at any point, and two may work at once: one of them begins again.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from overseer.errors import PublishError
from overseer.store import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[int], object]
    """Told how many more bytes have arrived."""

TIMESTAMP = "timestamp.json"
"""The only name whose content changes."""

MOST = 8 << 20
"""Bytes of metadata that are read; more is an error."""

_LOCK = ".lock"
_TEMPORARY = ".tmp"


class ConflictError(PublishError):
    """Somebody else published meanwhile: what was read is no longer true."""


class Place(Protocol):
    """What is asked of a place. Each raises `PublishError` when it does not answer."""

    def lock(self) -> AbstractContextManager[object]:
        """Keep other publishers out where that can be done; else they are found out at the end."""

    def read(self, name: str) -> bytes | None:
        """Return the metadata of that name, None when there is none."""

    def size(self, name: str) -> int | None:
        """Return how many bytes there are under a name, None when there are none."""

    def names(self) -> list[str]:
        """Return every name."""

    def create(self, name: str, data: bytes) -> None:
        """Write a name that was not there. Raises `ConflictError` when it was."""

    def upload(self, name: str, path: str, progress: Progress) -> None:
        """Write a file under its digest; one that is there whole is left alone."""

    def download(self, name: str, path: str) -> None:
        """Copy what is under a name to a file here."""

    def replace(self, data: bytes, was: bytes | None) -> None:
        """Replace `timestamp.json`. Raises `ConflictError` when it is no longer `was` (None: not there)."""

    def remove(self, name: str) -> None:
        """Remove a name; nothing happens when it is not there."""


def place_of(where: str, home: str) -> Place:
    """Return the place that `where` names; a relative folder is one in `home`.

    `s3://BUCKET/PREFIX` is an S3 bucket, with the credentials and the `AWS_ENDPOINT_URL` of the environment;
    `rsync:WHERE` is whatever rsync takes as a destination; all else is a folder.
    """
    if where.startswith("s3://"):
        from overseer.publish.s3 import Bucket  # noqa: PLC0415 - boto3 is an extra, and slow to import

        bucket, _, prefix = where.removeprefix("s3://").partition("/")
        return Bucket(bucket, prefix)
    if where.startswith("rsync:"):
        from overseer.publish.rsync import Mirror  # noqa: PLC0415

        return Mirror(where.removeprefix("rsync:"), os.path.join(home, "mirror"))
    return Folder(os.path.join(home, where))


class Folder:
    """A folder of this machine, or one that is mounted here."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __str__(self) -> str:
        """Show it as people write it."""
        return self.path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Wait until no other publisher of this machine works here."""
        with _explained(self.path):
            os.makedirs(self.path, mode=0o755, exist_ok=True)
            fd = os.open(self._of(_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._sweep()
            yield
        finally:
            os.close(fd)

    def _sweep(self) -> None:
        """Remove what a publisher that was killed left behind; nobody else writes now."""
        for name in os.listdir(self.path):
            if name.startswith(".") and name.endswith(_TEMPORARY):
                os.unlink(self._of(name))

    def read(self, name: str) -> bytes | None:
        """Return the metadata of that name."""
        try:
            with open(self._of(name), "rb") as file:
                data = file.read(MOST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PublishError(f"{self._of(name)} cannot be read: {error.strerror}") from error
        if len(data) > MOST:
            raise PublishError(f"{self._of(name)} is longer than metadata may be ({MOST} bytes)")
        return data

    def size(self, name: str) -> int | None:
        """Return how many bytes there are under a name."""
        try:
            return os.stat(self._of(name)).st_size
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """Return every name that is served."""
        with suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.path) if not name.startswith("."))
        return []

    def create(self, name: str, data: bytes) -> None:
        """Write a name that was not there, whole."""
        if self.size(name) is not None:
            raise ConflictError(f"{self._of(name)} is there already")
        self._write(name, lambda fd: durable.write_all(fd, data))

    def upload(self, name: str, path: str, progress: Progress) -> None:
        """Copy a file in, unless it is there."""
        if self.size(name) == os.path.getsize(path):
            return

        def fill(fd: int) -> None:
            with open(path, "rb") as file:
                while chunk := file.read(durable.CHUNK):
                    durable.write_all(fd, chunk)
                    progress(len(chunk))

        self._write(name, fill)

    def download(self, name: str, path: str) -> None:
        """Copy a file out."""
        with _explained(self._of(name)), open(self._of(name), "rb") as source, open(path, "wb") as target:
            durable.copy(source.fileno(), target.fileno())

    def replace(self, data: bytes, was: bytes | None) -> None:
        """Replace `timestamp.json`; the lock keeps it what was read."""
        if self.read(TIMESTAMP) != was:
            raise ConflictError(f"{self.path} was published to by another")
        self._write(TIMESTAMP, lambda fd: durable.write_all(fd, data))

    def remove(self, name: str) -> None:
        """Remove a name."""
        with _explained(self._of(name)), suppress(FileNotFoundError):
            os.unlink(self._of(name))

    def _write(self, name: str, fill: Callable[[int], None]) -> None:
        """Temporary file, its bytes, fsync, rename, fsync of the folder."""
        temporary = self._of(f".{name}{_TEMPORARY}")
        with _explained(self._of(name)):
            fd = durable.create(temporary)
            try:
                fill(fd)
                os.fchmod(fd, 0o644)
                os.fsync(fd)
            except BaseException:
                os.unlink(temporary)
                raise
            finally:
                os.close(fd)
            os.rename(temporary, self._of(name))
            durable.sync_folder(self.path)

    def _of(self, name: str) -> str:
        return os.path.join(self.path, name)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = " (the disk is full)" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise PublishError(f"{path} cannot be written: {error.strerror}{full}") from error
