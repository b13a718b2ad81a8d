"""What a repository says now, verified as a client would, but for the dates: what has expired can be renewed.

root.json here -> 2.root.json, 3.root.json ... -> timestamp.json -> N.snapshot.json -> N.targets.json ...
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from overseer.errors import PublishError
from overseer.publish.places import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from securesystemslib.signer import Key
    from tuf.api.metadata import MetaFile, Role

    from overseer.publish.places import Place

    Signing = tuple[str, Role, Mapping[str, Key]]
    """A role's name, how many of which keys it wants, and all keys by id."""

TOP = ("root", "timestamp", "snapshot", "targets")
"""The roles that every repository has."""

_Part = TypeVar("_Part", Timestamp, Snapshot, Targets)


@dataclass(frozen=True, kw_only=True)
class View:
    """One consistent state. `targets` is by role: the one called targets, and those it delegates to."""

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Mapping[str, Targets]
    raw: Mapping[str, bytes] = field(repr=False)

    def signing(self, role: str) -> Signing:
        """Say who signs for a role. Raises `PublishError` when there is no such role."""
        if role in TOP:
            return role, self.root.roles[role], self.root.keys
        for parent in self.targets.values():
            delegations = parent.delegations
            if delegations and delegations.roles and role in delegations.roles:
                return role, delegations.roles[role], delegations.keys
        raise PublishError(f"there is no role {role}; overseer repo delegate makes one")


def climb(place: Place, trusted: bytes) -> Iterator[tuple[Metadata[Root], bytes]]:
    """Yield the trusted root and every newer one, each signed as it and the one before want it."""
    metadata = _parsed(Root, trusted, "the root of this publisher")
    _verify(metadata, metadata, "root", "the root of this publisher")
    yield metadata, trusted
    while data := place.read(f"{metadata.signed.version + 1}.root.json"):
        name = f"{metadata.signed.version + 1}.root.json"
        newer = _parsed(Root, data, name)
        if newer.signed.version != metadata.signed.version + 1:
            raise PublishError(f"{name} says that it is version {newer.signed.version}")
        _verify(metadata, newer, "root", name)
        _verify(newer, newer, "root", name)
        yield newer, data
        metadata = newer


def newest(place: Place, trusted: bytes, *, below: int | None = None) -> Metadata[Root]:
    """Return the newest root of a place, of a version lower than `below` if that is given."""
    kept = [each for each, _ in climb(place, trusted) if below is None or each.signed.version < below]
    if not kept:
        raise PublishError(f"root {below} is older than the one that this publisher trusts")
    return kept[-1]


def look(place: Place, trusted: bytes, *, below: int | None = None) -> View | None:
    """Read a repository; None when nothing was published yet. `below`: as if there were no such root yet.

    Raises `PublishError` when it is not sound.
    """
    # The timestamp first: all it speaks of was there before it, whatever is published meanwhile.
    stamp = place.read(TIMESTAMP)
    root = newest(place, trusted, below=below)
    if stamp is None:
        return None
    raw = {"timestamp": stamp}
    timestamp = _parsed(Timestamp, stamp, TIMESTAMP)
    _verify(root, timestamp, "timestamp", TIMESTAMP)
    snapshot, raw["snapshot"] = _part(Snapshot, place, root, "snapshot", timestamp.signed.snapshot_meta)
    targets: dict[str, Targets] = {}
    todo: list[tuple[str, Metadata[Root] | Metadata[Targets]]] = [("targets", root)]
    while todo:
        role, parent = todo.pop()
        meta = snapshot.signed.meta.get(f"{role}.json")
        if meta is None:
            if role in TOP:
                raise PublishError(f"the snapshot does not name {role}.json; the repository is not sound")
            continue  # a team that has published nothing yet
        found, raw[role] = _part(Targets, place, parent, role, meta)
        targets[role] = found.signed
        delegations = found.signed.delegations
        todo += [(name, found) for name in (delegations.roles or {}) if delegations] if delegations else []
    return View(
        root=root.signed, timestamp=timestamp.signed, snapshot=snapshot.signed, targets=targets, raw=raw
    )


def _part(
    kind: type[_Part],
    place: Place,
    parent: Metadata[Root] | Metadata[Targets],
    role: str,
    meta: MetaFile,
) -> tuple[Metadata[_Part], bytes]:
    """Read what a role signed, in the version that the one above names."""
    name = f"{meta.version}.{role}.json"
    data = place.read(name)
    if data is None:
        raise PublishError(f"{name} is missing; the repository is not whole: put it back from a copy")
    try:
        meta.verify_length_and_hashes(data)
    except RepositoryError as error:
        raise PublishError(f"{name} is not what was signed: {error}") from error
    metadata = _parsed(kind, data, name)
    _verify(parent, metadata, role, name)
    if metadata.signed.version != meta.version:
        raise PublishError(f"{name} says that it is version {metadata.signed.version}")
    return metadata, data


_Any = TypeVar("_Any", Root, Timestamp, Snapshot, Targets)


def _parsed(kind: type[_Any], data: bytes, name: str) -> Metadata[_Any]:
    try:
        metadata: Metadata[_Any] = Metadata.from_bytes(data)
    except RepositoryError as error:
        raise PublishError(f"{name} is no metadata: {error}") from error
    if metadata.signed.type != kind.type:
        raise PublishError(f"{name} is metadata of the type {metadata.signed.type}")
    return metadata


def _verify(parent: Metadata[Root] | Metadata[Targets], child: Metadata[_Any], role: str, name: str) -> None:
    try:
        parent.signed.verify_delegate(role, child.signed_bytes, child.signatures)
    except (RepositoryError, ValueError) as error:
        raise PublishError(f"{name} is not signed as it must be: {error}") from error
