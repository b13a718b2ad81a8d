"""A repository that can be written: every change is one new state, and appears at one instant.

The files of releases first, then `N.targets.json` of whoever changed, then `N.snapshot.json`, then
`timestamp.json`: nothing is named before it is there, and until the last step every client sees the state
before. What a publisher that was killed left is in nobody's way: a version whose name is taken is passed
over. Whoever loses a race begins again, with what the winner published.
"""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from tuf.api.metadata import MetaFile, Root, Snapshot, Targets, Timestamp

from overseer.errors import PublishError
from overseer.publish import keys
from overseer.publish.places import ConflictError, place_of
from overseer.publish.ring import Ring, data_of
from overseer.publish.view import TOP, View, climb, look

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from securesystemslib.signer import SSlibKey

    from overseer.publish.home import Home
    from overseer.publish.keys import Secrets
    from overseer.publish.places import Place, Progress

TRIES = 5
"""How often a change begins again after somebody else was quicker."""

_Part = TypeVar("_Part", Snapshot, Targets)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is to be different: files to be served (name -> path here), and what roles are to say."""

    files: Mapping[str, str]
    targets: Mapping[str, Targets]


class Repository:
    """The repository of a publisher. `clock` returns the time now, in UTC."""

    def __init__(
        self,
        home: Home,
        secrets: Secrets,
        *,
        place: Place | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.home = home
        self.place = place or place_of(home.place, home.folder)
        self.ring = Ring({keyid: home.uri_of(uri) for keyid, uri in home.keys.items()}, secrets)
        self._clock = clock

    # -- reading -------------------------------------------------------------------------------------------

    def look(self) -> View:
        """Return what is published. Raises `PublishError` when nothing is, or it went backwards."""
        view = look(self.place, self._trusted())
        if view is None:
            raise PublishError(f"nothing is published in {self.place}; overseer repo init begins")
        if view.timestamp.version < self.home.seen:
            raise PublishError(
                f"{self.place} went backwards: its timestamp is version {view.timestamp.version} and this "
                f"publisher saw {self.home.seen}; clients refuse that. Put the newer files back"
            )
        return view

    def _trusted(self) -> bytes:
        root = self.home.root
        if root is None:
            raise PublishError(f"{self.home.root_path} is missing: the root that programs embed goes there")
        return root

    # -- the first state -----------------------------------------------------------------------------------

    def begin(self) -> bool:
        """Publish the first, empty state; False when there is a state already."""
        with self.place.lock():
            trusted = self._trusted()
            if not self.place.read("1.root.json"):
                self.place.create("1.root.json", trusted)
            if look(self.place, trusted) is not None:
                return False
            *_, (root, _) = climb(self.place, trusted)
            timestamp, snapshot, targets = Timestamp(), Snapshot(), Targets()
            timestamp.version, snapshot.version, targets.version = self.home.seen, 0, 0
            nothing = View(root=root.signed, timestamp=timestamp, snapshot=snapshot, targets={}, raw={})
            self._write(nothing, {"targets": targets}, was=None)
        return True

    # -- changing ------------------------------------------------------------------------------------------

    def change(self, decide: Callable[[View], Change | None], progress: Progress = lambda _: None) -> bool:
        """Look, let `decide` say what is to be different, and write it; again if another was quicker.

        Returns False when `decide` says None: nothing is to be done. Raises `PublishError`.
        """
        for left in reversed(range(TRIES)):
            try:
                with self.place.lock():
                    view = self.look()
                    change = decide(view)
                    if change is None:
                        return False
                    for name, path in change.files.items():
                        self.place.upload(name, path, progress)
                    self._write(view, change.targets, was=view.raw["timestamp"])
                    return True
            except ConflictError:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def renew(self, *, snapshot: bool | None = None) -> View:
        """Sign the timestamp anew, and the snapshot when half its time is over; only the online key is used.

        Raises `PublishError`.
        """
        for left in reversed(range(TRIES)):
            try:
                with self.place.lock():
                    view = self.look()
                    renew = self._is_old(view) if snapshot is None else snapshot
                    self._write(view, {}, was=view.raw["timestamp"], renew=renew)
                    return self.look()
            except ConflictError:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _is_old(self, view: View) -> bool:
        half = timedelta(days=self.home.days["snapshot"]) / 2
        return view.snapshot.expires - self._clock() < half

    def _write(
        self,
        view: View,
        changed: Mapping[str, Targets],
        *,
        was: bytes | None,
        renew: bool = False,
    ) -> None:
        """Write metadata in the order in which it may appear."""
        snapshot, timestamp = deepcopy(view.snapshot), deepcopy(view.timestamp)
        for role, targets in changed.items():
            data = self._create(role, targets, view)
            snapshot.meta[f"{role}.json"] = _meta(targets.version, data)
        if changed or renew:
            data = self._create("snapshot", snapshot, view)
            timestamp.snapshot_meta = _meta(snapshot.version, data)
        timestamp.version += 1
        self._dated("timestamp", timestamp)
        data = data_of(self.ring.signed(timestamp, view.signing("timestamp")))
        self.place.replace(data, was)
        self.home.saw(timestamp.version)

    def _create(self, role: str, what: _Part, view: View) -> bytes:
        """Sign the next version that has no file yet, and write it."""
        what.version += 1
        while self.place.size(f"{what.version}.{role}.json") is not None:
            what.version += 1
        self._dated(role if role in TOP else "targets", what)
        data = data_of(self.ring.signed(what, view.signing(role)))
        self.place.create(f"{what.version}.{role}.json", data)
        return data

    def _dated(self, role: str, what: Targets | Snapshot | Timestamp | Root) -> None:
        now = self._clock().replace(microsecond=0)
        what.expires = now + timedelta(days=self.home.days[role])


def _meta(version: int, data: bytes) -> MetaFile:
    """Say which file is meant, to the bit: nobody can mix states, or send endless data instead."""
    return MetaFile.from_data(version, data, ["sha256"])


# -- making one ----------------------------------------------------------------------------------------------


def found(home: Home, offline: str, online: str, secrets: Secrets, *, now: datetime) -> Home:
    """Make what is missing of a new publisher: its two keys, its first root, its folder.

    `offline` signs root and targets, `online` snapshot and timestamp; both are URIs, and a `file:` that is
    not there is made. Whatever a run that was killed left is used. Raises `PublishError`, `OSError`.
    """
    known = {uri: _key(home.uri_of(uri), secrets) for uri in (offline, online)}
    home = home.with_keys({key.keyid: uri for uri, key in known.items()})
    if home.root is None:
        root = Root(consistent_snapshot=True)
        for role, uri in zip(TOP, (offline, online, online, offline), strict=True):
            root.add_key(known[uri], role)
        root.expires = (now + timedelta(days=home.days["root"])).replace(microsecond=0)
        ring = Ring({keyid: home.uri_of(uri) for keyid, uri in home.keys.items()}, secrets)
        home.keep_root(data_of(ring.signed(root, ("root", root.roles["root"], root.keys))))
    home.save()
    return home


def _key(uri: str, secrets: Secrets) -> SSlibKey:
    path = uri.removeprefix("file:")
    if path != uri and not os.path.exists(path):
        return keys.create(path, secrets(f"passphrase of the new key {path}"))
    return keys.public(uri, secrets)
