"""Where a store is, and what is where in it.

    <store>/                         beside the binary (.NAME.overseer/), or under $STATE_DIRECTORY
      lock  state.json  history
      staging/<random>/              downloads on their way; wiped at start, but for what can be resumed
      versions/<version>-<sha12>/    the release, release.json, its own caches; immutable
      current -> versions/...        for people and scripts; derived from state.json

Everything is decided here before anything is downloaded: whether there is a place at all, whether the
public file can be replaced, and which file that is when the binary is named by a symbolic link.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from overseer.errors import StoreError
from overseer.store import durable

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True)
class Layout:
    """The paths of one store.

    `public` is the file people start the program by, as it is replaced: with symbolic links resolved, unless
    the last of them points into the store, for then the link itself is what is replaced. `publishes` is
    whether it can be replaced at all; when not, new releases run from the store and the file stays.
    """

    root: str
    public: str
    publishes: bool = True

    @property
    def name(self) -> str:
        """The file name of the binary, which every release of it keeps."""
        return os.path.basename(self.public)

    @property
    def lock(self) -> str:
        """Held by whoever works with the store."""
        return os.path.join(self.root, "lock")

    @property
    def state(self) -> str:
        """The truth."""
        return os.path.join(self.root, "state.json")

    @property
    def stopped(self) -> str:
        """The note of a master whose release on probation ended without a fault: `stopped` or `done`."""
        return os.path.join(self.root, "stopped")

    @property
    def history(self) -> str:
        """For people."""
        return os.path.join(self.root, "history")

    @property
    def staging(self) -> str:
        """What may be lost."""
        return os.path.join(self.root, "staging")

    @property
    def versions(self) -> str:
        """What may not."""
        return os.path.join(self.root, "versions")

    @property
    def current(self) -> str:
        """The link to the current release."""
        return os.path.join(self.root, "current")


def folder_name(release: str, version: str) -> str:
    """Return the name of a release's folder: its version, as far as file names allow, and its digest."""
    safe = _UNSAFE.sub("_", version).strip("._")[:64] or "release"
    return f"{safe}-{release[:12]}"


def place(binary: str, environ: Mapping[str, str]) -> Layout:
    """Decide where the store of `binary` is, and make its folder. Raises `StoreError` when there is no place.

    Where there is one already; else beside the binary if that folder can be written, since only then the
    binary can be replaced; else in the first folder of $STATE_DIRECTORY, which systemd sets for
    `StateDirectory=`. A full disk is no reason to move.
    """
    found = existing(binary, environ)
    if found is not None:
        _make(found.root, found.public)
        return replace(found, publishes=not why_not_replaceable(found.public))
    public = public_path(binary)
    if not os.path.isfile(public):
        raise StoreError(f"{binary} is no file, so there is nothing to upgrade")
    beside, elsewhere = _candidates(public, environ)
    obstacle = why_not_replaceable(public)
    if not obstacle:
        _make(beside, public)
        return Layout(beside, public)
    if not elsewhere:
        raise StoreError(
            f"{public} cannot be upgraded: {obstacle}, and $STATE_DIRECTORY names no other place; "
            "restarts work, upgrades are off"
        )
    try:
        _make(elsewhere, public)
        _probe(elsewhere)
    except OSError as error:
        raise StoreError(
            f"{public} cannot be upgraded: {obstacle}, and {elsewhere} cannot be written "
            f"({error.strerror}); restarts work, upgrades are off"
        ) from error
    return Layout(elsewhere, public, publishes=False)


def existing(binary: str, environ: Mapping[str, str]) -> Layout | None:
    """Find the store that `binary` has already, writing nothing; None when it has none."""
    public = public_path(binary)
    for root in _candidates(public, environ):
        if root and os.path.exists(os.path.join(root, "state.json")):
            return Layout(root, public)
    return None


def _candidates(public: str, environ: Mapping[str, str]) -> tuple[str, str]:
    folder, name = os.path.split(public)
    state = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    elsewhere = os.path.join(state, f"{name}.overseer") if os.path.isabs(state) else ""
    return os.path.join(folder, f".{name}.overseer"), elsewhere


def public_path(binary: str) -> str:
    """Follow the symbolic links of `binary`, but never into a store: there the link itself is public."""
    path = os.path.abspath(binary)
    for _ in range(40):  # as many links as the kernel follows
        if not os.path.islink(path):
            break
        target = os.path.join(os.path.dirname(path), os.readlink(path))
        if points_into_store(path):
            break
        path = os.path.abspath(target)
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def points_into_store(link: str) -> bool:
    """Whether this symbolic link leads to a release in a store of ours."""
    target = os.path.join(os.path.realpath(os.path.dirname(link)), os.readlink(link))
    parts = os.path.normpath(target).split(os.sep)
    roots = [i for i, part in enumerate(parts) if part.endswith(".overseer")]
    return any(parts[i + 1 : i + 2] in (["versions"], ["current"]) for i in roots)


def why_not_replaceable(public: str) -> str:
    """Say what keeps a file from being replaced by a rename in its folder; nothing when nothing does."""
    folder, us = os.path.dirname(public), os.geteuid()
    above = os.stat(folder)
    status = os.lstat(public) if os.path.lexists(public) else above
    if above.st_mode & stat.S_ISVTX and us not in (0, status.st_uid, above.st_uid):
        return f"{folder} lets only the owner of a file replace it"
    try:
        _probe(folder, os.path.basename(public))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # which pass
            return f"{folder} cannot be written ({error.strerror})"
    return ""


def can_execute(folder: str) -> bool:
    """Whether files in this folder may be executed, as far as its file system is mounted so."""
    return not os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0)


def _probe(folder: str, name: str = "") -> None:
    """Make and remove a file: permission bits know nothing of read-only mounts, sandboxes and attributes."""
    path = os.path.join(folder, f".{name}.overseer-{secrets.token_hex(4)}.tmp")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    finally:
        with suppress(OSError):
            os.unlink(path)
    os.close(fd)


def _make(root: str, public: str) -> None:
    """Make the folder of the store; refuse one that somebody else could have filled."""
    with suppress(FileExistsError):
        os.mkdir(root, 0o755)
        durable.sync_folder(os.path.dirname(root))
    status = os.lstat(root)
    trusted = {0, os.geteuid(), os.stat(public).st_uid}
    if not stat.S_ISDIR(status.st_mode):
        raise StoreError(f"{root} is no folder; move it away, the store of releases belongs there")
    if status.st_uid not in trusted or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreError(
            f"{root} can be written by others than its owner or belongs to user {status.st_uid}; "
            "what is in it could be anybody's, so it is not used"
        )
