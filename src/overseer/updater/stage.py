"""How a release comes into the store: one way, each step after the one before, and no way back.

room -> download -> size and digest -> unpack -> is it known, or held? -> what kind is it? -> durable among
the releases -> check -> version -> pre_upgrade -> on trial. Before the last step nothing is different but
for disk space; after it, the release is started and may become current.

Two ways out besides: `Refused` means that this offer is dealt with, and is remembered; an exception means
that it is not, and is offered again: a transfer that was cut, a full disk, a page that was no release.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from overseer.errors import CheckError, FetchError, StoreError
from overseer.store import Release, durable, releases, staging
from overseer.store.layout import can_execute
from overseer.updater import kinds, version
from overseer.updater.attention import Unattended
from overseer.updater.check import TIMEOUT, Checked, check
from overseer.updater.download import CHECKING, receive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from overseer.fetcher.offer import Offer
    from overseer.store import Store
    from overseer.updater.attention import Attentive
    from overseer.updater.download import Arrived


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a release has to meet.

    `max_size` and `max_unpacked` are bytes as downloaded and as stored; `check` may be turned off for
    programs that know nothing of overseer; `check_timeout` is in seconds; `attempts` are the starts on trial;
    `interpreter` is what starts Python releases (default: this one with its flags) and `arguments` are the
    user's own, which the check gets as well. `version` is what was signed of it, and what it has to say of
    itself if it says anything.
    """

    max_size: int = 2 << 30
    max_unpacked: int = 4 << 30
    check: bool = True
    check_timeout: float = TIMEOUT
    allow_downgrade: bool = False
    attempts: int = 3
    interpreter: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    version: str = ""


class _OtherVersionError(CheckError):
    """A release is not the version that it was signed as: the fault of who signed it, not of its bytes."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A release on trial: its digest, what to execute without the user's arguments, and its environment."""

    release: str
    argv: list[str]
    version: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An offer that came to nothing and is not looked at again. `known`: because we have it already."""

    reason: str
    release: str = ""
    known: bool = False


def stage(
    offer: Offer,
    *,
    store: Store,
    terms: Terms,
    pre_upgrade: Callable[[str], object] | None = None,
    attention: Attentive | None = None,
) -> Staged | Refused:
    """Bring one offer into the store and put it on trial.

    `pre_upgrade` gets the path of the stored release, once it has passed its check; an exception refuses it.
    Raises `FetchError` and `StoreError` when the same offer may do another time, and what `attention` raises.
    """
    attention = attention or Unattended()
    early = _refuse_early(offer, store, terms)
    if early:
        store.saw(offer.seen)
        return early
    try:
        arrived = receive(
            offer,
            store.layout,
            attention,
            max_size=terms.max_size,
            max_unpacked=terms.max_unpacked,
            tell=store.tell,
            base_of=lambda digest: _base(store, digest),
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            staging.drop(store.layout)  # it can be had again; the room is needed
        raise StoreError(f"the release cannot be stored: {error}") from error
    try:
        return _judge(offer, arrived, store=store, terms=terms, pre_upgrade=pre_upgrade, attention=attention)
    except OSError as error:
        raise StoreError(f"the release cannot be stored: {error}") from error
    finally:
        with suppress(OSError):
            durable.remove(arrived.folder)


# -- before anything is downloaded -------------------------------------------------------------------------


def _refuse_early(offer: Offer, store: Store, terms: Terms) -> Refused | None:
    """What the offer says of itself may be enough; and there must be room for it."""
    if offer.digest and (known := _known(store, offer.digest.lower())):
        return known
    if passed := _pinned(store, (offer.digest or "").lower(), offer.version or ""):
        return passed
    if offer.version and (reason := _too_old(store, offer.version, terms)):
        return Refused(reason=reason)
    if offer.size is not None and offer.size > terms.max_size:
        raise FetchError(
            f"the release has {offer.size} bytes and the limit is {terms.max_size}", permanent=True
        )
    current = store.find(store.ledger.current)
    staging.need_room(store.layout, offer.size or (current.size if current else 0))
    if current and not can_execute(store.layout.root):
        kind = kinds.named(current.kind, current.path)
        if not kind.interpreted:
            raise StoreError(
                f"{store.layout.root} is mounted noexec, so a release of kind {kind.name} cannot run"
            )
    return None


def _known(store: Store, digest: str) -> Refused | None:
    ledger = store.ledger
    if digest == ledger.current:
        return Refused(reason="it is the current release", release=digest, known=True)
    if ledger.trial and digest == ledger.trial.release:
        return Refused(reason="it is on trial already", release=digest, known=True)
    if digest in ledger.held:
        return Refused(reason=f"it is held: {ledger.held[digest]}", release=digest, known=True)
    return None


def _pinned(store: Store, digest: str, told: str, *, whole: bool = False) -> Refused | None:
    """Refuse an offer because of the release that is pinned, as far as that can be told already.

    `told` is its version. Who runs what is pinned needs nothing. `whole`: nothing more will be known of it.
    """
    pin, runs = store.ledger.pin, store.find(store.ledger.current)
    if pin is None:
        return None
    if runs is not None and pin.allows(runs.release, runs.version):
        return Refused(reason=f"{pin} is pinned, and it is what runs", release=digest, known=True)
    if (whole or (digest if pin.release else told)) and not pin.allows(digest, told):
        return Refused(reason=f"{pin} is pinned, and no other release is taken", release=digest, known=True)
    return None


def _too_old(store: Store, found: str, terms: Terms) -> str:
    highest = store.ledger.highest
    if terms.allow_downgrade or not found or not highest or not version.is_lower(found, highest):
        return ""
    return f"version {found} is lower than {highest}, and allow_downgrade is not set"


# -- the release -------------------------------------------------------------------------------------------


def _judge(
    offer: Offer,
    arrived: Arrived,
    *,
    store: Store,
    terms: Terms,
    pre_upgrade: Callable[[str], object] | None,
    attention: Attentive,
) -> Staged | Refused:
    """Decide about bytes that are whole."""
    known = _known(store, arrived.digest) or _pinned(store, arrived.digest, offer.version or "")
    if known:
        store.saw(offer.seen)
        return known
    try:
        kind = _kind(store, arrived)
    except kinds.NotAReleaseError as error:
        if not error.certain and not offer.digest:
            # A proxy's page, or half a file: it gives way to the release some day, so it is not remembered.
            raise FetchError(f"what was downloaded is no release: {error}") from error
        store.hold(arrived.digest, str(error), seen=offer.seen)
        return Refused(reason=str(error), release=arrived.digest)
    release = _add(offer, store, arrived, kind)
    try:
        attention.progress(CHECKING, offer.name)
        told = replace(terms, version=offer.version or "" if offer.signed else "")
        release = _prove(release, kind, store, told, pre_upgrade, attention)
        if passed := _pinned(store, release.release, release.version, whole=True):
            raise _OtherVersionError(passed.reason)  # noqa: TRY301 - it goes the same way
    except _OtherVersionError as error:  # not held: the same bytes may be signed again, as what they are
        store.saw(offer.seen)
        store.discard(release)
        return Refused(reason=str(error), release=release.release)
    except CheckError as error:
        if release.release in store.ledger.previous:  # an old one, offered once more: it stays the way back
            store.saw(offer.seen)
            return Refused(reason=str(error), release=release.release)
        store.hold(release.release, str(error), seen=offer.seen)
        store.discard(release)
        return Refused(reason=str(error), release=release.release)
    attention.attend()
    store.begin(release.release, attempts=terms.attempts, seen=offer.seen)
    return staged(release, terms)


def take_hand(
    *,
    store: Store,
    terms: Terms,
    pre_upgrade: Callable[[str], object] | None = None,
    attention: Attentive | None = None,
) -> Staged | Refused | None:
    """Put a public file that was replaced by hand on trial, like any other release; None if it was not.

    Its version may be lower: the operator knows why. Raises `StoreError`, and what `attention` raises.
    """
    try:
        found = store.hand()
        if found is None:
            return None
        release, reason = found.release, ""
        try:
            kind = kinds.detect(release.path, name=store.layout.name)
            chosen = replace(terms, allow_downgrade=True)
            release = _prove(release, kind, store, chosen, pre_upgrade, attention or Unattended())
        except (CheckError, kinds.NotAReleaseError) as error:
            reason = str(error)
        if reason:
            store.hold(release.release, reason, found=found.ledger)
            store.discard(release)
            return Refused(reason=reason, release=release.release)
        store.begin(release.release, attempts=terms.attempts, found=found.ledger)
        return staged(release, terms)
    except OSError as error:
        raise StoreError(f"{store.layout.public} cannot be taken as a release: {error}") from error


def staged(release: Release, terms: Terms) -> Staged:
    """Say what to start for a stored release."""
    kind = kinds.named(release.kind, release.path)
    return Staged(
        release=release.release,
        argv=kind.argv(release.path, terms.interpreter),
        version=release.version,
        environ=kind.environment(release.caches),
    )


def _base(store: Store, digest: str) -> str | None:
    """Say where a release is that a patch may be applied to; what comes of it is verified in any case."""
    known = store.find(digest)
    return known.path if known and releases.is_whole(known, doubt=False) else None


def _kind(store: Store, arrived: Arrived) -> kinds.Kind:
    """Tell what it is; a script without a #! line is Python if the one that runs now is."""
    current = store.find(store.ledger.current)
    name = store.layout.name
    if current and current.kind == "python" and not name.endswith(".py"):
        name += ".py"
    return kinds.detect(staging.data_path(arrived.folder), name=name)


def _add(offer: Offer, store: Store, arrived: Arrived, kind: kinds.Kind) -> Release:
    """Make it one of the stored releases, durable under its own name."""
    known = store.find(arrived.digest)
    if known and releases.is_whole(known, doubt=True):
        return replace(known, kind=kind.name)
    name = store.layout.name
    path = os.path.join(arrived.folder, name)
    os.rename(staging.data_path(arrived.folder), path)
    durable.set_mode(path, releases.mode_for(store.layout.public))
    return store.add(
        arrived.folder,
        Release(
            release=arrived.digest,
            folder=arrived.folder,
            name=name,
            size=arrived.size,
            kind=kind.name,
            version=offer.version or "",
            origin=offer.name,
        ),
    )


def _prove(  # noqa: PLR0917 - private, and all of it is needed
    release: Release,
    kind: kinds.Kind,
    store: Store,
    terms: Terms,
    pre_upgrade: Callable[[str], object] | None,
    attention: Attentive,
) -> Release:
    """Run it, and ask the user; return it with the version it says it has. Raises `CheckError`."""
    kind.prepare(release.path)
    checked = _check(release, kind, store, terms, attention)
    release = store.name(release, checked.version or release.version)
    _ask(pre_upgrade, release)
    return release


def _check(release: Release, kind: kinds.Kind, store: Store, terms: Terms, attention: Attentive) -> Checked:
    """Have it say what it is, and that it is no older than what was here."""
    if not terms.check:
        return Checked(version=release.version)
    checked = check(
        [*kind.argv(release.path, terms.interpreter), *terms.arguments],
        timeout=terms.check_timeout,
        environ=kind.environment(release.caches),
        attend=attention.attend,
        attend_to=attention.fileno(),
    )
    if terms.version and checked.version and checked.version != terms.version:
        raise _OtherVersionError(
            f"it says that it is version {checked.version} and was signed as {terms.version}; "
            "publish it again as what it is"
        )
    if reason := _too_old(store, checked.version, terms):
        raise CheckError(reason)
    return checked


def _ask(pre_upgrade: Callable[[str], object] | None, release: Release) -> None:
    if pre_upgrade is None:
        return
    try:
        pre_upgrade(release.path)
    except (Exception, SystemExit) as error:  # the user's code may raise whatever it likes
        raise CheckError(f"pre_upgrade refused it: {type(error).__name__}: {error}") from error
