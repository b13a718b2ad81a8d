"""What has happened, as data: the last events of a life, and how often and how long things took.

Every step of the heart is told again here, fact by fact, and each fact that an operator may care about
becomes an event; numbers are counted on the way. The last events stand in a ring, so a master that runs for
years needs no more memory than one that runs for a day. Nothing is written and nothing is formatted here:
`overseer events` and `overseer metrics` ask for it.
"""

from __future__ import annotations

import json
import os
import time

from overseer.facts import (
    Answer,
    Cleared,
    Drain,
    Exit,
    Exited,
    Install,
    Kill,
    Life,
    Phase,
    Promote,
    Restarts,
    Serve,
    Spawn,
    Stage,
    Staged,
    Start,
    Tick,
    Wish,
)
from overseer.machine import ending, newest, record
from overseer.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from overseer.facts import Action, Event, Fact, Generation, World

MOST = 256
"""Events that are remembered."""

_TOLD = 300
"""Letters of a reason in an event."""

_NAMED = 20
"""Addresses that are named in one event."""

_LASTING = 8192
"""Beginnings that are remembered: more than there can be workers and releases at once."""

_WHO = ("generation", "release", "version")

EVENTS: dict[str, tuple[str, ...]] = {
    "launched": ("pid", "overseer"),
    "renewed": ("pid", "overseer", "before"),
    "not-renewed": ("overseer", "reason"),
    "started": _WHO,
    "ready": (*_WHO, "duration"),
    "drains": (*_WHO, "reason"),
    "drained": (*_WHO, "duration", "killed"),
    "exited": (*_WHO, "worker", "phase", "status", "unasked", "duration"),
    "killed": (*_WHO, "worker", "phase", "reason", "duration"),
    "failed": (*_WHO, "reason", "duration"),
    "staged": ("release", "version"),
    "installed": ("release", "version"),
    "promoted": (*_WHO, "duration"),
    "held": ("release", "version", "reason"),
    "rolled-back": ("release", "version", "to", "reason", "duration"),
    "released": ("release", "version"),
    "pinned": ("release", "version", "reason"),
    "unpinned": ("release", "version", "reason"),
    "answered": ("wish", "outcome", "reason"),
    "addresses": ("added", "removed"),
    "trouble": ("reason",),
    "trouble-over": (),
    "updater-died": ("reason",),
    "stopping": (),
    "halting": (),
    "ended": ("status",),
}
"""Every kind of event, and what it tells beside its `number`, its `time` and its kind."""

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
"""Seconds; the upper bounds of what durations are counted by."""

COUNTED = (
    *("generations_started", "generations_served", "generations_failed"),
    *("restarts_done", "restarts_failed", "restarts_stopped"),
    *("kills_starting", "kills_serving", "kills_draining", "exits_unasked"),
    *("releases_staged", "releases_promoted", "releases_held", "releases_rolled_back"),
    *("updater_deaths", "renewals", "renewals_failed"),
)
TIMED = ("start", "drain", "upgrade")


class Chronicle:
    """The ring of events, the counts, and since when something goes on."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Go on where another master has stopped: `state` is what `as_state` returned."""
        state = state or {}
        self.last: int = state.get("last", 0)  # the number of the last event
        self._ring: list[str] = list(state.get("events", ()))  # as JSON: a quarter of what they are as dicts
        self.counts: dict[str, int] = {name: state.get("counts", {}).get(name, 0) for name in COUNTED}
        self.times: dict[str, list[float]] = {  # per bound, beyond the last, and the sum
            name: list(state.get("times", {}).get(name) or [0] * (len(BOUNDS) + 1) + [0.0]) for name in TIMED
        }
        self.latest: dict[str, float] = dict(state.get("latest", {}))  # when each kind was last seen
        self._since: dict[str, float] = dict(state.get("since", {}))  # monotonic: when something began
        self._killed: dict[str, int] = dict(state.get("killed", {}))  # workers of a generation that drains
        self._versions: dict[str, str] = dict(state.get("versions", {}))
        self._trouble: str = state.get("trouble", "")
        self._addresses: list[str] | None = state.get("addresses")

    def as_state(self) -> dict[str, Any]:
        """Return everything as data, for the next master."""
        return {
            "last": self.last,
            "events": self._ring,
            "counts": self.counts,
            "times": self.times,
            "latest": self.latest,
            "since": self._since,
            "killed": self._killed,
            "versions": self._versions,
            "trouble": self._trouble,
            "addresses": self._addresses,
        }

    @property
    def first(self) -> int:
        """The number of the oldest event that is remembered."""
        return self.last - len(self._ring) + 1

    def event(self, number: int) -> dict[str, Any]:
        """Return an event that is remembered."""
        found: dict[str, Any] = json.loads(self._ring[number - self.first])
        return found

    def latest_events(self, most: int) -> list[dict[str, Any]]:
        """Return the last events, oldest first."""
        return [self.event(n) for n in range(max(self.first, self.last - most + 1), self.last + 1)]

    def add(self, kind: str, **told: object) -> None:
        """Remember one event, of a kind in EVENTS and with what that kind tells."""
        self.last += 1
        now = time.time()
        told = {name: told[name] for name in EVENTS[kind] if name in told}
        if isinstance(reason := told.get("reason"), str):
            told["reason"] = reason[:_TOLD]
        event = {"number": self.last, "time": round(now, 3), "event": kind, **told}
        self._ring.append(json.dumps(event, separators=(",", ":")))
        self.latest[kind] = round(now, 3)
        del self._ring[:-MOST]

    def learn(self, release: str, version: str) -> None:
        """Note what a release calls itself: events name it."""
        if version:
            self._versions.pop(release, None)
            self._versions[release] = str(version)[:_TOLD]
            for forgotten in list(self._versions)[:-MOST]:
                del self._versions[forgotten]

    def renewed(self, before: str) -> None:
        """Count that this master has taken over from one of the version `before`."""
        self.counts["renewals"] += 1
        self.add("renewed", pid=os.getpid(), overseer=VERSION, before=before)

    def not_renewed(self, reason: str) -> None:
        """Count that this master stays, though another was to take over."""
        self.counts["renewals_failed"] += 1
        self.add("not-renewed", overseer=VERSION, reason=reason)

    def died(self, reason: str) -> None:
        """Count an end of the updater that nobody asked for."""
        self.counts["updater_deaths"] += 1
        self.add("updater-died", reason=reason)

    # -- what can be seen ----------------------------------------------------------------------------------

    def look(self, addresses: Sequence[str], trouble: str) -> None:
        """Compare what is listened on, and what is wrong with releases, with what was there before."""
        if trouble != self._trouble:
            self._trouble = trouble
            self.add("trouble" if trouble else "trouble-over", reason=trouble)
        if self._addresses is None or self._addresses != addresses:
            before = self._addresses or []
            added = [text for text in addresses if text not in before]
            removed = [text for text in before if text not in addresses]
            self._addresses = list(addresses)
            if added or removed:
                self.add("addresses", added=added[:_NAMED], removed=removed[:_NAMED])

    # -- a step of the heart -------------------------------------------------------------------------------

    def take(self, world: World, event: Event, actions: Iterable[Action], now: float) -> None:
        """Tell one step again: from `world`, by `event` and then by each action."""
        if isinstance(event, Tick) and not actions:
            return
        for fact in (event, *actions):
            after = record(world, fact, now)
            self._fact(world, fact, after, now)
            world = after

    def _fact(  # noqa: C901, PLR0912 - a table
        self, before: World, fact: Fact, after: World, now: float
    ) -> None:
        """Tell one fact, of which the world before and the one after are known."""
        match fact:
            case Start(n, release):
                self._begin(f"start {n}", now)
                self._begin(f"life {n}", now)
                self._count("generations_started")
                self.add("started", generation=n, **self._named(release))
            case Spawn(n, w):
                self._begin(f"worker {n} {w}", now)
            case Serve(n):
                self._count("generations_served")
                took = self._timed("start", f"start {n}", now)
                self.add("ready", **self._who(after, n), duration=took)
            case Drain(n):
                self._begin(f"drain {n}", now)
                self.add("drains", **self._who(after, n), reason=_why(before, n))
            case Kill(n, w, reason) if g := _generation(before, n):
                phase = g.phase.value
                self._count(f"kills_{phase}")
                self._killed[str(n)] = self._killed.get(str(n), 0) + 1
                age = self._lasted(f"worker {n} {w}", now)
                self.add("killed", **self._who(before, n), worker=w, phase=phase, reason=reason, duration=age)
            case Exited(n, w, status):
                self._exited(before, n, w, status, now)
            case Promote(n, release):
                self._count("releases_promoted")
                took = self._timed("upgrade", f"release {release}", now)
                self.add("promoted", **self._who(after, n), duration=took)
            case Staged(release) if after is not before:
                self._begin(f"release {release}", now)
                self._count("releases_staged")
                self.add("staged", **self._named(release))
            case Cleared(release):
                self.add("released", **self._named(release))
            case Install(release):
                self.add("installed", **self._named(release))
            case Answer(request, outcome, detail):
                if request.wish is Wish.RESTART:
                    self._count(f"restarts_{outcome.value}")
                self.add("answered", wish=request.wish.value, outcome=outcome.value, reason=detail)
            case Exit(status):
                self.add("ended", status=status)
        self._failures(before, fact, after, now)
        self._departures(before, after, now)
        if after.life is not before.life and after.life in (Life.STOPPING, Life.HALTING):
            self.add(after.life.value)

    def _exited(self, before: World, n: int, w: int, status: int, now: float) -> None:
        g = _generation(before, n)
        worker = next((one for one in g.workers if one.number == w), None) if g else None
        if g is None or worker is None:
            return
        unasked = g.phase is not Phase.DRAINING and worker.stage is not Stage.KILLED
        if unasked:
            self._count("exits_unasked")
        told = {"worker": w, "phase": g.phase.value, "status": status, "unasked": unasked}
        self.add("exited", **self._who(before, n), **told, duration=self._end(f"worker {n} {w}", now))

    def _failures(self, before: World, fact: Fact, after: World, now: float) -> None:
        """A generation will not do, and its release with it, perhaps."""
        for g in before.generations:
            later = _generation(after, g.number)
            new = later is None or bool(later.failed)
            if g.failed or g.phase is Phase.DRAINING or not new or isinstance(fact, Drain):
                continue
            reason = later.failed if later else after.reason
            if later is None and g.policy.restarts is Restarts.NEVER and after.ended is not None:
                if after.ended == 0:  # a command that is done has not failed
                    continue
                reason = f"ended ({ending(after.ended)})"
            self._count("generations_failed")
            took = self._end(f"life {g.number}", now)
            self.add("failed", **self._who(before, g.number), reason=reason, duration=took)
        for release in sorted(after.held - before.held):
            self._count("releases_held")
            self.add("held", **self._named(release), reason=after.reason)
            took = self._end(f"release {release}", now)
            if release == before.wanted != after.wanted:
                self._count("releases_rolled_back")
                told = {"to": after.wanted, "reason": after.reason}
                self.add("rolled-back", **self._named(release), **told, duration=took)

    def _departures(self, before: World, after: World, now: float) -> None:
        left = {g.number for g in before.generations} - {g.number for g in after.generations}
        for n in sorted(left):
            killed = self._killed.pop(str(n), 0)
            for what in ("start", "life"):
                self._since.pop(f"{what} {n}", None)
            if f"drain {n}" in self._since:
                took = self._timed("drain", f"drain {n}", now)
                self.add("drained", **self._who(before, n), duration=took, killed=killed)

    # -- names, numbers, times -----------------------------------------------------------------------------

    def _named(self, release: str) -> dict[str, Any]:
        return {"release": release, "version": self._versions.get(release, "")}

    def _who(self, world: World, n: int) -> dict[str, Any]:
        g = _generation(world, n)
        return {"generation": n, **self._named(g.release if g else "")}

    def _count(self, name: str) -> None:
        self.counts[name] += 1

    def _begin(self, what: str, now: float) -> None:
        self._since[what] = now
        for forgotten in list(self._since)[:-_LASTING]:  # what came to no end that is seen here
            del self._since[forgotten]

    def _lasted(self, what: str, now: float) -> float:
        return round(max(0.0, now - self._since.get(what, now)), 3)

    def _end(self, what: str, now: float) -> float:
        took = self._lasted(what, now)
        self._since.pop(what, None)
        return took

    def _timed(self, name: str, what: str, now: float) -> float:
        """Count how long it took by the bounds; what nobody saw begin is not counted."""
        if what in self._since:
            took, counts = self._lasted(what, now), self.times[name]
            at = next((i for i, bound in enumerate(BOUNDS) if took <= bound), len(BOUNDS))
            counts[at] += 1
            counts[-1] += took
        return self._end(what, now)


def _generation(world: World, number: int) -> Generation | None:
    return next((g for g in world.generations if g.number == number), None)


def _why(world: World, n: int) -> str:
    """Say why a generation is asked to leave, by what is true then."""
    if world.life is not Life.RUNNING:
        return "the master stops"
    serving = newest(world, Phase.SERVING)
    if serving and serving.number > n:
        return f"generation {serving.number} serves"
    g = _generation(world, n)
    return g.failed if g and g.failed else "the next generation must be alone"
