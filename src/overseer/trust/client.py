"""A client of The Update Framework: python-tuf verifies, and what it leaves to others is done here.

* A refresh has a deadline, beside the least rate that the fetcher asks for: a server that drips one byte a
  second would keep python-tuf for as long as it liked.
* What is trusted is durable before anything follows from it, and a floor of versions beside it: a power cut,
  or somebody who empties the folder, does not let the past come back. The floor of a role ends with its keys,
  as TUF says of the recovery from a version that was driven too high.
* The folder is the updater's alone: whoever works in it holds the lock of the store.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from overseer.errors import FetchError
from overseer.store import durable
from overseer.trust import terms
from overseer.trust.choose import Signed
from overseer.trust.files import MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from overseer.trust.files import Files

DEADLINE = 60.0
"""Seconds for all metadata of one look."""

_BASE = "repository:///"
_FLOOR = "floor.json"


@dataclass(frozen=True, kw_only=True)
class View:
    """What is signed now, and until when (seconds since the epoch) that may be believed."""

    targets: tuple[Signed, ...]
    until: float


def refresh(files: Files, folder: str, root: bytes) -> View:
    """Bring the trusted metadata in `folder` up to date, and return what it says.

    Raises `FetchError` for everything that is not as it must be, and `OSError`.
    """
    os.makedirs(folder, mode=0o755, exist_ok=True)
    names = _Names(files, time.monotonic() + DEADLINE)
    try:
        updater = Updater(folder, _BASE, fetcher=names, bootstrap=root)
        updater.refresh()
        targets = tuple(_targets(updater, folder))
    except exceptions.ExpiredMetadataError as error:
        raise FetchError(
            f"the signatures of the releases have expired ({_told(error)}): none is taken until they are new",
            kind="expired",
        ) from error
    except exceptions.BadVersionNumberError as error:
        text = f"an older state than before was shown, which is refused: {_told(error)}"
        raise FetchError(text, kind="refused") from error
    except exceptions.UnsignedMetadataError as error:
        text = f"what is not signed by those we trust is refused: {_told(error)}"
        raise FetchError(text, kind="refused") from error
    except exceptions.DownloadError as error:
        raise FetchError(f"the metadata of the releases cannot be had: {_told(error)}") from error
    except (exceptions.RepositoryError, ValueError) as error:
        text = f"the metadata of the releases is refused: {_told(error)}"
        raise FetchError(text, kind="refused") from error
    state = _state(folder)
    _heed_floor(folder, state)
    return View(targets=targets, until=state.until)


class _Names(FetcherInterface):
    """Files by name, for python-tuf, which knows URLs."""

    def __init__(self, files: Files, deadline: float) -> None:
        self._files = files
        self._deadline = deadline

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(_BASE)
        return self._read(name)

    def _read(self, name: str) -> Iterator[bytes]:
        try:
            for chunk in self._files.read(name):
                if time.monotonic() > self._deadline:
                    raise FetchError(f"{name} takes too long: all metadata has to come within {DEADLINE:g} s")
                yield chunk
        except MissingError as error:
            raise exceptions.DownloadHTTPError(str(error), 404) from error


def _targets(updater: Updater, folder: str) -> Iterator[Signed]:
    """Yield every target that this client may believe, its own role's and those of teams."""
    top = _load(Targets, folder, "targets")
    roles = [top]
    for name in _delegated(top):
        if updater.get_targetinfo(f"{name}-0-any") is None:  # has the role read and verified, if it is there
            with contextlib.suppress(exceptions.RepositoryError, OSError):
                roles.append(_load(Targets, folder, name))
    for role in roles:
        for path, target in role.signed.targets.items():
            known = terms.read(target.unrecognized_fields.get("custom"))
            verified = updater.get_targetinfo(path)
            digest = verified.hashes.get("sha256") if verified else None
            if known and verified and digest and verified == target:
                yield Signed(path=path, sha256=digest, size=verified.length, terms=known)


def _delegated(top: Metadata[Targets]) -> list[str]:
    found = top.signed.delegations
    return sorted(found.roles) if found and found.roles else []


@dataclass(frozen=True, kw_only=True)
class _State:
    versions: Mapping[str, tuple[int, str]]  # of each role, and by which keys it is signed
    until: float


def _state(folder: str) -> _State:
    root = _load(Root, folder, "root")
    roles: dict[str, Metadata[Root] | Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets]] = {
        "timestamp": _load(Timestamp, folder, "timestamp"),
        "snapshot": _load(Snapshot, folder, "snapshot"),
        "targets": _load(Targets, folder, "targets"),
    }
    versions = {
        name: (each.signed.version, " ".join(sorted(root.signed.roles[name].keyids)))
        for name, each in roles.items()
    }
    until = min(each.signed.expires.timestamp() for each in (root, *roles.values()))
    return _State(versions={"root": (root.signed.version, ""), **versions}, until=until)


def _heed_floor(folder: str, state: _State) -> None:
    """Refuse what is lower than what was once trusted; make all of it durable, then the new floor."""
    path = os.path.join(folder, _FLOOR)
    try:
        with open(path, "rb") as file:
            floor = json.loads(file.read())
    except (OSError, ValueError):
        floor = {}
    for name, (number, keys) in state.versions.items():
        before, by = floor.get(name, (0, ""))
        if by == keys and number < before:
            text = f"{name} {number} was shown, after {before}: an older state is refused"
            raise FetchError(text, kind="refused")
    now = {name: list(told) for name, told in state.versions.items()}
    if now != floor:
        _sync(folder)
        durable.replace_file(path, json.dumps(now).encode())


def _sync(folder: str) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            fd = os.open(os.path.join(place, name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        durable.sync_folder(place)


def _load(kind: type, folder: str, role: str) -> Metadata:  # type: ignore[type-arg]
    metadata: Metadata = Metadata.from_file(os.path.join(folder, f"{role}.json"))  # type: ignore[type-arg]
    if not isinstance(metadata.signed, kind):
        raise exceptions.RepositoryError(f"{role}.json is metadata of another type")
    return metadata


def _told(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
