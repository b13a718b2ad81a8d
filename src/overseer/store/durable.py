"""Files that survive a power cut: the few system calls everything in the store is written with.

Without fsync before the rename, ext4 (noauto_da_alloc) and xfs came back from a power cut with an empty
file under the new name; without fsync of the folder the rename itself is not there. So: a temporary file
in the same folder, its bytes, fsync, rename, fsync of the folder; in this order, everywhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat

CHUNK = 1 << 20
"""Bytes read or copied at once."""

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file (btrfs, xfs); copied when written
_NO_RANGE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
_NO_REFLINK = {*_NO_RANGE, errno.ENOTTY}


def create(path: str, mode: int = 0o600) -> int:
    """Make a file that was not there and return its descriptor, open for writing and closed on exec."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, mode)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of it, in as many calls as it takes."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def replace_file(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file whole: at every instant, and after every crash, it is the old one or the new one."""
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    fd = create(temporary)
    try:
        try:
            write_all(fd, data)
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(path))


def replace_link(path: str, target: str) -> None:
    """Point a symbolic link somewhere else in one rename."""
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    os.symlink(target, temporary)
    try:
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(path))


def set_mode(path: str, mode: int) -> None:
    """Change the mode of a file, durably."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def copy(source: int, target: int) -> None:
    """Copy a whole file, by sharing its blocks where the file system can; never by a second name for it.

    A hard link would be quicker, but whoever then writes over the one file in place writes into the other.
    """
    if _reflink(source, target):
        return
    left = os.fstat(source).st_size
    while left > 0:
        copied = _copy_range(source, target, left)
        if copied is None:  # the kernel cannot do it between these two: from here on by hand
            while chunk := os.read(source, CHUNK):
                write_all(target, chunk)
            return
        if not copied:  # it became shorter meanwhile
            return
        left -= copied


def _reflink(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
        return False
    return True


def _copy_range(source: int, target: int, size: int) -> int | None:
    if not hasattr(os, "copy_file_range"):  # not Linux
        return None
    try:
        return os.copy_file_range(source, target, min(size, 1 << 30))
    except OSError as error:
        if error.errno not in _NO_RANGE:
            raise
        return None


def digest_of(fd: int) -> str:
    """Return the SHA-256 of a whole file, in hexadecimal."""
    sha = hashlib.sha256()
    at = 0
    while chunk := os.pread(fd, CHUNK, at):
        sha.update(chunk)
        at += len(chunk)
    return sha.hexdigest()


def digest_of_path(path: str) -> str:
    """Return the SHA-256 of the file at `path`, in hexadecimal."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return digest_of(fd)
    finally:
        os.close(fd)


def remove(path: str) -> None:
    """Remove a file or a whole folder; what is not there is removed already. Links are not followed."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
