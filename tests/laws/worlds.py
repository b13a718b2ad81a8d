"""Every world that can be reached, within a stated bound.

A world has no end of numbers and times, but only their order and their distance count: generations and
workers are numbered anew from 1, the present is 0 and the past one point, wishes that are granted and
sentences for people are forgotten. What is left is finite as long as the generations alive are bounded,
and is walked breadth first; the laws are asked of every step on the way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from tests.laws.laws import check
from tests.laws.seen import take

if TYPE_CHECKING:
    from collections.abc import Iterator

from overseer.facts import (
    Asked,
    Cleared,
    Event,
    Exited,
    Extended,
    Failed,
    Generation,
    Halt,
    Handover,
    Hello,
    Phase,
    Policy,
    Ready,
    Request,
    Restarts,
    Stage,
    Staged,
    Tick,
    Wish,
    Worker,
    World,
)
from overseer.values import replace

QUICK = Policy(
    ready_after=1.0,
    ready_timeout=2.0,
    terminate_timeout=1.0,
    probation=2.0,
    max_draining=1,
    crash_limit=1,
    crash_window=2.0,
)
"""Short patience, so that few moments are different; every time is a whole number of seconds."""


@dataclass(frozen=True)
class Universe:
    """What may happen, and how much of it: the bound of a search."""

    name: str
    says: tuple[Policy, ...]  # what a worker may say in its hello; the first is what the master starts with
    releases: str = "A"  # what may be staged, one letter each; the first is current at the start
    wishes: tuple[Asked, ...] = ()
    statuses: tuple[int, ...] = (1,)  # how a worker may end by itself
    words: bool = False  # whether a generation may say that it will not do
    clears: bool = False  # whether the operator may clear a held release
    halts: bool = False
    extends: bool = False  # whether workers may ask for more time
    alive: int = 2  # generations at once; a step beyond is checked and not followed
    crowd: int = 4  # processes at once, likewise: those we killed may take their time to die
    pending: int = 1  # requests at once, likewise

    def begin(self) -> World:
        """Return the world before the first event."""
        first = self.releases[0]
        return World(first, first, self.says[0])

    def is_left_by(self, world: World) -> bool:
        """Tell whether a world is beyond the bound."""
        processes = sum(len(g.workers) for g in world.generations)
        many = len(world.generations) > self.alive or processes > self.crowd
        return many or len(world.requests) > self.pending


@dataclass
class Found:
    """What a search has seen."""

    worlds: int = 0
    steps: int = 0
    beyond: int = 0  # steps that led out of the bound
    deepest: int = 0  # steps from the first world to the last one found


def explore(universe: Universe, *, most: int | None = None) -> Found:
    """Visit every world of a universe, or the first `most`; ask every law of every step."""
    found = Found()
    begin = universe.begin()
    seen = {begin}
    queue = deque([(begin, 0)])
    while queue:
        world, found.deepest = queue.popleft()
        found.worlds += 1
        for event, now in possible(world, universe):
            found.steps += 1
            after = _checked(world, event, now)
            if universe.is_left_by(after):
                found.beyond += 1
                continue
            after = normal(after, now)
            if after not in seen:
                seen.add(after)
                queue.append((after, found.deepest + 1))
        if most and found.worlds >= most:
            break
    return found


def _checked(world: World, event: Event, now: float) -> World:
    step = take(world, event, now)
    check(step)
    return step.after


def possible(world: World, universe: Universe) -> Iterator[tuple[Event, float]]:
    """List what may happen next: a second passes, or something happens at once."""
    yield Tick(), 1.0
    for g in world.generations:
        for w in g.workers:
            if w.stage is Stage.SPAWNED:
                yield from ((Hello(g.number, w.number, policy), 0.0) for policy in universe.says)
            if w.stage is Stage.ADMITTED:
                yield Ready(g.number, w.number), 0.0
            if universe.extends:
                yield Extended(g.number, w.number, 2.0), 0.0
            ends = (-9,) if w.stage is Stage.KILLED else universe.statuses
            yield from ((Exited(g.number, w.number, status), 0.0) for status in ends)
        if universe.words and g.phase is not Phase.DRAINING:
            yield Failed(g.number, "it says so"), 0.0
    for release in universe.releases if len(universe.releases) > 1 else "":
        yield Staged(release), 0.0
        if universe.clears and release in world.held:
            yield Cleared(release), 0.0
    yield from ((asked, 0.0) for asked in universe.wishes)
    if universe.halts:
        yield Halt(), 0.0


def normal(world: World, now: float) -> World:
    """Return the world that differs only in what makes no difference, with 0 as the present."""
    numbers = {g.number for g in world.generations} | {world.started}
    numbers |= {r.generation for r in world.requests if 0 < r.generation <= world.started}
    rank = {number: i + 1 for i, number in enumerate(sorted(numbers))} | {0: 0}
    rank[world.started + 1] = rank[world.started] + 1
    generations = tuple(_plain(g, rank[g.number], now) for g in world.generations)
    requests = tuple(Request(r.name, r.wish, rank[r.generation]) for r in world.requests)
    return replace(
        world,
        generations=generations,
        started=rank[world.started],
        requests=requests,
        failures=min(world.failures, 5),
        not_before=_ahead(world.not_before, now),
        unserved=0,  # whoever asked for one that failed has been told
        reason="",
        heir=rank.get(world.heir, 0),
    )


def _plain(g: Generation, number: int, now: float) -> Generation:
    if g.phase is Phase.DRAINING:  # it only leaves: what it was does not count any more
        rows = tuple(Worker(i + 1, _left(w)) for i, w in enumerate(g.workers))
        return Generation(
            number, "", g.policy, g.phase, _ahead(g.until, now), workers=rows, spawned=len(rows)
        )
    rows = tuple(
        Worker(i + 1, w.stage, _ahead(w.until, now), _ahead(w.presumed, now)) for i, w in enumerate(g.workers)
    )
    return replace(
        g,
        number=number,
        until=_ahead(g.until, now),
        workers=rows,
        spawned=len(rows),
        crashed_at=max(g.crashed_at - now, -g.policy.crash_window),
        crashes=g.crashes if now < g.crashed_at + g.policy.crash_window else 0,
        not_before=_ahead(g.not_before, now),
        failed="failed" if g.failed else "",
    )


def _left(w: Worker) -> Stage:
    return Stage.KILLED if w.stage is Stage.KILLED else Stage.READY


def _ahead(time: float, now: float) -> float:
    return time - now if time > now else -inf


RESTART, SIGNAL, STOP = Asked("a", Wish.RESTART), Asked("", Wish.RESTART), Asked("b", Wish.STOP)
ALONE = replace(QUICK, handover=Handover.SEQUENTIAL)
TWO = replace(QUICK, workers=2)
PARKS = replace(QUICK, restarts=Restarts.NOT_AFTER_FETCH)
PARKS_ALONE = replace(PARKS, handover=Handover.SEQUENTIAL)
NEVER = replace(QUICK, restarts=Restarts.NEVER)
