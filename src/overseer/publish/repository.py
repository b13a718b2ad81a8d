"""A repository that can be written: every change is one new state, and appears at one instant.

The files of releases first, then `N.targets.json` of whoever changed, then `N.snapshot.json`, then
`timestamp.json`: nothing is named before it is there, and until the last step every client sees the state
before. What a publisher that was killed left is in nobody's way: a version whose name is taken is passed
over. Whoever loses a race begins again, with what the winner published.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from overseer.errors import PublishError
from overseer.publish.places import ConflictError, place_of
from overseer.publish.ring import Ring, data_of
from overseer.publish.roots import wanting
from overseer.publish.view import TOP, View, look, newest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from overseer.publish.home import Home
    from overseer.publish.keys import Secrets
    from overseer.publish.places import Place, Progress
    from overseer.publish.view import Signing

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

    def root(self, *, below: int | None = None) -> Root:
        """Return the newest root, of a version lower than `below` if that is given."""
        return newest(self.place, self._trusted(), below=below).signed

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
            first = Metadata[Root].from_bytes(trusted).signed.version
            if not self.place.read(f"{first}.root.json"):
                self.place.create(f"{first}.root.json", trusted)
            if look(self.place, trusted) is not None:
                return False
            root = newest(self.place, trusted)
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

    def renew(self, *, snapshot: bool | None = None, targets: bool = False) -> View:
        """Sign the timestamp anew, and the snapshot when half its time is over; only the online key is used.

        `targets`: those as well, with the key of releases. Raises `PublishError`.
        """
        for left in reversed(range(TRIES)):
            try:
                with self.place.lock():
                    view = self.look()
                    renew = self._is_old(view) if snapshot is None else snapshot
                    changed = {"targets": deepcopy(view.targets["targets"])} if targets else {}
                    self._write(view, changed, was=view.raw["timestamp"], renew=renew)
                    return self.look()
            except ConflictError:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _is_old(self, view: View) -> bool:
        half = timedelta(days=self.home.days["snapshot"]) / 2
        return view.snapshot.expires - self._clock() < half

    # -- another root --------------------------------------------------------------------------------------

    def adopt(self, new: Metadata[Root], *, lost: bool = False) -> bool:
        """Publish a root that is signed as it must be; False when it is in use already.

        What the old keys signed is signed by old and new together first; `lost` does without the old ones,
        and clients wait until all is there. Raises `PublishError`; the same call again goes on.
        """
        number, data = new.signed.version, data_of(new)
        with self.place.lock():
            there = self.place.read(f"{number}.root.json")
            if there is not None and there != data:
                raise PublishError(f"another root {number} is in use already; export one anew")
            if there and self._is_sound():
                self.home.keep_root(data)
                return False
            old = newest(self.place, self._trusted(), below=number).signed
            if wanted := wanting(old, new):
                raise PublishError("; ".join(wanted))
            view = look(self.place, self._trusted(), below=number)
            if view is None:
                raise PublishError(f"nothing is published in {self.place}; overseer repo init begins")
            if lost and not there:
                self.place.create(f"{number}.root.json", data)
            self._write_again(view, new.signed, () if lost or there else (old,))
            if not (lost or there):
                self.place.create(f"{number}.root.json", data)
            self.home.keep_root(data)
        return True

    def _is_sound(self) -> bool:
        try:
            return look(self.place, self._trusted()) is not None
        except PublishError:
            return False

    def _write_again(self, view: View, new: Root, old: tuple[Root, ...]) -> None:
        """Sign what the new root's keys have not signed, by them and by those of `old`."""
        stale = {role for role in TOP[1:] if not _signed(view.raw[role], role, new)}
        if stale:
            changed = {"targets": deepcopy(view.targets["targets"])} if "targets" in stale else {}
            self._write(
                view, changed, was=view.raw["timestamp"], renew="snapshot" in stale, roots=(*old, new)
            )

    # -- writing -------------------------------------------------------------------------------------------

    def _write(
        self,
        view: View,
        changed: Mapping[str, Targets],
        *,
        was: bytes | None,
        renew: bool = False,
        roots: tuple[Root, ...] = (),
    ) -> None:
        """Write metadata in the order in which it may appear; signed as every one of `roots` wants."""
        snapshot, timestamp = deepcopy(view.snapshot), deepcopy(view.timestamp)
        for role, targets in changed.items():
            data = self._create(role, targets, _signing(view, role, roots))
            snapshot.meta[f"{role}.json"] = _meta(targets.version, data)
        if changed or renew:
            data = self._create("snapshot", snapshot, _signing(view, "snapshot", roots))
            timestamp.snapshot_meta = _meta(snapshot.version, data)
        timestamp.version += 1
        self._dated("timestamp", timestamp)
        data = data_of(self.ring.signed(timestamp, *_signing(view, "timestamp", roots)))
        self.place.replace(data, was)
        self.home.saw(timestamp.version)

    def _create(self, role: str, what: _Part, signing: list[Signing]) -> bytes:
        """Sign the next version that has no file yet, and write it."""
        what.version += 1
        while self.place.size(f"{what.version}.{role}.json") is not None:
            what.version += 1
        self._dated(role if role in TOP else "targets", what)
        data = data_of(self.ring.signed(what, *signing))
        self.place.create(f"{what.version}.{role}.json", data)
        return data

    def _dated(self, role: str, what: Targets | Snapshot | Timestamp | Root) -> None:
        now = self._clock().replace(microsecond=0)
        what.expires = now + timedelta(days=self.home.days[role])


def _signing(view: View, role: str, roots: tuple[Root, ...]) -> list[Signing]:
    if role not in TOP or not roots:
        return [view.signing(role)]
    return [(role, root.roles[role], root.keys) for root in roots]


def _signed(data: bytes, role: str, root: Root) -> bool:
    metadata: Metadata[Root] = Metadata.from_bytes(data)
    return bool(root.get_verification_result(role, metadata.signed_bytes, metadata.signatures))


def _meta(version: int, data: bytes) -> MetaFile:
    """Say which file is meant, to the bit: nobody can mix states, or send endless data instead."""
    return MetaFile.from_data(version, data, ["sha256"])
