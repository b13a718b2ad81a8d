"""The updater's one loop: look for a release when it is time, bring it in, and do as the master says.

One thread, one wait, one deadline. This is the only place that knows *when*; a fetcher answers one question
and returns. The master's words are about releases that were staged before; each is idempotent, so that it
may be said again after either side was started anew, and what the disk refuses is tried again later.
"""

from __future__ import annotations

import errno
import math
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from overseer.errors import FetchError, OverseerError, StoreError
from overseer.fetcher.offer import LookAgain, Offer
from overseer.updater import version, wishes
from overseer.updater.attention import Attention, Leave
from overseer.updater.schedule import Pace, Schedule, failed, glanced, looked
from overseer.updater.stage import Refused, Staged, Terms, stage, staged, take_hand

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from overseer.store import Store

    Word = dict[str, Any]


_UNDECIDED = ("", "")
"""How a look has ended that has to be taken again soon: a copy seemed to be in progress."""

_MOST_SAID = 100  # different failures that are remembered, so as not to be said twice

_NOTED = 1000  # letters of a reason that are told

_TELL_EVERY = 60.0  # seconds: the master may sleep between two looks that went well

_LONGEST_NOTE = 200  # characters of what a publisher says of a release

_HOPELESS = 32  # failures, after which the longest backoff is reached whatever its first step


class Source(Protocol):
    """A fetcher, as far as it is needed here."""

    @property
    def interval(self) -> float:
        """Seconds between two looks."""

    def latest(self, seen: Mapping[str, str] | None) -> Offer | LookAgain | None:
        """Look once."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How often to look (see `Pace`), and what a release has to meet."""

    terms: Terms = field(default_factory=Terms)
    min_fetch_interval: float = 1.0
    jitter: float = 0.1
    backoff: float = 1.0
    max_backoff: float = 300.0


def run(
    channel: socket.socket,
    *,
    fetcher: Source,
    store: Store,
    pre_upgrade: Callable[[str], object] | None = None,
    options: Options | None = None,
) -> int:
    """Be the updater until the master goes, and return the exit status.

    Says `hello`, `staged` (a release is on trial: start it), `say` (a line for the log), `progress` (what is
    being done with a release, a few times a second), and `promoted`, `installed`, `rejected`, `cleared` when
    the store has done what was asked. Hears `promote`, `install`, `reject` (with a `reason`) and `clear`,
    each with a `release`, and with the releases that are `in_use` if others may be removed; what operators
    want, `fetch` (look now), `hold`, `unhold`, `pin`, `unpin` and `rollback`, which are answered by `did`
    with what they were `for`; and `look`, before a restart: was the public file replaced by hand? If so it
    is staged, and `looked` says which release it is, or the `reason` why it is not staged. The end of the
    channel ends it at once; a download under way can be resumed.
    """
    with Attention(channel) as attention:
        updater = Updater(attention, fetcher, store, pre_upgrade, options or Options())
        attention.heard = updater.obey
        try:
            updater.work()
        except Leave:
            attention.part()
    return 0


class Updater:
    """What the loop knows between two waits."""

    def __init__(
        self,
        attention: Attention,
        fetcher: Source,
        store: Store,
        pre_upgrade: Callable[[str], object] | None,
        options: Options,
    ) -> None:
        self.attention = attention
        self.fetcher = fetcher
        self.store = store
        self.pre_upgrade = pre_upgrade
        self.terms = options.terms
        self.pace = Pace(
            interval=fetcher.interval,
            min_fetch_interval=options.min_fetch_interval,
            jitter=options.jitter,
            backoff=options.backoff,
            max_backoff=options.max_backoff,
        )
        self.schedule = Schedule(time.monotonic())
        self.unfinished: list[Word] = []
        self.retry = Schedule(time.monotonic())
        self.said: set[str] = set()
        self.askers: list[str] = []  # who wants to know how the next look ends
        self.found = _UNDECIDED  # how the last one ended
        self.trouble = ""  # why the last look failed
        self.minded: tuple[int, ...] = ()  # the public file as it was when it was last looked at
        self.told_look = -math.inf  # when the master was last told that a look went well
        store.tell = attention.tell
        store.noted = self._note

    def work(self) -> None:
        """Work for ever. Raises `Leave` when the master has gone."""
        self.attention.say(type="hello", role="updater", current=self.store.ledger.current)
        self._resume()
        while True:
            now = time.monotonic()
            if self.unfinished and now >= self.retry.due:
                self._finish()
            if now >= self.schedule.due:
                self._look()
                self._mind_public()
                self._answer_askers()
            due = min(self.schedule.due, self.retry.due) if self.unfinished else self.schedule.due
            if self.attention.wait(max(0.0, due - time.monotonic())):
                self.attention.take()

    # -- looking -------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        """A release went on trial, and perhaps nobody was told any more; hearing it twice does no harm."""
        trial = self.store.ledger.trial
        release = self.store.find(trial.release) if trial else None
        if release:
            self._announce(staged(release, self.terms))

    def _look(self) -> None:
        try:
            with self.attention.foreign():
                found = self.fetcher.latest(self.store.ledger.seen)
            pin = self.store.ledger.pin
            self.found = ("done", "there is nothing newer" + (f"; {pin} is pinned" if pin else ""))
            if isinstance(found, LookAgain):
                self.found = _UNDECIDED
                self.schedule = glanced(self.schedule, time.monotonic(), found.after)
                return
            if found is not None:
                try:
                    self._take(found)
                finally:
                    self.attention.progress("")
        except FetchError as error:
            if error.permanent:  # asking again soon is useless
                self.schedule = replace(self.schedule, failures=max(self.schedule.failures, _HOPELESS))
            self._failed(f"no release could be fetched: {error}", error.kind, error.retry_after)
        except (OverseerError, OSError) as error:
            self._failed(f"the release could not be taken: {error}", "store")
        except Exception as error:  # noqa: BLE001 - a fetcher is a stranger's code
            self._failed(f"the fetcher failed: {type(error).__name__}: {error}", "fetcher")
        else:
            self._tell_trouble("", "")
            self._tell_well()
            self.said.clear()
            self.schedule = looked(self.pace, time.monotonic(), random.random())  # noqa: S311

    def _mind_public(self) -> None:
        """Whoever changes the file on the path may expect a restart to run it: say that it does not."""
        public, stamp = self.store.layout.public, self.store.stamp()
        if stamp == self.minded:
            return
        self.minded = stamp
        if self.store.is_changed():
            current = self.store.ledger.current[:12]
            self.attention.tell(
                "warning",
                f"{public} was changed by hand: a restart starts release {current} as before; "
                "the next start of the service looks at it",
            )

    def _take(self, offer: Offer) -> None:
        self.attention.tell("debug", f"a release is offered: {offer.name or 'without a name'}")
        outcome = stage(
            offer,
            store=self.store,
            terms=self.terms,
            pre_upgrade=self.pre_upgrade,
            attention=self.attention,
        )
        match outcome:
            case Staged():
                self.found = ("done", f"release {outcome.release[:12]} is staged")
                if offer.notes:
                    notes = _one_line(offer.notes)
                    self.attention.tell("info", f"release {outcome.release[:12]} comes with a note: {notes}")
                self._announce(outcome)
            case Refused(known=True):
                self.found = ("failed", f"the offer is not taken: {outcome.reason}")
                self.attention.tell("debug", f"the offer is not taken: {outcome.reason}")
            case Refused():
                digest = outcome.release[:12] or "as offered"
                self.found = ("failed", f"release {digest} is not taken: {outcome.reason}")
                self.attention.tell("error", f"release {digest} is not taken: {outcome.reason}")

    def _announce(self, release: Staged) -> None:
        self.attention.say(
            type="staged",
            release=release.release,
            argv=release.argv,
            version=release.version,
            environ=dict(release.environ),
        )

    def _failed(self, text: str, kind: str, retry_after: float | None = None) -> None:
        """Look again later. The same failure is worth one line, not one at each look."""
        self.found = ("failed", text)
        self._tell_trouble(text, kind)
        self.attention.tell("debug" if text in self.said else "warning", text)
        if len(self.said) > _MOST_SAID:
            self.said.clear()
        self.said.add(text)
        self.schedule = failed(
            self.schedule,
            self.pace,
            time.monotonic(),
            random.random(),  # noqa: S311 - spreads load, keeps no secret
            retry_after=retry_after,
        )

    def _tell_trouble(self, text: str, kind: str) -> None:
        """Let the status say why there are no releases, for as long as there are none."""
        if text != self.trouble:
            self.trouble = text
            self.attention.say(type="trouble", text=text, kind=kind)

    def _tell_well(self) -> None:
        if time.monotonic() >= self.told_look + _TELL_EVERY:
            self.told_look = time.monotonic()
            self.attention.say(type="looked-well", time=round(time.time(), 3))

    # -- obeying -------------------------------------------------------------------------------------------

    def obey(self, word: Word) -> None:
        """Do what the master says, or keep it for later if the disk does not let us now."""
        if word["type"] == "look":
            self._look_at_public()
            return
        if word["type"] in ("fetch", "hold", "unhold", "pin", "unpin", "rollback"):
            self._grant(word["type"], str(word.get("release", "")), str(word.get("for", "")))
            return
        if word["type"] not in ("promote", "install", "reject", "clear"):
            self.attention.tell("warning", f"the updater does not know the word {word['type']!r}")
            return
        self.unfinished = [w for w in self.unfinished if w.get("release") != word.get("release")] + [word]
        self._finish()

    def _grant(self, wish: str, release: str, asker: str) -> None:
        """Do what an operator wants, and tell him how it went."""
        if wish == "fetch":  # answered when the look has ended
            self.askers.append(asker)
            self.schedule = Schedule(time.monotonic())
            return
        try:
            outcome, detail = "done", self._granted(wish, release)
        except OverseerError as error:
            outcome, detail = "failed", str(error)
        except OSError as error:
            root = self.store.layout.root
            outcome, detail = "failed", f"nothing is changed: {root} cannot be written: {error.strerror}"
        self._did(asker, outcome, detail)

    def _granted(self, wish: str, release: str) -> str:
        if wish == "unhold":
            cleared = wishes.unhold(self.store, release)
            self.attention.say(type="cleared", release=cleared)
            self.schedule = Schedule(time.monotonic())
            return f"release {cleared[:12]} may be taken again"
        if wish == "hold":
            return f"release {wishes.hold(self.store, release)[:12]} is held"
        if wish == "pin":
            return (
                f"{wishes.pin(self.store, release)} is pinned: no other release is taken until it is unpinned"
            )
        if wish == "unpin":
            return self._unpin()
        target, current = wishes.back(self.store, release), self.store.ledger.current
        self.store.begin(target.release, attempts=self.terms.attempts, leaves=current)
        self._announce(staged(target, self.terms))
        return f"release {target.release[:12]} is started; after its probation {current[:12]} is held"

    def _unpin(self) -> str:
        pin = self.store.ledger.pin
        if pin is None:
            return "no release is pinned"
        self.store.unpin()
        self.schedule = Schedule(time.monotonic())
        return f"{pin} is not pinned any more; the source is asked for what has come meanwhile"

    def _note(self, what: str, release: str, version: str, why: str) -> None:
        """What an operator or a check has decided is news to the master, too; it knows the rest itself."""
        if what in ("held", "pinned", "unpinned"):
            told = {"release": release, "version": version, "reason": why[:_NOTED]}
            self.attention.say(type="noted", what=what, **told)

    def _answer_askers(self) -> None:
        if self.found == _UNDECIDED:
            return
        askers, self.askers = self.askers, []
        for asker in askers:
            self._did(asker, *self.found)

    def _did(self, asker: str, outcome: str, detail: str) -> None:
        self.attention.say(**{"type": "did", "for": asker, "outcome": outcome, "detail": detail})

    def _look_at_public(self) -> None:
        """A restart is coming: the operator may have replaced the program by hand."""
        reason = ""
        try:
            outcome = take_hand(
                store=self.store,
                terms=self.terms,
                pre_upgrade=self.pre_upgrade,
                attention=self.attention,
            )
        except StoreError as error:
            outcome, reason = None, str(error)
        if isinstance(outcome, Staged):
            self._announce(outcome)
        elif isinstance(outcome, Refused):
            reason = outcome.reason
        self.attention.say(type="looked", release=outcome.release if outcome else "", reason=reason)

    def _finish(self) -> None:
        words, self.unfinished = self.unfinished, []
        for word in words:
            try:
                self._do(word)
            except OSError as error:
                self.unfinished.append(word)
                self.attention.tell("error", f"cannot {word['type']} the release yet: {_told(error)}")
            except OverseerError as error:
                self.attention.tell("error", f"cannot {word['type']} the release: {error}")
        if self.unfinished:
            self.retry = failed(self.retry, self.pace, time.monotonic(), random.random())  # noqa: S311
        else:
            self.retry = Schedule(time.monotonic())

    def _do(self, word: Word) -> None:
        release = word.get("release")
        if not isinstance(release, str) or not release:
            raise StoreError(f"no release is named: {word!r}")
        store = self.store
        match word["type"]:
            case "promote":
                found = store.find(release)
                highest = version.higher(store.ledger.highest, found.version if found else "")
                done = {"type": "promoted", "public": store.promote(release, highest=highest)}
            case "install":
                done = {"type": "installed", "public": store.install(release, attempts=self.terms.attempts)}
            case "reject":
                reason = str(word.get("reason") or "the master says so")
                done = {"type": "rejected", "public": store.reject(release, reason)}
            case _:
                store.unhold(release)
                done = {"type": "cleared"}
        if isinstance(word.get("in_use"), list):
            store.collect([digest for digest in word["in_use"] if isinstance(digest, str)])
        self.attention.say(release=release, **done)


def _one_line(text: str) -> str:
    """Return a publisher's words without what would break a line, or move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST_NOTE])


def _told(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error}); it is tried again"
    return f"{error}; it is tried again"
