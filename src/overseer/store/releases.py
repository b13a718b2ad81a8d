"""The releases on disk: `versions/<version>-<sha12>/`, immutable once they are there.

A folder comes into `versions` by one rename, complete and durable, and leaves it by one rename as well, so
what stands there is whole. Its `release.json` says what it is; only the version in it may be learned later.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from overseer.errors import StoreError
from overseer.store import durable
from overseer.store.layout import Layout, folder_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

NOTE = "release.json"


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release in the store.

    `release` is its SHA-256 in hexadecimal, `folder` where it stands, `name` the file in it that is started,
    `size` that file's bytes, `kind` what it is (see the updater's kinds), `version` what it says of itself,
    `origin` where it came from, for people.
    """

    release: str
    folder: str
    name: str
    size: int
    kind: str = ""
    version: str = ""
    origin: str = ""

    @property
    def path(self) -> str:
        """What a generation is started from: never through a link."""
        return os.path.join(self.folder, self.name)

    @property
    def caches(self) -> str:
        """A folder for what this release unpacks for itself; it goes when the release goes."""
        return os.path.join(self.folder, "caches")


def note(release: Release) -> bytes:
    """Write what `release.json` holds."""
    fields = asdict(release)
    del fields["folder"]
    return json.dumps(fields, indent=1).encode() + b"\n"


def add(layout: Layout, staged: str, release: Release) -> Release:
    """Move a staged folder, complete but for its note, into `versions`. It is durable on return."""
    home = os.path.join(layout.versions, folder_name(release.release, release.version))
    release = replace(release, folder=home)
    durable.replace_file(os.path.join(staged, NOTE), note(release))
    os.chmod(staged, 0o755)  # noqa: S103 - what is started is no secret, and others may have to start it
    for old in list(_folders(layout, release.release)):  # left by an attempt that went no further
        _refuse_namesake(old, release.release)
        discard(layout, old)
    durable.sync_folder(staged)
    os.rename(staged, release.folder)
    durable.sync_folder(layout.versions)
    durable.sync_folder(layout.staging)
    return release


def named(release: Release, version: str) -> Release:
    """Note the version a release says it has."""
    if version == release.version:
        return release
    release = replace(release, version=version)
    durable.replace_file(os.path.join(release.folder, NOTE), note(release))
    return release


def find(layout: Layout, digest: str) -> Release | None:
    """Return a release by its digest, None when it is not here or its folder makes no sense."""
    for folder in _folders(layout, digest):
        try:
            with open(os.path.join(folder, NOTE), "rb") as file:
                raw = json.load(file)
            release = Release(folder=folder, **raw)
        except (OSError, ValueError, TypeError, RecursionError):
            continue
        whole = isinstance(release.name, str) and os.path.basename(release.name) == release.name
        if whole and release.release == digest and isinstance(release.size, int):
            return release
    return None


def is_whole(release: Release, *, doubt: bool) -> bool:
    """Whether all its bytes are there: by their number, and when in doubt by their digest."""
    try:
        if os.stat(release.path, follow_symlinks=False).st_size != release.size:
            return False
        return not doubt or durable.digest_of_path(release.path) == release.release
    except OSError:
        return False


def collect(layout: Layout, keep: Collection[str]) -> list[str]:
    """Remove every release whose digest is not in `keep`; return the names of the folders that went."""
    kept = {digest[:12] for digest in keep}
    gone = [name for name in _names(layout) if name.rpartition("-")[2] not in kept]
    for name in gone:
        discard(layout, os.path.join(layout.versions, name))
    return gone


def discard(layout: Layout, folder: str) -> None:
    """Remove a folder from `versions`: out of sight by one rename, so that no half of it is ever there.

    A straggler may still write into its caches; then the rest of it goes with the next start.
    """
    doomed = os.path.join(layout.staging, f"gone-{secrets.token_hex(4)}")
    os.rename(folder, doomed)
    with suppress(OSError):
        durable.remove(doomed)


def mode_for(public: str) -> int:
    """Return the mode of a release's file: read and executed by whom the public file is, written by none."""
    try:
        mode = os.stat(public).st_mode & 0o555
    except OSError as error:
        raise StoreError(f"{public} has gone: {error.strerror}") from error
    readers = mode & 0o444
    return mode | readers >> 2 | 0o500


def _refuse_namesake(folder: str, digest: str) -> None:
    """Twelve digits name a folder; two releases that share them could be made on purpose."""
    try:
        with open(os.path.join(folder, NOTE), "rb") as file:
            found = json.load(file)["release"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return
    if found != digest:
        raise StoreError(f"release {digest} begins like {found}, which is in the store; it is not taken")


def _folders(layout: Layout, digest: str) -> Iterator[str]:
    ending = f"-{digest[:12]}"
    return (os.path.join(layout.versions, name) for name in _names(layout) if name.endswith(ending))


def _names(layout: Layout) -> list[str]:
    try:
        return sorted(os.listdir(layout.versions))
    except FileNotFoundError:
        return []
