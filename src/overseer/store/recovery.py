"""What a store does before anything else: finish what was interrupted, and decide what is started.

Every step may be interrupted again and is then repeated: each looks at what is there and makes it so.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from overseer.errors import StoreError
from overseer.store import durable, publish, releases, staging
from overseer.store.releases import Release

if TYPE_CHECKING:
    from overseer.store.ledger import Ledger, Published
    from overseer.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Boot:
    """What a master that starts now shall start.

    `start` is what to start, `current` what to fall back to; they differ when a release is `on_trial`, which
    then has `attempts_left` more starts after this one.
    """

    start: Release
    current: Release
    on_trial: bool
    attempts_left: int = 0


# -- what was interrupted ----------------------------------------------------------------------------------


def recover(store: Store) -> None:
    """Bring the disk in line with the ledger; called under the lock, before anything else."""
    layout = store.layout
    for folder, mode in ((layout.versions, 0o755), (layout.staging, 0o700)):
        if not os.path.isdir(folder):
            os.mkdir(folder, mode)
            durable.sync_folder(layout.root)
    staging.wipe(layout)
    for path in (*publish.leftovers(layout.public), *_temporaries(layout.root)):
        durable.remove(path)
    if store.ledger.publishing:
        _settle(store)
    _finish(store)


def _finish(store: Store) -> None:
    """Bring the public file up to date; when that cannot be had now, it is no reason not to serve."""
    try:
        store.finish()
    except (OSError, StoreError) as error:
        store.tell("error", f"{store.layout.public} is not the release it should be yet: {error}")


def _settle(store: Store) -> None:
    """A release was to become the public file: find out how far that went."""
    public, ledger = store.layout.public, store.ledger
    try:
        status = os.stat(public)
    except FileNotFoundError:
        return
    if ledger.published and publish.is_same(ledger.published, status):
        return  # not renamed yet: it is published again
    found = durable.digest_of_path(public)
    if found == ledger.publishing:
        store.write(ledger.published_as(publish.stamp(found, status)))
        store.record("recovered", found, why="its publication was finished")
    elif ledger.published is None or found != ledger.published.release:
        store.tell(
            "warning", f"{public} was replaced by hand while an upgrade was under way; it is left alone"
        )
        store.write(ledger.left_alone())


def _temporaries(root: str) -> list[str]:
    return [os.path.join(root, name) for name in os.listdir(root) if name.endswith(".tmp")]


# -- what is started ---------------------------------------------------------------------------------------


def boot(store: Store, *, version: str, kind: str, attempts: int) -> Boot:
    """Decide what is started, and write the attempt before it is.

    The release on trial while it has attempts left, else the current one; either only if all of it is on
    disk. A public file that was replaced by hand is a release on trial like any other, with `attempts`.
    `version` is what the program that runs now says of itself, and `kind` what it is, if that is known: it
    was started from the public file. Raises `StoreError` when there is nothing whole to start, and `OSError`.
    """
    if store.ledger.current:
        _take_hand(store, version, kind, attempts)
    else:
        adopt(store, version=version, kind=kind)
    this = _kernel_boot()
    doubt = store.ledger.booted != this
    _heed_note(store)
    current = _whole_current(store, version, kind, doubt=doubt)
    start = _whole_trial(store, doubt=doubt) or current
    on_trial = start is not current
    ledger = replace(store.ledger, booted=this)
    try:
        store.write(ledger.spent() if on_trial else ledger)
    except OSError as error:
        store.tell("error", f"an attempt cannot be written down ({error}); the current release is started")
        start, on_trial = current, False
    _finish(store)
    with suppress(OSError):
        store.collect()
    trial = store.ledger.trial
    left = trial.attempts_left if on_trial and trial else 0
    if on_trial:
        store.record("tried", start.release, why=f"started on trial; {left} more starts after this one")
    return Boot(start=start, current=current, on_trial=on_trial, attempts_left=left)


def _heed_note(store: Store) -> None:
    """The last master may have noted that the release on trial ended without a fault of its own."""
    try:
        with open(store.layout.stopped, "rb") as file:
            how = file.read(16)
    except FileNotFoundError:
        return
    trial = store.ledger.trial
    if trial and how == b"done":  # a command that came to a good end has shown all it can
        store.promote(trial.release)
    elif trial:
        store.spare(trial.release)
    durable.remove(store.layout.stopped)


def _whole_trial(store: Store, *, doubt: bool) -> Release | None:
    """Return the release on trial if it can be started once more; hold it if not."""
    trial = store.ledger.trial
    if trial is None:
        return None
    if store.ledger.exhausted:
        reason = "it was started and did not live through its probation, as often as that is tried"
    else:
        release = store.find(trial.release)
        if release and releases.is_whole(release, doubt=doubt):
            return release
        reason = "it is not complete on disk"
    store.tell("error", f"release {trial.release[:12]} is given up: {reason}")
    store.write(store.ledger.rejected(trial.release, reason))
    store.record("rejected", trial.release, why=reason)
    return None


def _whole_current(store: Store, version: str, kind: str, *, doubt: bool) -> Release:
    """Return the current release, or the best there is when the disk has lost it."""
    while True:
        digest = store.ledger.current
        release = store.find(digest)
        if release and releases.is_whole(release, doubt=doubt):
            return release
        doubt = True
        store.tell("error", f"release {digest[:12]} is not complete on disk; going back to what is")
        if durable.digest_of_path(store.layout.public) == digest:
            return _snapshot(store, version, kind)
        if not store.ledger.previous:
            store.record("lost", digest)
            store.write(replace(store.ledger, current="", trial=None, publishing=""))
            return adopt(store, version=version, kind=kind)
        store.write(store.ledger.rejected(digest, "it is not complete on disk"))
        store.record("rejected", digest, why="it is not complete on disk")


# -- the operator's hand -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hand:
    """A public file that somebody else put there: the release it is, and the ledger that knows it as such."""

    release: Release
    ledger: Ledger


def hand(store: Store, *, version: str, kind: str) -> Hand | None:
    """Look whether the public file was replaced by hand; None if not, or if its release is known or held.

    Nothing is written about one that is returned: whoever decides what becomes of it writes both at once.
    """
    public, ledger = store.layout.public, store.ledger
    status = os.stat(public)
    if ledger.published and publish.is_same(ledger.published, status):
        return None
    digest = durable.digest_of_path(public)
    known = ledger.published is not None and ledger.published.release == digest
    by_hand = ledger.published.by_hand if known and ledger.published else digest != ledger.current
    stamped = ledger.published_as(publish.stamp(digest, status, by_hand=by_hand))
    if known or digest in (ledger.current, *ledger.held):
        if digest in ledger.held:
            held = f"a release that is held ({ledger.held[digest]})"
            store.tell("warning", f"{public} is {held}; it is not started")
        store.write(stamped)
        return None
    if ledger.pin and not ledger.pin.allows(digest, version):
        store.tell(
            "warning",
            f"{public} was replaced by hand, but {ledger.pin} is pinned: it is not started before unpin",
        )
        return None
    return Hand(store.find(digest) or _snapshot(store, version, kind), stamped)


def _take_hand(store: Store, version: str, kind: str, attempts: int) -> None:
    found = hand(store, version=version, kind=kind)
    if found:
        digest = found.release.release
        store.tell("info", f"{store.layout.public} was replaced by hand; it is on trial as {digest[:12]}")
        store.write(found.ledger.begun(digest, attempts=attempts))
        store.record("adopted", digest, why="replaced by hand")


# -- the public file as a release --------------------------------------------------------------------------


def adopt(store: Store, *, version: str, kind: str) -> Release:
    """Take a snapshot of the public file; the first one becomes current."""
    status = os.stat(store.layout.public)
    published = store.ledger.published
    if published and publish.is_same(published, status) and (known := store.find(published.release)):
        release = known
    else:
        release = _snapshot(store, version, kind)
    if not store.ledger.current:
        mark = publish.stamp(release.release, os.stat(store.layout.public))
        store.write(store.ledger.adopted(release.release, version=version).published_as(mark))
        store.record("adopted", release.release, why="the first release")
    return release


def _snapshot(store: Store, version: str, kind: str) -> Release:
    """Copy the public file among the releases: a copy, since it may be written over in place."""
    public = store.layout.public
    for _ in range(3):
        folder = staging.new_folder(store.layout)
        before = os.stat(public)
        digest, size = _copy(public, os.path.join(folder, store.layout.name), releases.mode_for(public))
        if publish.is_same(_mark(before), os.stat(public)):
            known = store.find(digest)
            if known and releases.is_whole(known, doubt=True):
                durable.remove(folder)
                return known
            made = Release(
                release=digest,
                folder=folder,
                name=store.layout.name,
                size=size,
                kind=kind,
                version=version,
                origin=public,
            )
            return store.add(folder, made)
        durable.remove(folder)
    raise StoreError(f"{public} keeps changing while it is copied; it is not taken as a release")


def _copy(public: str, target: str, mode: int) -> tuple[str, int]:
    source = os.open(public, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fd = durable.create(target)
        try:
            durable.copy(source, fd)
            os.fchmod(fd, mode)
            os.fsync(fd)
            return durable.digest_of(fd), os.fstat(fd).st_size
        finally:
            os.close(fd)
    finally:
        os.close(source)


def _mark(status: os.stat_result) -> Published:
    return publish.stamp("", status)


def _kernel_boot() -> str:
    """Name this boot of the kernel; nothing where that cannot be told, and then there is always doubt."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""
