"""One step of the heart taken apart, and what can be asked of it.

A `Seen` is the world before, the event, the world after, and every action between the world that called
for it and the world that came of it. A law is a predicate over a `Seen`; its docstring is its sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from overseer.facts import (
    Action,
    Event,
    Generation,
    Handover,
    Life,
    Phase,
    Policy,
    Restarts,
    Stage,
    Wish,
    Worker,
    World,
)
from overseer.machine import decide, record
from overseer.values import fields

MOST_ACTIONS = 400
"""No step of these tests has more to do; one with more would never end."""

LONGEST_BACKOFF = 15.0

Deed = tuple[World, Action, World]


@dataclass(frozen=True)
class Seen:
    """One step, taken apart."""

    before: World
    event: Event
    now: float
    taken: World  # the event is known; nothing has been done about it
    deeds: tuple[Deed, ...]
    after: World

    @property
    def actions(self) -> list[Action]:
        """What was done, in order."""
        return [action for _, action, _ in self.deeds]


class BrokenLawError(AssertionError):
    """A law does not hold in a step."""

    def __init__(self, sentence: str, seen: Seen) -> None:
        told = [sentence, f"before {sketch(seen.before)}", f"event  {sketch(seen.event)} at {seen.now}"]
        told += [f"  {sketch(action)}" for action in seen.actions]
        super().__init__("\n".join([*told, f"after  {sketch(seen.after)}"]))


def sketch(of: object) -> str:
    """Show a value without what is as it always is, so that a broken law can be read."""
    if isinstance(of, Enum):
        return of.name
    if isinstance(of, tuple):
        return "[" + ", ".join(map(sketch, of)) + "]"
    if not hasattr(of, "__match_args__"):
        return repr(of)
    match of:
        case World():
            usual: object = World("", "", Policy())
        case Generation():
            usual = Generation(0, "", of.policy)
        case Worker():
            usual = Worker(0)
        case _:
            usual = Policy() if isinstance(of, Policy) else None
    shown = (n for n in fields(of) if usual is None or getattr(of, n) != getattr(usual, n))
    return f"{type(of).__name__}({', '.join(f'{n}={sketch(getattr(of, n))}' for n in shown)})"


def take(world: World, event: Event, now: float) -> Seen:
    """Do what `step` does, one action at a time, and keep what was seen."""
    taken = after = record(world, event, now)
    deeds: list[Deed] = []
    while action := decide(after, now):
        called, after = after, record(after, action, now)
        deeds.append((called, action, after))
        if len(deeds) > MOST_ACTIONS:
            raise BrokenLawError("0: a step ends", Seen(world, event, now, taken, tuple(deeds[:9]), after))
    return Seen(world, event, now, taken, tuple(deeds), after)


Law = Callable[[Seen], bool]
LAWS: dict[str, Law] = {}


def law(number: int) -> Callable[[Law], Law]:
    """Enter a predicate into the book, under its number and its own sentence."""

    def enter(predicate: Law) -> Law:
        LAWS[f"{number}: {predicate.__doc__}"] = predicate
        return predicate

    return enter


# -- how a world is asked ----------------------------------------------------------------------------------


def generation(world: World, number: int) -> Generation | None:
    """Find a generation by its number."""
    return next((g for g in world.generations if g.number == number), None)


def process(world: World, number: int, worker: int) -> Worker | None:
    """Find a worker by the number of its generation and its own."""
    g = generation(world, number)
    return next((w for w in g.workers if w.number == worker), None) if g else None


def processes(world: World) -> Iterator[tuple[Generation, Worker]]:
    """List all workers, with the generation of each."""
    return ((g, w) for g in world.generations for w in g.workers)


def living(g: Generation) -> list[Worker]:
    """List the workers of a generation that we did not kill."""
    return [w for w in g.workers if w.stage is not Stage.KILLED]


def in_phase(world: World, phase: Phase) -> list[Generation]:
    """List the generations in a phase, oldest first."""
    return [g for g in world.generations if g.phase is phase]


def server(world: World) -> Generation | None:
    """Find the newest generation that serves and has not failed."""
    return next((g for g in reversed(world.generations) if g.phase is Phase.SERVING and not g.failed), None)


def running(world: World) -> bool:
    """Whether nobody has asked the master to stop."""
    return world.life is Life.RUNNING


def alone(world: World) -> bool:
    """Whether somebody asks not to run beside another generation."""
    waits = (g for g, w in processes(world) if g.phase is Phase.STARTING and w.stage is Stage.WAITING)
    asked = any(g.policy.handover is Handover.SEQUENTIAL for g in waits)
    return asked or world.policy.handover is Handover.SEQUENTIAL


def wants_another(world: World) -> bool:
    """Whether what serves is of another release than what should, or older than somebody asked for."""
    serving = server(world)
    asked = max((r.generation for r in world.requests if r.wish is Wish.RESTART), default=0)
    return serving is None or serving.release != world.wanted or serving.number < asked


def done(world: World, g: Generation) -> bool:
    """Whether the end of a generation is that of a command: never restarted, and nobody else is there."""
    staying = (o for o in world.generations if o.number != g.number and o.phase is not Phase.DRAINING)
    others = any(not o.failed or o.release != world.current for o in staying)
    return g.policy.restarts is Restarts.NEVER and g.policy.workers == 1 and not others
