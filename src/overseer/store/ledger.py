"""What is true of the releases: `state.json` as a frozen value, and every way it may change.

Nothing here touches a disk. A transition returns the next ledger; the store writes it whole before it acts
on it, so a crash finds either the old truth or the new one, never a mixture. Two invariants hold always:

* the current release is never held, and neither is the one on trial;
* nothing becomes current that was not on trial, except the very first release and one rolled back to.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from overseer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
"""Of `state.json`. A newer one was written by a newer overseer and is left alone."""

BY_HAND = "an operator wants it so"
"""Why a release is held that nothing is known to be wrong with."""

MAX_HELD = 200
"""How many held digests are remembered; the oldest are forgotten first."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A release that has yet to serve a whole probation.

    `attempts_left` counts down before each start, so that a crash of the whole host counts too.
    `installed` says that it is in the public place already and waits for its next start (no restart).
    `leaves` is the release that an operator goes back from: it is held once this one is current.
    """

    release: str
    attempts_left: int
    installed: bool = False
    leaves: str = ""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """The only release that may be taken, until it is unpinned: by its digest, or by its version.

    Whatever serves goes on; what comes back when something fails is not asked about it.
    """

    release: str = ""
    version: str = ""

    def allows(self, release: str, version: str) -> bool:
        """Whether this release may be taken; what is not known of it is "", and counts against it."""
        return release == self.release if self.release else version == self.version

    def __str__(self) -> str:
        return self.release[:12] or f"version {self.version}"


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was last known to be the public file: if its stamp still fits, nobody replaced it.

    `by_hand` says that the operator put it there: until a newer release is promoted it is left alone.
    """

    release: str
    size: int  # bytes
    mtime_ns: int
    inode: int
    by_hand: bool = False


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The truth about releases; a release is the SHA-256 of its bytes, in hexadecimal."""

    current: str = ""  # has served a whole probation; what a start falls back to
    previous: tuple[str, ...] = ()  # what was current before, newest first
    trial: Trial | None = None
    highest: str = ""  # the highest version that was ever current
    held: Mapping[str, str] = field(default_factory=dict)  # never taken by themselves again: why
    seen: Mapping[str, str] | None = None  # of the last offer that was staged or refused for good
    public: str = ""  # the path people start the program by
    published: Published | None = None
    publishing: str = ""  # the release that is to become the public file, until it has
    booted: str = ""  # the kernel's boot in which the releases were last verified
    pin: Pin | None = None  # an operator's: nothing else is taken

    # -- what may happen to a release ----------------------------------------------------------------------

    def adopted(self, release: str, *, version: str = "") -> Ledger:
        """Take the very first release as current: it is what runs, so there is nothing to try it against."""
        if self.current:
            raise StoreError(f"{release[:12]} cannot be adopted as the first release: there is one already")
        return replace(self._without(release), current=release, highest=version)

    def begun(self, release: str, *, attempts: int, leaves: str = "") -> Ledger:
        """Put a staged release on trial, in the place of whatever was on trial before.

        `leaves` is held, by an operator's wish, once it is current.
        """
        if release in self.held:
            raise StoreError(f"release {release[:12]} is held ({self.held[release]}); it is not started")
        if release == self.current:
            return replace(self, trial=None)
        return replace(self, trial=Trial(release=release, attempts_left=attempts, leaves=leaves))

    def spent(self) -> Ledger:
        """Count one start of the release on trial; written before it is started."""
        if self.trial is None or self.trial.attempts_left < 1:
            return self
        left = self.trial.attempts_left - 1
        return replace(self, trial=replace(self.trial, attempts_left=left))

    def spared(self, release: str) -> Ledger:
        """The start that is under way ends because somebody stopped the service: it does not count."""
        if self.trial is None or self.trial.release != release:
            return self
        return replace(self, trial=replace(self.trial, attempts_left=self.trial.attempts_left + 1))

    def installed(self, release: str, *, attempts: int) -> Ledger:
        """Let the release on trial be the public file without being started: its trial waits."""
        if self.trial is None or self.trial.release != release or self.trial.installed:
            return self
        trial = replace(self.trial, installed=True, attempts_left=attempts)
        return replace(self, trial=trial).with_public(release)

    def promoted(self, release: str, *, highest: str, keep: int) -> Ledger:
        """Make it current: it has served a whole probation. `highest` is the highest version ever current."""
        if release == self.current:
            return self
        if release in self.held:
            raise StoreError(
                f"release {release[:12]} is held ({self.held[release]}); it cannot become current"
            )
        previous = tuple(r for r in (self.current, *self.previous) if r and r != release)[:keep]
        trial = None if self.trial and self.trial.release == release else self.trial
        ledger = replace(self, current=release, previous=previous, trial=trial, highest=highest)
        if self.trial and self.trial.release == release and self.trial.leaves not in ("", release):
            ledger = ledger.holding(self.trial.leaves, BY_HAND)
        return ledger.with_public(release)

    def rejected(self, release: str, reason: str) -> Ledger:
        """Hold a release that failed and go back: to the current one, or from it to the one before."""
        ledger = self
        if release == self.current:
            if not self.previous:
                raise StoreError(f"release {release[:12]} cannot be given up: there is none before it")
            back, *rest = self.previous
            trial = None if self.trial and self.trial.release == back else self.trial
            ledger = replace(self, current=back, previous=tuple(rest), trial=trial)
        ledger = ledger.holding(release, reason)
        left_alone = self.published is not None and self.published.by_hand and not self.publishing
        return ledger if left_alone else ledger.with_public(ledger.current)

    def holding(self, release: str, reason: str) -> Ledger:
        """Never take this release again by itself. The current release cannot be held; see `rejected`."""
        if release == self.current:
            raise StoreError(
                f"release {release[:12]} is the current one, which cannot be held; a rollback leaves it"
            )
        held = {**{k: v for k, v in self.held.items() if k != release}, release: reason}
        ledger = replace(self, held=dict(list(held.items())[-MAX_HELD:]))
        ledger = replace(ledger, previous=tuple(r for r in ledger.previous if r != release))
        return replace(ledger, trial=None) if ledger.trial and ledger.trial.release == release else ledger

    def unheld(self, release: str) -> Ledger:
        """Give a held release another chance; the source is asked for it anew."""
        if release not in self.held:
            return self
        return replace(self, held={k: v for k, v in self.held.items() if k != release}, seen=None)

    def pinned(self, pin: Pin) -> Ledger:
        """Take no other release from now on. Raises `StoreError` while another one is on trial."""
        if self.trial and self.trial.release != pin.release:
            raise StoreError(
                f"release {self.trial.release[:12]} is on trial: wait for its end, or roll it back, then pin"
            )
        return replace(self, pin=pin)

    def unpinned(self) -> Ledger:
        """Take again what comes; the source is asked for what was passed over."""
        return self if self.pin is None else replace(self, pin=None, seen=None)

    def saw(self, seen: Mapping[str, str]) -> Ledger:
        """Remember an offer that is dealt with, so that the source is not asked for it again."""
        return replace(self, seen=dict(seen))

    def published_as(self, stamp: Published) -> Ledger:
        """Note that the public file is this one now."""
        return replace(self, published=stamp, publishing="")

    def left_alone(self) -> Ledger:
        """Give up what was to become the public file: somebody else has put another one there."""
        return replace(self, publishing="")

    def with_public(self, release: str) -> Ledger:
        """Want it in the public place, unless it is known to be there already."""
        there = self.published is not None and self.published.release == release and not self.publishing
        return replace(self, publishing="" if there else release)

    # -- questions -----------------------------------------------------------------------------------------

    @property
    def kept(self) -> frozenset[str]:
        """Every release that must stay on disk."""
        trial = (self.trial.release,) if self.trial else ()
        return frozenset(r for r in (self.current, *self.previous, *trial, self.publishing) if r)

    @property
    def exhausted(self) -> str:
        """The release on trial when it has no attempt left, else nothing."""
        return self.trial.release if self.trial and self.trial.attempts_left < 1 else ""

    def _without(self, release: str) -> Ledger:
        return replace(self, held={k: v for k, v in self.held.items() if k != release})


# -- to and from state.json --------------------------------------------------------------------------------


def dump(ledger: Ledger) -> bytes:
    """Write a ledger as the bytes of `state.json`: for people as well, one field a line."""
    return json.dumps({"format": FORMAT, **asdict(ledger)}, indent=1).encode() + b"\n"


def load(data: bytes) -> Ledger:
    """Read the bytes of `state.json`. Raises `ValueError` for anything but a ledger of this format."""
    try:
        raw = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("format"), int):
        raise ValueError("it is no ledger")  # noqa: TRY004 - what is wrong is the content of a file
    try:
        return Ledger(
            current=_text(raw, "current"),
            previous=tuple(_texts(raw, "previous")),
            trial=None if raw.get("trial") is None else _trial(raw["trial"]),
            highest=_text(raw, "highest"),
            held=_mapping(raw["held"]),
            seen=None if raw.get("seen") is None else _mapping(raw["seen"]),
            public=_text(raw, "public"),
            published=None if raw.get("published") is None else _published(raw["published"]),
            publishing=_text(raw, "publishing"),
            booted=_text(raw, "booted"),
            pin=None if raw.get("pin") is None else _pin(raw["pin"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no ledger: {error!r}") from error


def format_of(data: bytes) -> int:
    """Return the format of a `state.json`, 0 when it cannot be told."""
    try:
        found = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return found if isinstance(found, int) else 0


def _text(raw: Mapping[str, Any], name: str) -> str:
    if not isinstance(raw[name], str):
        raise TypeError(name)
    return str(raw[name])


def _texts(raw: Mapping[str, Any], name: str) -> list[str]:
    if not isinstance(raw[name], list) or not all(isinstance(item, str) for item in raw[name]):
        raise TypeError(name)
    return list(raw[name])


def _mapping(raw: Any) -> dict[str, str]:
    if not isinstance(raw, dict) or not all(isinstance(item, str) for item in raw.values()):
        raise TypeError("a mapping of text to text")
    return dict(raw)


def _number(raw: Mapping[str, Any], name: str) -> int:
    if not isinstance(raw[name], int):
        raise TypeError(name)
    return int(raw[name])


def _trial(raw: Mapping[str, Any]) -> Trial:
    return Trial(
        release=_text(raw, "release"),
        attempts_left=_number(raw, "attempts_left"),
        installed=bool(raw["installed"]),
        leaves=_text({"leaves": "", **raw}, "leaves"),  # older ones have none
    )


def _pin(raw: Mapping[str, Any]) -> Pin:
    return Pin(release=_text(raw, "release"), version=_text(raw, "version"))


def _published(raw: Mapping[str, Any]) -> Published:
    return Published(
        release=_text(raw, "release"),
        size=_number(raw, "size"),
        mtime_ns=_number(raw, "mtime_ns"),
        inode=_number(raw, "inode"),
        by_hand=bool(raw["by_hand"]),
    )
