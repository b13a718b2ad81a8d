"""The store: one ledger, the releases it speaks of, and the public file, changed in an order that survives.

Every change goes the same way: the next ledger is written whole, then what follows from it is done
(`current`, the public file), then that it is done is written. Whatever is interrupted is finished by the
next `Store.open`, under the lock.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from overseer.errors import StoreError
from overseer.store import durable, history, ledger, publish, recovery, releases
from overseer.store.layout import Layout, place, why_not_replaceable
from overseer.store.ledger import Ledger
from overseer.store.lock import inherited, lock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from overseer.store.recovery import Boot
    from overseer.store.releases import Release

    Tell = Callable[[str, str], None]

ATTEMPTS = 3
"""Starts of a release that did not live through its probation before the one before comes back."""

SPREAD = "tree"
"""The kind of a release that cannot be one file in the public place; see the updater's kinds."""

KEEP = 2
"""Releases kept besides the current one, to go back to."""


def _log(level: str, text: str) -> None:
    logging.getLogger("overseer").log(logging.getLevelNamesMapping()[level.upper()], text)


class Store:
    """The releases of one binary, locked.

    Make one with `Store.open`. `tell(level, text)` gets one sentence about everything worth a line in a log.
    Methods raise `StoreError` for what makes no sense and `OSError` for what the system refuses; after
    either, the ledger is what it was, and the call may be repeated: each of them is idempotent.
    """

    def __init__(self, layout: Layout, lock_fd: int, *, tell: Tell = _log, keep: int = KEEP) -> None:
        self.layout = layout
        self.lock_fd = lock_fd
        self.tell = tell
        self.keep = keep
        self.ledger = Ledger()
        self.noted: Callable[[str, str, str, str], object] = lambda *_: None  # hears what history is told
        self._told_obstacle = ""

    @classmethod
    def open(
        cls,
        binary: str,
        environ: Mapping[str, str] | None = None,
        *,
        tell: Tell = _log,
        wait: float = 0.0,
        lock_fd: int | None = None,
        keep: int = KEEP,
    ) -> Self:
        """Find or make the store of `binary`, lock it, and finish what was interrupted.

        `environ` is where $STATE_DIRECTORY is looked up (default: the process's own), `wait` the seconds the
        present holder of the lock may still take, `lock_fd` a descriptor of the lock inherited from whoever
        holds it for us. Nothing has been downloaded when this raises: `StoreError` (one clear line: no
        place, not writable, written by a newer overseer), `StoreLockedError` (who holds it).
        """
        try:
            layout = place(binary, os.environ if environ is None else environ)
            held = inherited(lock_fd, layout.lock) if lock_fd is not None else lock(layout.lock, wait=wait)
        except OSError as error:
            raise StoreError(f"the store of {binary} cannot be opened: {_off(error)}") from error
        store = cls(layout, held, tell=tell, keep=keep)
        try:
            store._load()
            recovery.recover(store)
        except BaseException as error:
            store.close()
            if isinstance(error, OSError):
                raise StoreError(f"the store {layout.root} cannot be used: {_off(error)}") from error
            raise
        return store

    def close(self) -> None:
        """Let go of the lock."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- questions -----------------------------------------------------------------------------------------

    def find(self, release: str) -> Release | None:
        """Return a release by its digest, None when it is not in the store."""
        return releases.find(self.layout, release)

    def history(self) -> Iterator[history.Entry]:
        """Yield what happened, oldest first."""
        return history.read(self.layout.history)

    # -- what starts ---------------------------------------------------------------------------------------

    def boot(self, *, version: str = "", kind: str = "", attempts: int = ATTEMPTS) -> Boot:
        """Decide what a master that starts now shall start, and count the attempt. See `recovery.boot`.

        Raises `StoreError` where there is nothing whole to start, or a disk that is full takes no more of it.
        """
        try:
            return recovery.boot(self, version=version, kind=kind, attempts=attempts)
        except OSError as error:
            raise StoreError(f"the store {self.layout.root} cannot be used: {_off(error)}") from error

    def adopt(self, *, version: str = "", kind: str = "") -> Release:
        """Take a snapshot of the public file as a release; it is returned as it is when it is known already.

        The first one becomes current. A later one was put there by hand: nothing is decided about it here.
        """
        return recovery.adopt(self, version=version, kind=kind)

    def hand(self, *, version: str = "", kind: str = "") -> recovery.Hand | None:
        """Look whether the public file was replaced by hand while we run. See `recovery.hand`."""
        return recovery.hand(self, version=version, kind=kind)

    def stamp(self) -> tuple[int, ...]:
        """Return what tells two states of the public file apart without reading it."""
        try:
            status = os.stat(self.layout.public)
        except OSError:
            return ()
        return status.st_size, status.st_mtime_ns, status.st_ino

    def is_changed(self) -> bool:
        """Whether the public file holds something else than what we last knew it to be."""
        known = self.ledger.published
        if known is None or self.ledger.publishing:
            return False
        try:
            same = publish.is_same(known, os.stat(self.layout.public))
            return not same and durable.digest_of_path(self.layout.public) != known.release
        except OSError:
            return False

    # -- what becomes of a release -------------------------------------------------------------------------

    def add(self, folder: str, release: Release) -> Release:
        """Move a staged folder among the releases; it is durable, and means nothing yet."""
        return releases.add(self.layout, folder, release)

    def discard(self, release: Release) -> None:
        """Remove a release that was added and came to nothing."""
        if release.release not in self.ledger.kept:
            releases.discard(self.layout, release.folder)

    def name(self, release: Release, version: str) -> Release:
        """Note the version that a release says it has."""
        return releases.named(release, version)

    def begin(
        self,
        release: str,
        *,
        attempts: int = ATTEMPTS,
        seen: Mapping[str, str] | None = None,
        found: Ledger | None = None,
        leaves: str = "",
    ) -> Ledger:
        """Write that this release is on trial and about to be started for the first time.

        `seen`, of the offer it came from, is remembered in the same write; `found` is the ledger to go on
        from, for a release that was found in the public place; `leaves` is held once this one is current.
        """
        self._need(release)
        ledger = (found or self.ledger).begun(release, attempts=attempts, leaves=leaves).spent()
        self.write(ledger if seen is None else ledger.saw(seen))
        self.record("staged", release)
        return self.ledger

    def spare(self, release: str) -> None:
        """Take back the attempt that the present start of a release on trial has cost."""
        ledger = self.ledger.spared(release)
        if ledger != self.ledger:
            self.write(ledger)
            self.record("spared", release, why="the service was stopped in its probation")

    def install(self, release: str, *, attempts: int = ATTEMPTS) -> bool:
        """Make the release on trial the public file without starting it. Return whether it is public."""
        self._need(release)
        ledger = self.ledger.installed(release, attempts=attempts)
        if ledger != self.ledger:
            self.write(ledger)
            self.record("installed", release)
        return self.finish()

    def promote(self, release: str, *, highest: str | None = None) -> bool:
        """Make a release current: it has served its probation. Return whether it is public as well.

        `highest` is the highest version ever current, now that this one is; None leaves it as it was.
        """
        self._need(release)
        ledger = self.ledger.promoted(
            release, highest=self.ledger.highest if highest is None else highest, keep=self.keep
        )
        if ledger != self.ledger:
            left = [r for r in ledger.held if r not in self.ledger.held]
            self.write(ledger)
            self.record("promoted", release)
            for before in left:
                self.record("held", before, why=ledger.held[before])
        return self.finish()

    def reject(self, release: str, reason: str) -> bool:
        """Hold a release that failed, and undo it wherever it is. Return whether the public file is right.

        The reason it was held for first stays.
        """
        if release not in self.ledger.held:
            self.write(self.ledger.rejected(release, reason))
            self.record("rejected", release, why=reason)
        return self.finish()

    def hold(
        self,
        release: str,
        reason: str,
        *,
        seen: Mapping[str, str] | None = None,
        found: Ledger | None = None,
    ) -> None:
        """Never take a release that was not started: its check failed, or it was refused for good."""
        ledger = (found or self.ledger).holding(release, reason)
        self.write(ledger if seen is None else ledger.saw(seen))
        self.record("held", release, why=reason)

    def unhold(self, release: str) -> None:
        """Give a held release another chance."""
        self.write(self.ledger.unheld(release))
        self.record("released", release)

    def pin(self, pin: ledger.Pin) -> None:
        """Take no other release until it is unpinned. Raises `StoreError` while another one is on trial."""
        self.write(self.ledger.pinned(pin))
        self.record("pinned", pin.release, version=pin.version, why=ledger.BY_HAND)

    def unpin(self) -> None:
        """Take again what comes."""
        if pin := self.ledger.pin:
            self.write(self.ledger.unpinned())
            self.record("unpinned", pin.release, version=pin.version, why=ledger.BY_HAND)

    def saw(self, seen: Mapping[str, str]) -> None:
        """Remember an offer that is dealt with."""
        self.write(self.ledger.saw(seen))

    def finish(self) -> bool:
        """Do what the ledger wants done: `current`, and the public file. Return whether that file is right.

        Where it cannot be replaced it stays as it is, releases run from the store, and it is tried again at
        every change and every start.
        """
        self._point()
        wanted = self.ledger.publishing
        if not wanted:
            return True
        if self._need(wanted).kind == SPREAD:
            obstacle: str | None = "the release is an archive of many files"
        else:
            obstacle = why_not_replaceable(self.layout.public)
        if obstacle:
            if obstacle != self._told_obstacle:
                self.tell(
                    "info", f"{self.layout.public} stays as it is: {obstacle}; releases run from the store"
                )
            self._told_obstacle = obstacle
            return False
        mark = publish.publish(self._need(wanted), self.layout.public, self.tell)
        self.write(self.ledger.published_as(mark))
        return True

    def collect(self, in_use: Collection[str] = ()) -> None:
        """Remove the releases that nobody needs: not current, not kept to go back to, not `in_use`."""
        for gone in releases.collect(self.layout, self.ledger.kept | frozenset(in_use)):
            self.record("removed", why=gone)

    # -- mechanism -----------------------------------------------------------------------------------------

    def write(self, ledger_: Ledger) -> None:
        """Make this the truth. Raises `OSError`, and then it may or may not be, on disk, until the next."""
        if ledger_ != self.ledger:
            durable.replace_file(self.layout.state, ledger.dump(ledger_))
            self.ledger = ledger_

    def record(self, what: str, release: str = "", *, version: str = "", why: str = "") -> None:
        """Write a line of history; one that cannot be written is not worth an upgrade."""
        known = self.find(release) if release else None
        version = version or (known.version if known else "")
        self.noted(what, release, version, why)
        with suppress(OSError):
            history.append(self.layout.history, what, release=release, version=version, why=why)

    def _need(self, release: str) -> Release:
        found = self.find(release)
        if found is None:
            raise StoreError(f"release {release[:12]} is not in the store {self.layout.root}")
        return found

    def _point(self) -> None:
        """Let `current` be what the ledger says."""
        release = self.find(self.ledger.current) if self.ledger.current else None
        if release is None:
            return
        target = os.path.relpath(release.folder, self.layout.root)
        try:
            right = os.readlink(self.layout.current) == target
        except OSError:
            right = False
        if not right:
            durable.replace_link(self.layout.current, target)

    def _load(self) -> None:
        try:
            with open(self.layout.state, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            self.ledger = Ledger(public=self.layout.public)
            return
        if ledger.format_of(data) > ledger.FORMAT:
            raise StoreError(
                f"{self.layout.state} was written by a newer overseer; restarts work, upgrades are off"
            )
        try:
            self.ledger = replace(ledger.load(data), public=self.layout.public)
        except ValueError as error:
            aside = f"{self.layout.state}.broken"
            os.replace(self.layout.state, aside)
            self.ledger = Ledger(public=self.layout.public)
            self.tell(
                "error", f"{self.layout.state} makes no sense ({error}); it is {aside} now, and begun anew"
            )
            self.record("broken", why=str(error))


def _off(error: OSError) -> str:
    """Say what the system refused, and what it means."""
    why = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return f"{why}; restarts work, upgrades are off"
