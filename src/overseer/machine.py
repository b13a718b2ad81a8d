"""The heart of the master: what happened goes in, what to do comes out.

`record` takes in one fact and decides nothing; `decide` is a table of *when -> do* that remembers nothing;
`step` repeats them until nothing is left to do. Nothing here starts a process, opens a file, reads a clock
or writes a log, so the laws are checked against every order of events (tests/laws):

1. At most one generation is not ready yet; at most `max_draining` drain (unless stopping).
2. Nobody who serves is asked to leave before a successor serves, unless a stop was asked for or a program
   asked for sequential handover.
3. A release becomes current only after it has served a whole probation; a release that failed is never
   started again by itself.
4. Unless stopping or backing off, somebody serves or is about to.
5. Every request gets exactly one answer.
6. Every worker is drained or killed within its deadline; once asked to stop, the master exits when the
   last has gone, with the status of the program.
7. News of generation n never acts on generation m, nor news of a worker on another.
8. No wake-up is lost: until it is done there is an alarm, or a process whose word or end is awaited.
"""

from __future__ import annotations

from math import inf

from overseer.facts import (
    Admit,
    Answer,
    Asked,
    Cleared,
    Drain,
    Exit,
    Exited,
    Extended,
    Failed,
    Finish,
    Generation,
    GiveUp,
    Halt,
    Handover,
    Hello,
    Install,
    Kill,
    Life,
    Outcome,
    Phase,
    Presume,
    Promote,
    Ready,
    Request,
    Restarts,
    Serve,
    Spawn,
    Stage,
    Staged,
    Start,
    Wish,
    Worker,
    World,
)
from overseer.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.facts import Action, Event, Fact

KILLED_BY_US = 128 + 9
"""What a worker's status becomes when it was our SIGKILL: the master exits, it does not kill itself."""

GAVE_UP = 1
"""The master's status when it ends with a generation that will not do and whose workers told no better one."""


def step(world: World, event: Event, now: float) -> tuple[World, list[Action]]:
    """Take in one event at `now` (seconds, monotonic); return the new world and what to do about it."""
    actions: list[Action] = []
    world = record(world, event, now)
    while action := decide(world, now):
        actions.append(action)
        world = record(world, action, now)
    return world, actions


# -- when -> do --------------------------------------------------------------------------------------------


def decide(world: World, now: float) -> Action | None:
    """Return the next thing this world calls for, if any."""
    rules = (_answers, _departures, _workers, _changes)
    return next((action for rule in rules for action in rule(world, now)), None)


# fmt: off
def _answers(world: World, now: float) -> Iterator[Action]:  # noqa: ARG001 - one signature for all rules
    """Who asked, and can be told how it ended."""
    serving, running = newest(world, Phase.SERVING), world.life is Life.RUNNING
    for r in world.requests:
        match r.wish:
            case Wish.STOP if not world.generations:  yield Answer(r, Outcome.DONE, "stopped")
            case Wish.STOP:                           pass
            case _ if not running:                    yield Answer(r, Outcome.STOPPED, "the master is stopping")
            case _ if serving and serving.number >= r.generation:
                yield Answer(r, Outcome.DONE, f"generation {serving.number} serves")
            case _ if world.unserved >= r.generation: yield Answer(r, Outcome.FAILED, world.reason)


def _departures(world: World, now: float) -> Iterator[Action]:
    """Who has to leave, and who is made to."""
    serving, running, most = newest(world, Phase.SERVING), world.life is Life.RUNNING, world.policy.max_draining
    crowded = running and sum(g.phase is Phase.DRAINING and any(_kill(g, "")) for g in world.generations) > most
    for g in world.generations:  # the oldest first: it has had the longest
        overdue = now >= g.until
        match g.phase:
            case Phase.STARTING | Phase.SERVING if not running:                   yield Drain(g.number)
            case Phase.STARTING if g.failed:                                      yield Drain(g.number)
            case Phase.STARTING if serving and g.release != world.wanted:         yield Drain(g.number)
            case Phase.SERVING if serving and g is not serving:                   yield Drain(g.number)
            case Phase.DRAINING if world.life is Life.HALTING:                    yield from _kill(g, "asked to stop at once")
            case Phase.DRAINING if overdue:                                       yield from _kill(g, f"still there {g.policy.terminate_timeout:g} s after it was asked to leave")
            case Phase.DRAINING if crowded:                                       yield from _kill(g, f"more than {most} generations would be draining")


def _workers(world: World, now: float) -> Iterator[Action]:
    """What the workers of a generation need to become ready, and to stay enough."""
    for g in world.generations:
        starting, alive = g.phase is Phase.STARTING, [w for w in g.workers if w.stage is not Stage.KILLED]
        if g.phase is Phase.DRAINING:  # as everybody is who is asked to stop
            continue
        if not g.failed and g.crashes > g.policy.crash_limit * g.policy.workers:
            yield GiveUp(g.number, f"{g.crashes} workers in a row ended unasked")
        for at, w in enumerate(alive):
            late = now >= w.until
            match w.stage:
                case Stage.ADMITTED if now >= w.presumed:                         yield Presume(g.number, w.number)
                case Stage.SPAWNED | Stage.ADMITTED if late and starting:         yield GiveUp(g.number, _late(g, w))
                case Stage.SPAWNED | Stage.ADMITTED if late:                      yield Kill(g.number, w.number, _late(g, w))
                case Stage.SPAWNED | Stage.WAITING if at >= g.policy.workers:
                    yield Kill(g.number, w.number, "its release asks for fewer workers")
                case Stage.WAITING if not _must_wait(world, g):                   yield Admit(g.number, w.number)
                case Stage.WAITING:
                    yield from (Drain(o.number) for o in world.generations if o.phase is Phase.SERVING)
        if len(alive) < g.policy.workers and now >= g.not_before and not g.failed:
            yield Spawn(g.number, g.spawned + 1, g.release)
        if starting and _all_ready(g):
            yield Serve(g.number)


def _changes(world: World, now: float) -> Iterator[Action]:
    """What becomes of the release, the next generation, and the master."""
    serving = newest(world, Phase.SERVING)
    if world.life is not Life.RUNNING:
        if not world.generations and world.life is not Life.DONE:
            yield Exit(world.status)
        return
    if serving and serving.release == world.wanted != world.current and now >= serving.until:
        yield Promote(serving.number, serving.release)
    if world.parked and world.parked != world.installed:
        yield Install(world.parked)
    if world.installed in world.held:
        yield Install(world.current)
    if world.ended is not None:
        yield Finish(world.ended)
    if needs_successor(world) and now >= world.not_before:
        if world.policy.handover is Handover.SEQUENTIAL and world.generations:
            yield from (Drain(g.number) for g in world.generations if g.phase is Phase.SERVING)
        else:
            yield Start(world.started + 1, world.wanted)
# fmt: on


def newest(world: World, phase: Phase) -> Generation | None:
    """Return the newest generation in a phase that has not failed."""
    return next((g for g in reversed(world.generations) if g.phase is phase and not g.failed), None)


def needs_successor(world: World) -> bool:
    """Whether what serves is not what should: another release, too old a generation, or nobody."""
    serving = newest(world, Phase.SERVING)
    # Whoever asked for no younger one than serves has been answered already.
    asked = any(r.wish is Wish.RESTART for r in world.requests)
    satisfied = serving and serving.release == world.wanted and not asked
    begun = any(g.phase is Phase.STARTING for g in world.generations)
    return world.life is Life.RUNNING and not satisfied and not begun


def _kill(g: Generation, reason: str) -> Iterator[Kill]:
    return (Kill(g.number, w.number, reason) for w in g.workers if w.stage is not Stage.KILLED)


def _late(g: Generation, w: Worker) -> str:
    missing = "did not say hello" if w.stage is Stage.SPAWNED else "was not ready"
    return f"{missing} within {g.policy.ready_timeout:g} s"


def _must_wait(world: World, g: Generation) -> bool:
    return g.policy.handover is Handover.SEQUENTIAL and len(world.generations) > 1


def _all_ready(g: Generation) -> bool:
    return sum(w.stage is Stage.READY for w in g.workers) >= g.policy.workers


# -- what is known -----------------------------------------------------------------------------------------


def record(world: World, fact: Fact, now: float) -> World:
    """Return the same world, knowing one thing more. Nothing is decided here."""
    match fact:
        case Hello(n, w, policy) if found := _find(world, n, w, Stage.SPAWNED):
            g, worker = found
            policy = g.policy if g.told else policy  # the first to say hello speaks for its release
            g = replace(g, policy=policy, told=True)
            return _put(world, _with(g, replace(worker, stage=Stage.WAITING, until=inf)))
        case Ready(n, w) | Presume(n, w) if found := _find(world, n, w, Stage.ADMITTED):
            g, worker = found
            return _put(world, _with(g, Worker(w, Stage.READY)))
        case Exited(n, w, status) if found := _find(world, n, w):
            return _exited(world, *found, status, now)
        case Failed(n, reason) if (at := _generation(world, n)) and _has_a_way_back(world, at):
            return _failed(world, replace(at, status=GAVE_UP), reason, now)
        case GiveUp(n, reason) if at := _generation(world, n):
            return _failed(world, replace(at, status=at.status or GAVE_UP), reason, now)
        case Extended(n, w, seconds) if found := _find(world, n, w):
            return _put(world, _extended(*found, now + seconds))
        case Staged(release) if release not in world.held | {world.wanted, world.parked}:
            return _staged(world, release)
        case Cleared(release):
            return replace(world, held=world.held - {release})
        case Asked(name, wish):
            return _asked(world, name, wish)
        case Halt() if world.life is not Life.DONE:
            return replace(_stopping(world), life=Life.HALTING)
        case Start(n, release):
            g = Generation(n, release, world.policy)
            return replace(world, generations=(*world.generations, g), started=n)
        case Spawn(n, w) if at := _generation(world, n):
            worker = Worker(w, until=now + at.policy.ready_timeout)
            return _put(world, replace(at, workers=(*at.workers, worker), spawned=w))
        case Admit(n, w) if found := _find(world, n, w, Stage.WAITING):
            g, _ = found
            until, presumed = now + g.policy.ready_timeout, now + g.policy.ready_after
            return _put(world, _with(g, Worker(w, Stage.ADMITTED, until=until, presumed=presumed)))
        case Serve(n) if at := _generation(world, n):
            until = inf if at.release == world.current else now + at.policy.probation
            world = replace(world, policy=at.policy, failures=0, not_before=-inf)
            return _put(world, replace(at, phase=Phase.SERVING, until=until))
        case Drain(n) if at := _generation(world, n):
            return _put(world, replace(at, phase=Phase.DRAINING, until=now + at.policy.terminate_timeout))
        case Kill(n, w) if found := _find(world, n, w):
            g, _ = found
            late = g.phase is Phase.SERVING  # a loss, unlike one too many, or one that had to leave
            g = _with(g, Worker(w, Stage.KILLED))
            return _put(world, _crashed(g, KILLED_BY_US, now) if late else g)
        case Promote(n, release) if at := _generation(world, n):
            return _put(replace(world, current=release, installed=release), replace(at, until=inf))
        case Install(release):
            return replace(world, installed=release)
        case Answer(request):
            return replace(world, requests=tuple(r for r in world.requests if r != request))
        case Finish(status):
            return replace(_stopping(world), status=status)
        case Exit():
            return replace(world, life=Life.DONE)
        case _:
            return world  # a tick, or news about somebody who is gone


def _exited(world: World, g: Generation, worker: Worker, status: int, now: float) -> World:
    g = replace(g, workers=tuple(w for w in g.workers if w is not worker))
    killed = worker.stage is Stage.KILLED
    if killed and status == -9:
        status = KILLED_BY_US
    if g.phase is Phase.DRAINING:
        if g.number == world.heir:
            world = replace(world, status=world.status or status)
        return _put(world, g)
    if killed:  # it was counted when we killed it, or was one too many for its release
        return _put(world, g)
    if g.policy.restarts is Restarts.NEVER and g.policy.workers == 1 and not _others(world, g):
        # A command is done, well or not, and not to be done again by another release: the next start judges.
        return replace(_put(world, replace(g, failed=f"ended ({ending(status)})")), ended=status)
    if g.phase is Phase.STARTING or g.policy.workers == 1:
        when = "before it was ready" if g.phase is Phase.STARTING else "unasked"
        return _failed(world, replace(g, status=status), f"ended {when} ({ending(status)})", now)
    return _put(world, _crashed(g, status, now))


def _extended(g: Generation, worker: Worker, until: float) -> Generation:
    """Its patience ends later, never sooner. Whoever asks says itself when it is ready: it is not presumed."""
    if g.phase is Phase.DRAINING and worker.stage is not Stage.KILLED:
        return replace(g, until=max(g.until, until))
    if worker.stage in (Stage.SPAWNED, Stage.ADMITTED):
        return _with(g, replace(worker, until=max(worker.until, until), presumed=inf))
    return g


def _crashed(g: Generation, status: int, now: float) -> Generation:
    """One of several workers is lost; the next may come at once, after a row of losses later."""
    crashes = 1 if now >= g.crashed_at + g.policy.crash_window else g.crashes + 1
    wait = _backoff((crashes - 1) // g.policy.workers)
    return replace(g, crashes=crashes, crashed_at=now, status=status, not_before=now + wait)


def _failed(world: World, g: Generation, reason: str, now: float) -> World:
    """It will not do: fall back to what serves or is current; if it was the current one, try later or end."""
    if g.phase is Phase.DRAINING:
        return world
    others = _others(world, g)
    world = replace(_put(world, replace(g, failed=reason)), reason=reason)
    if g.phase is Phase.STARTING:
        world = replace(world, unserved=g.number)
    if g.release != world.current:
        held, serving = world.held | {g.release}, newest(world, Phase.SERVING)
        good = serving.release if serving and serving.release not in held else world.current
        wanted, parked = good if world.wanted in held else world.wanted, world.parked
        return replace(world, wanted=wanted, held=held, parked="" if parked in held else parked)
    failures = world.failures + 1
    ended = None if others else g.status
    return replace(world, ended=ended, failures=failures, not_before=now + _backoff(failures))


def _has_a_way_back(world: World, g: Generation) -> bool:
    """It says itself that it will not do: worth something before it serves, and while it is on probation."""
    return g.phase is Phase.STARTING or g.release != world.current


def _others(world: World, g: Generation) -> list[Generation]:
    """Who else the service may live on with; a bad new release is better than nobody."""
    staying = (o for o in world.generations if o.number != g.number and o.phase is not Phase.DRAINING)
    return [o for o in staying if not (o.failed and o.release == world.current)]


def _staged(world: World, release: str) -> World:
    if world.policy.restarts is Restarts.ALWAYS:
        return replace(world, wanted=release, parked="")
    return replace(world, parked=release)


def _asked(world: World, name: str, wish: Wish) -> World:
    if wish is Wish.RESTART and world.policy.restarts is not Restarts.NEVER:
        if world.parked:
            world = replace(world, wanted=world.parked, parked="")
        world = replace(world, not_before=-inf)  # whoever asks by hand does not wait for a backoff
        return _enqueue(world, Request(name, wish, world.started + 1))
    return _enqueue(_stopping(world), Request(name, wish))


def _enqueue(world: World, request: Request) -> World:
    """Signals have no name: any number of them between two starts is one request."""
    return world if request in world.requests else replace(world, requests=(*world.requests, request))


def _stopping(world: World) -> World:
    """The master ends with whoever serves now, or was about to."""
    if world.life is not Life.RUNNING:
        return world
    heir = newest(world, Phase.SERVING) or newest(world, Phase.STARTING)
    return replace(world, life=Life.STOPPING, heir=heir.number if heir else 0)


def _generation(world: World, number: int) -> Generation | None:
    return next((g for g in world.generations if g.number == number), None)


def _find(world: World, n: int, w: int, stage: Stage | None = None) -> tuple[Generation, Worker] | None:
    everybody = ((g, worker) for g in world.generations if g.number == n for worker in g.workers)
    return next((one for one in everybody if one[1].number == w and stage in (None, one[1].stage)), None)


def _with(g: Generation, worker: Worker) -> Generation:
    return replace(g, workers=tuple(worker if w.number == worker.number else w for w in g.workers))


def _put(world: World, g: Generation) -> World:
    """Replace a generation; one that leaves or has failed is gone with its last worker."""
    gone = not g.workers and (g.phase is Phase.DRAINING or g.failed)
    changed = (g if o.number == g.number else o for o in world.generations)
    return replace(world, generations=tuple(o for o in changed if not (gone and o.number == g.number)))


def _backoff(failures: int) -> float:
    """Seconds to wait: at first none, then 1, 2, 4, 8 and from then on 15."""
    return 0.0 if failures < 1 else min(15.0, 2.0 ** min(failures - 1, 4))


def ending(status: int) -> str:
    """Tell an exit status: a code, or minus a signal."""
    return f"exit status {status}" if status >= 0 else f"killed by signal {-status}"


def alarm(world: World, now: float) -> float:
    """Return when to `step` with a Tick if nothing happens before; inf for never."""
    times = [world.not_before] if needs_successor(world) else []
    for g in world.generations:
        times.append(g.until)
        if g.phase is not Phase.DRAINING:
            times.append(g.not_before)
            times += [time for w in g.workers for time in (w.until, w.presumed)]
    return min((time for time in times if time > now), default=inf)
