"""A client of The Update Framework: python-tuf verifies, and what it leaves to others is done here.

* A refresh has a deadline, beside the least rate that the fetcher asks for: a server that drips one byte a
  second would keep python-tuf for as long as it liked.
* What is trusted is durable before anything follows from it, and a floor of versions beside it: a power cut,
  or somebody who empties the folder, does not let the past come back. The floor of a role ends with its keys,
  as TUF says of the recovery from a version that was driven too high.
* The folder is the updater's alone: whoever works in it holds the lock of the store.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from tuf.api import exceptions
from tuf.api.exceptions import StorageError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from overseer.errors import FetchError
from overseer.store import durable
from overseer.trust import terms
from overseer.trust.choose import Signed, Trouble
from overseer.trust.files import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from overseer.trust.files import Files

Asked = TypeVar("Asked")

DEADLINE = 60.0
"""Seconds for all metadata of one look."""

_BASE = "repository:///"
_FLOOR = "floor"
"""A file beside the metadata, which is all called `*.json`: no role can be called like it."""

_NONSENSE = (
    exceptions.RepositoryError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)
"""What python-tuf raises where what is signed makes no sense, and a key was in the wrong hands."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What is signed now, and until when (seconds since the epoch) that may be believed.

    `troubles` are those of teams: what one of them has signed cannot be believed, the rest can.
    """

    targets: tuple[Signed, ...]
    until: float
    troubles: tuple[Trouble, ...] = ()


def refresh(files: Files, folder: str, root: bytes) -> View:
    """Bring the trusted metadata in `folder` up to date, and return what it says.

    Raises `FetchError` for everything that is not as it must be, and `OSError`.
    """
    view, until = ask(files, folder, root, lambda updater: _look(updater, folder))
    return replace(view, until=min(until, view.until))


def ask(files: Files, folder: str, root: bytes, question: Callable[[Updater], Asked]) -> tuple[Asked, float]:
    """Bring the trusted metadata up to date; return an answer of it, and until when that may be believed.

    Raises `FetchError` for everything that is not as it must be, and `OSError`.
    """
    os.makedirs(folder, mode=0o755, exist_ok=True)
    names = _Names(files, time.monotonic() + DEADLINE)
    try:
        updater = Updater(folder, _BASE, fetcher=names, bootstrap=root)
        updater.refresh()
        answer = question(updater)
        state = _state(folder)
    except exceptions.ExpiredMetadataError as error:
        raise FetchError(
            f"the signatures of the releases have expired ({_told(error)}): none is taken until they are new",
            kind="expired",
        ) from error
    except exceptions.BadVersionNumberError as error:
        text = f"an older state than before was shown, which is refused: {_told(error)}"
        raise FetchError(text, kind="refused") from error
    except exceptions.UnsignedMetadataError as error:
        text = f"what is not signed by those we trust is refused: {_told(error)}{_unable(error)}"
        raise FetchError(text, kind="refused") from error
    except exceptions.DownloadError as error:
        raise FetchError(f"the metadata of the releases cannot be had: {_told(error)}") from error
    except _NONSENSE as error:
        text = f"the metadata of the releases is refused: {_told(error)}"
        raise FetchError(text, kind="refused") from error
    _heed_floor(folder, state)
    return answer, state.until


def _unable(error: Exception) -> str:
    """Say what this machine cannot verify: without a library that has more, a good RSA signature is none."""
    if not isinstance(error, exceptions.UnsignedMetadataError) or find_spec("cryptography"):
        return ""
    return " (here only Ed25519 can be verified; for RSA and ECDSA install cryptography)"


class _Names(FetcherInterface):
    """Files by name, for python-tuf, which knows URLs. Every role has a flat one."""

    def __init__(self, files: Files, deadline: float) -> None:
        self._files = files
        self._deadline = deadline

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._read(url.removeprefix(_BASE))

    def _read(self, name: str) -> Iterator[bytes]:
        try:
            for chunk in self._files.read(name):
                if time.monotonic() > self._deadline:
                    raise FetchError(f"{name} takes too long: all metadata has to come within {DEADLINE:g} s")
                yield chunk
        except MissingError as error:
            raise exceptions.DownloadHTTPError(str(error), 404) from error


def _look(updater: Updater, folder: str) -> View:
    """Return every target that this client may believe, its own role's and those of teams."""
    top = _load(Targets, folder, "targets")
    published = _load(Snapshot, folder, "snapshot").signed.meta
    targets, troubles, until = list(_believed(updater, folder, top)), [], top.signed.expires
    for name, patterns in _delegated(top):
        if f"{name}.json" not in published:
            continue  # a team that has signed nothing yet
        try:
            for pattern in patterns:
                updater.get_targetinfo(_like(pattern))  # has the role read and verified
            role = _load(Targets, folder, name)
            if theirs := list(_believed(updater, folder, role)):
                targets += theirs
                until = min(until, role.signed.expires)
        except StorageError:
            continue  # nobody is sent to it: another team, that comes before, has these names alone
        except (exceptions.DownloadError, *_NONSENSE) as error:
            why = f"what {name} has signed is refused: {_told(error)}{_unable(error)}"
            kind = "expired" if isinstance(error, exceptions.ExpiredMetadataError) else "refused"
            troubles.append(Trouble(patterns=tuple(patterns), why=why, kind=kind))
    return View(targets=tuple(targets), until=until.timestamp(), troubles=tuple(troubles))


def _believed(updater: Updater, folder: str, role: Metadata[Targets]) -> Iterator[Signed]:
    consistent = is_consistent(folder)
    for path, target in role.signed.targets.items():
        known = terms.read(target.unrecognized_fields.get("custom"))
        verified = updater.get_targetinfo(path)
        digest = verified.hashes.get("sha256") if verified else None
        if known and verified and digest and verified == target:
            file = file_of(path, digest if consistent else "")
            yield Signed(path=path, sha256=digest, size=verified.length, terms=known, file=file)


def is_consistent(folder: str) -> bool:
    """Tell whether files have their digests in their names, as the trusted root says."""
    return bool(_load(Root, folder, "root").signed.consistent_snapshot)


def file_of(path: str, digest: str) -> str:
    """Return the name of a target's file: a consistent snapshot has the digest before its last part."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{digest}.{name}" if digest else path


def _delegated(top: Metadata[Targets]) -> list[tuple[str, list[str]]]:
    """Return the teams that sign for names which match patterns, and these.

    Bins, which share names out by their hashes, are for repositories of another size; nothing is looked for
    in them.
    """
    found = top.signed.delegations
    return [(name, role.paths) for name, role in ((found and found.roles) or {}).items() if role.paths]


def _like(pattern: str) -> str:
    """Return a name that matches a pattern; there need be no target of that name."""
    return re.sub(r"\[([^]!])[^]]*\]", r"\1", pattern).replace("*", "0").replace("?", "0")


@dataclass(frozen=True, kw_only=True)
class _State:
    versions: Mapping[str, tuple[int, str]]  # of each role, and by which keys it is held
    until: float


def _state(folder: str) -> _State:
    root = _load(Root, folder, "root")
    roles: dict[str, Metadata[Root] | Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets]] = {
        "root": root,
        "timestamp": _load(Timestamp, folder, "timestamp"),
        "snapshot": _load(Snapshot, folder, "snapshot"),
        "targets": _load(Targets, folder, "targets"),
    }
    versions = {name: (each.signed.version, _holders(root.signed, name)) for name, each in roles.items()}
    until = min(each.signed.expires.timestamp() for each in roles.values())
    return _State(versions=versions, until=until)


def _holders(root: Root, role: str) -> str:
    """Return the keys that a floor counts for.

    When those of timestamp or snapshot are replaced, both are forgotten, and what snapshot had said of
    targets is forgotten with it (TUF specification 5.3.11).
    """
    if role == "root":
        return ""
    held = {keyid for name in {role, "timestamp", "snapshot"} for keyid in root.roles[name].keyids}
    return " ".join(sorted(held))


def _heed_floor(folder: str, state: _State) -> None:
    """Refuse what is lower than what was once trusted; make all of it durable, then the new floor."""
    path = os.path.join(folder, _FLOOR)
    floor = _read_floor(path)
    for name, (number, keys) in state.versions.items():
        before, by = floor.get(name, (0, ""))
        if by == keys and number < before:
            text = f"{name} {number} was shown, after {before}: an older state is refused"
            raise FetchError(text, kind="refused")
    if state.versions != floor:
        _sync(folder)
        durable.replace_file(path, json.dumps(state.versions).encode())


def _read_floor(path: str) -> dict[str, tuple[int, str]]:
    """Return what is known; what a disk has spoiled is not."""
    try:
        with open(path, "rb") as file:
            told = json.loads(file.read())
        return {str(name): (int(number), str(keys)) for name, (number, keys) in told.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


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
    metadata: Metadata = Metadata.from_file(os.path.join(folder, f"{quote(role, safe='')}.json"))  # type: ignore[type-arg]
    if not isinstance(metadata.signed, kind):
        raise exceptions.RepositoryError(f"{role}.json is metadata of another type")
    return metadata


def _told(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
