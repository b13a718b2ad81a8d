"""Roots: who signs for what, and how that changes without a moment in which a client is lost.

A new root counts from the moment its file is there, so it is written last: before it, all that the old keys
signed is signed by old and new ones together, which clients of either root take. Only where an old key is
gone must the root come first; then clients wait from there to the new timestamp.

A root that several people sign travels between them as a file: `draft`, then `countersign` by each, then
`adopt`.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from overseer.errors import PublishError
from overseer.publish.ring import data_of
from overseer.publish.view import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Key

    from overseer.publish.ring import Ring


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be different: keys by role to add, key ids by role to drop, thresholds by role."""

    add: Mapping[str, Sequence[Key]] = field(default_factory=dict)
    drop: Mapping[str, Sequence[str]] = field(default_factory=dict)
    thresholds: Mapping[str, int] = field(default_factory=dict)


def draft(now: Root, wish: Wish, *, expires: datetime) -> Root:
    """Return the next root. Raises `PublishError` when it could not be used."""
    new = deepcopy(now)
    new.version += 1
    new.expires = expires
    for role in (*wish.add, *wish.drop, *wish.thresholds):
        if role not in TOP:
            raise PublishError(f"{role} is none of the roles {', '.join(TOP)}")
    for role, keys in wish.add.items():
        for key in keys:
            new.add_key(key, role)
    for role, dropped in wish.drop.items():
        for name in dropped:
            new.revoke_key(_whole_id(new, role, name), role)
    for role, threshold in wish.thresholds.items():
        new.roles[role].threshold = threshold
    for role, terms in new.roles.items():
        if not 1 <= terms.threshold <= len(terms.keyids):
            raise PublishError(f"{role} would want {terms.threshold} signatures of {len(terms.keyids)} keys")
    return new


def _whole_id(root: Root, role: str, name: str) -> str:
    found = [keyid for keyid in root.roles[role].keyids if keyid.startswith(name)]
    if len(found) != 1:
        there = ", ".join(keyid[:12] for keyid in root.roles[role].keyids)
        raise PublishError(f"{name} names {len(found)} keys of {role}; there are {there}")
    return found[0]


def expiry(now: datetime, days: int) -> datetime:
    """Return when something that is signed now expires."""
    return (now + timedelta(days=days)).replace(microsecond=0)


# -- a file that is passed around ----------------------------------------------------------------------------


def read(data: bytes) -> Metadata[Root]:
    """Read a root, signed or not. Raises `PublishError`."""
    try:
        metadata: Metadata[Root] = Metadata.from_bytes(data)
    except RepositoryError as error:
        raise PublishError(f"this is no root: {error}") from error
    if metadata.signed.type != Root.type:
        raise PublishError(f"this is no root, but {metadata.signed.type}")
    return metadata


def countersign(old: Root, new: Metadata[Root], ring: Ring) -> list[str]:
    """Sign with every key at hand that the old or the new root wants; return the ids of those keys.

    Raises `PublishError` when none of them is at hand.
    """
    done = []
    for root in (old, new.signed):
        for keyid in root.roles["root"].keyids:
            if ring.holds(keyid) and keyid not in done:
                new.sign(ring.signer(root.keys[keyid]), append=True)
                done.append(keyid)
    if not done:
        wanted = ", ".join(
            keyid[:12] for keyid in (*old.roles["root"].keyids, *new.signed.roles["root"].keyids)
        )
        raise PublishError(f"none of the keys that sign this is here: {wanted}; name one with --key")
    return done


def wanting(old: Root, new: Metadata[Root]) -> list[str]:
    """Say which signatures are still wanted, in sentences; none: it can be adopted."""
    said = []
    for name, root in (("the present root", old), ("the new root", new.signed)):
        result = root.get_verification_result("root", new.signed_bytes, new.signatures)
        if not result.verified:
            missing = ", ".join(keyid[:12] for keyid in result.unsigned) or "none"
            said.append(
                f"{name} wants {result.threshold} signatures and has {len(result.signed)}; "
                f"not signed by: {missing}"
            )
    return said


def differences(old: Root, new: Root) -> Iterator[str]:
    """Say in sentences what a new root changes: what a person should know before signing it."""
    yield f"root {old.version} becomes {new.version}, valid until {new.expires:%Y-%m-%d}"
    for role in TOP:
        before, after = old.roles[role], new.roles[role]
        for keyid in after.keyids:
            if keyid not in before.keyids:
                yield f"{role}: key {keyid[:12]} comes"
        for keyid in before.keyids:
            if keyid not in after.keyids:
                yield f"{role}: key {keyid[:12]} goes"
        if before.threshold != after.threshold:
            yield f"{role}: {before.threshold} signatures become {after.threshold}"


def written(new: Metadata[Root]) -> bytes:
    """Return a root as it is written."""
    return data_of(new)
