"""The public file: a published copy of a release, replaced by one rename in its own folder.

The order is data, owner, mode, extended attributes, fsync, rename, fsync of the folder: changing the owner
clears setuid bits and file capabilities, so these come after it; and a rename that is durable before the
data is leaves an empty executable behind a power cut. At no moment is there no executable.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from overseer.store import durable
from overseer.store.layout import points_into_store
from overseer.store.ledger import Published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from overseer.store.releases import Release

    Tell = Callable[[str, str], None]

_OF_THE_CONTENT = {"security.ima", "security.evm"}
"""Attributes that sign the old bytes: on new ones they would be lies."""


def publish(release: Release, public: str, tell: Tell) -> Published:
    """Make `public` a copy of the release, with the mode, owner and attributes of the old one.

    A symbolic link into the store is flipped instead. Returns the stamp of what is there now; it is durable.
    Raises `OSError`, with the old file still in its place.
    """
    if os.path.islink(public):
        _flip(release, public)
        return stamp(release.release, os.stat(public))
    folder, name = os.path.split(public)
    temporary = os.path.join(folder, f"{_prefix(name)}{secrets.token_hex(4)}.tmp")
    target = durable.create(temporary)
    try:
        try:
            source = os.open(release.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                durable.copy(source, target)
            finally:
                os.close(source)
            _dress(target, public, tell)
            os.fsync(target)
            mark = stamp(release.release, os.fstat(target))
        finally:
            os.close(target)
        os.rename(temporary, public)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    durable.sync_folder(folder)
    return mark


def stamp(release: str, status: os.stat_result, *, by_hand: bool = False) -> Published:
    """Say what tells this file from one that is put in its place."""
    return Published(
        release=release,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
        by_hand=by_hand,
    )


def is_same(mark: Published, status: os.stat_result) -> bool:
    """Whether a file is still the one the stamp was taken of."""
    return (mark.size, mark.mtime_ns, mark.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)


def leftovers(public: str) -> Iterator[str]:
    """Find what an interrupted publish left in the public folder."""
    folder, name = os.path.split(public)
    prefix = _prefix(name)
    with suppress(OSError):
        for found in os.listdir(folder):
            if found.startswith(prefix) and found.endswith(".tmp"):
                yield os.path.join(folder, found)


def _prefix(name: str) -> str:
    return f".{name}.overseer-"


def _flip(release: Release, link: str) -> None:
    if os.path.realpath(link) == os.path.realpath(release.path):
        return  # it leads through `current`, which is right already
    if not points_into_store(link):
        raise OSError(errno.EEXIST, "it has become a symbolic link to somewhere else", link)
    target = release.path
    if not os.path.isabs(os.readlink(link)):
        target = os.path.relpath(target, os.path.realpath(os.path.dirname(link)))
    durable.replace_link(link, target)


def _dress(fd: int, public: str, tell: Tell) -> None:
    """Give a new file the owner, mode and attributes of the old one."""
    try:
        old = os.stat(public)
    except FileNotFoundError:
        os.fchmod(fd, 0o755)
        return
    mode = stat.S_IMODE(old.st_mode)
    if old.st_nlink > 1:
        tell("warning", f"{public} has {old.st_nlink} names; the others keep the old release")
    try:
        os.fchown(fd, old.st_uid, old.st_gid)
    except PermissionError:
        mode &= ~(stat.S_ISUID | stat.S_ISGID)  # these bits are worth something with their owner only
        with suppress(PermissionError):
            os.fchown(fd, -1, old.st_gid)
        tell("warning", f"{public} belongs to user {old.st_uid}; the new file belongs to user {os.geteuid()}")
    os.fchmod(fd, mode)
    _copy_attributes(fd, public, tell)


def _copy_attributes(fd: int, public: str, tell: Tell) -> None:
    """Copy access lists, labels, capabilities and users' own attributes, as far as it is permitted."""
    if not hasattr(os, "listxattr"):  # not Linux
        return
    try:
        names = os.listxattr(public)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return
    for name in names:
        if name in _OF_THE_CONTENT:
            continue
        try:
            value = os.getxattr(public, name)
            if _has(fd, name, value):
                continue
            os.setxattr(fd, name, value)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENODATA):
                raise
            tell("warning", f"the attribute {name} of {public} cannot be kept ({error.strerror})")


def _has(fd: int, name: str, value: bytes) -> bool:
    try:
        return os.getxattr(fd, name) == value
    except OSError:
        return False
