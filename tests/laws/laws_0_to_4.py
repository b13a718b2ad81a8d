"""Laws 0 to 4: it is a machine; how many there are, who leaves, what becomes current, somebody serves."""

from __future__ import annotations

from math import inf, nextafter

from tests.laws.seen import (
    LONGEST_BACKOFF,
    Seen,
    alone,
    done,
    generation,
    in_phase,
    law,
    living,
    process,
    running,
    server,
    wants_another,
)

from overseer.facts import (
    Admit,
    Cleared,
    Drain,
    Exited,
    Failed,
    Finish,
    GiveUp,
    Handover,
    Install,
    Kill,
    Life,
    Phase,
    Promote,
    Serve,
    Stage,
    Start,
    Tick,
)
from overseer.machine import alarm, decide, record

# -- 0: it is a machine ------------------------------------------------------------------------------------


@law(0)
def the_alarm_is_never_in_the_past(seen: Seen) -> bool:
    """The alarm is never in the past."""
    return alarm(seen.after, seen.now) > seen.now


@law(0)
def nothing_happens_before_the_alarm(seen: Seen) -> bool:
    """Time alone changes nothing before the alarm."""
    rings = alarm(seen.after, seen.now)
    last = nextafter(rings, seen.now) if rings < inf else seen.now + 1e9
    return record(seen.after, Tick(), last) == seen.after and decide(seen.after, last) is None


@law(0)
def generations_are_in_order(seen: Seen) -> bool:
    """Generations and workers stand in the order of their numbers, and no number is used twice."""
    numbers = [g.number for g in seen.after.generations]
    rows = [[w.number for w in g.workers] for g in seen.after.generations]
    started = [a.generation for a in seen.actions if isinstance(a, Start)]
    return (
        all(row == sorted(set(row)) for row in (numbers, *rows))
        and started == [seen.before.started + 1 + i for i in range(len(started))]
        and seen.after.started == seen.before.started + len(started)
        and all(g.spawned == max([g.spawned, *(w.number for w in g.workers)]) for g in seen.after.generations)
    )


# -- 1: how many there are ---------------------------------------------------------------------------------


@law(1)
def one_is_starting(seen: Seen) -> bool:
    """At most one generation is not ready yet, and it is the newest."""
    starting = in_phase(seen.after, Phase.STARTING)
    return not starting or (len(starting) == 1 and starting[0] is seen.after.generations[-1])


@law(1)
def few_are_draining(seen: Seen) -> bool:
    """At most `max_draining` generations drain, unless stopping."""
    draining = [g for g in in_phase(seen.after, Phase.DRAINING) if living(g)]
    return not running(seen.after) or len(draining) <= seen.after.policy.max_draining


@law(1)
def the_oldest_makes_room(seen: Seen) -> bool:
    """Who is killed to make room has drained the longest of those who still drain."""
    for world, action, _ in seen.deeds:
        g = generation(world, action.generation) if isinstance(action, Kill) else None
        if g and g.phase is Phase.DRAINING and world.life is Life.RUNNING and seen.now < g.until:
            draining = [o for o in in_phase(world, Phase.DRAINING) if living(o)]
            if g is not draining[0] or len(draining) <= world.policy.max_draining:
                return False
    return True


@law(1)
def workers_are_as_many_as_asked(seen: Seen) -> bool:
    """Who is to serve has as many workers as its release asks for, or waits for a backoff."""
    for g in seen.after.generations:
        if g.phase is not Phase.DRAINING and not g.failed:
            waits = seen.now < g.not_before <= seen.now + LONGEST_BACKOFF
            if len(living(g)) != g.policy.workers and not (len(living(g)) < g.policy.workers and waits):
                return False
    return True


# -- 2: nobody who serves is asked to leave ----------------------------------------------------------------


@law(2)
def a_successor_serves_first(seen: Seen) -> bool:
    """Nobody who serves is asked to leave before a newer one serves, unless stopping or sequential."""
    for world, action, _ in seen.deeds:
        g = generation(world, action.generation) if isinstance(action, Drain) else None
        if g and g.phase is Phase.SERVING and running(world):
            newer = server(world)
            followed = newer is not None and newer.number > g.number
            if not followed and not (alone(world) and wants_another(world)):
                return False
    return True


@law(2)
def nobody_who_serves_is_killed(seen: Seen) -> bool:
    """A worker is killed for a reason: asked to leave and late, too many, or of no use in time."""
    for world, action, _ in seen.deeds:
        if isinstance(action, Kill):
            g, w = generation(world, action.generation), process(world, action.generation, action.worker)
            if g is None or w is None or w.stage is Stage.KILLED or not action.reason:
                return False
            spare = w.stage in (Stage.SPAWNED, Stage.WAITING) and g.told and len(living(g)) > g.policy.workers
            late = (
                w.stage in (Stage.SPAWNED, Stage.ADMITTED)
                and seen.now >= w.until
                and g.phase is Phase.SERVING
            )
            crowd = sum(bool(living(o)) for o in in_phase(world, Phase.DRAINING)) > world.policy.max_draining
            overdue = world.life is Life.HALTING or seen.now >= g.until or (crowd and running(world))
            late = late and g.phase is Phase.SERVING
            if not (overdue if g.phase is Phase.DRAINING else spare or late):
                return False
    return True


@law(2)
def serving_is_earned(seen: Seen) -> bool:
    """A generation serves when all its workers have their listeners and are ready, not before."""
    for world, action, _ in seen.deeds:
        if isinstance(action, Serve):
            g = generation(world, action.generation)
            ready = [w for w in g.workers if w.stage is Stage.READY] if g else []
            if (
                not g
                or g.failed
                or not g.told
                or g.phase is not Phase.STARTING
                or len(ready) < g.policy.workers
            ):
                return False
    return all(
        g.phase is Phase.STARTING or not g.told or any(isinstance(a, Serve) for a in seen.actions)
        for old in in_phase(seen.before, Phase.STARTING)
        for g in in_phase(seen.after, Phase.SERVING)
        if g.number == old.number
    )


@law(2)
def who_must_be_alone_is(seen: Seen) -> bool:
    """Who asked for sequential handover gets its listeners when everybody else has left."""
    for world, action, _ in seen.deeds:
        if isinstance(action, Admit):
            g = generation(world, action.generation)
            if g is None or not g.told:
                return False
            sequential = g.policy.handover is Handover.SEQUENTIAL and g.phase is Phase.STARTING
            if sequential and len(world.generations) > 1:
                return False
        if isinstance(action, Start) and world.policy.handover is Handover.SEQUENTIAL and world.generations:
            return False
    return True


@law(2)
def only_one_stays(seen: Seen) -> bool:
    """Of those who serve and have not failed, only the newest is not asked to leave; failed ones may wait."""
    fit = [g for g in in_phase(seen.after, Phase.SERVING) if not g.failed]
    serving = in_phase(seen.after, Phase.SERVING)
    return len(fit) <= 1 and (not fit or serving == fit)


# -- 3: what becomes current -------------------------------------------------------------------------------


@law(3)
def promotion_is_earned(seen: Seen) -> bool:
    """A release becomes current only when its generation serves, is wanted, and probation is over."""
    current = seen.taken.current
    for world, action, after in seen.deeds:
        if isinstance(action, Promote):
            g = server(world)
            fit = g is not None and (g.number, g.release) == (action.generation, action.release)
            if not (g and fit and g.release == world.wanted and seen.now >= g.until):
                return False
            current = action.release
        if after.current != current:
            return False
    return seen.taken.current == seen.before.current


@law(3)
def promotion_is_not_forgotten(seen: Seen) -> bool:
    """Who is wanted and has served its probation is current."""
    g = server(seen.after)
    return not (running(seen.after) and g and g.release == seen.after.wanted and seen.now >= g.until)


@law(3)
def probation_is_not_shortened(seen: Seen) -> bool:
    """While a generation serves, nothing but promotion moves the end of its probation."""
    promoted = {a.generation for a in seen.actions if isinstance(a, Promote)}
    return all(
        old.until == g.until
        for old in in_phase(seen.before, Phase.SERVING)
        for g in in_phase(seen.after, Phase.SERVING)
        if g.number == old.number and g.number not in promoted
    )


@law(3)
def the_failed_are_not_started(seen: Seen) -> bool:
    """What is started is what is wanted; what is held is not wanted, waiting, installed or current."""
    chosen = {seen.after.current, seen.after.wanted, seen.after.parked, seen.after.installed}
    starts = [(world, a) for world, a, _ in seen.deeds if isinstance(a, Start)]
    return not chosen & seen.after.held and all(
        a.release == world.wanted and a.release not in world.held and wants_another(world)
        for world, a in starts
    )


@law(3)
def the_failed_are_held(seen: Seen) -> bool:
    """A release that fails before it is current is held, and only the operator clears it."""
    event, failing = seen.event, {a.generation for a in seen.actions if isinstance(a, GiveUp)}
    if isinstance(event, Exited):
        w, g = process(seen.before, event.generation, event.worker), generation(seen.before, event.generation)
        needed = g and (g.phase is Phase.STARTING or (g.phase is Phase.SERVING and g.policy.workers == 1))
        if g and w and needed and w.stage is not Stage.KILLED and not done(seen.before, g):
            failing.add(g.number)
    if isinstance(event, Failed):
        failing.add(event.generation)
    cleared = {event.release} if isinstance(event, Cleared) else set()
    known = {g.number: g for g in (*seen.after.generations, *seen.before.generations)}
    lost = {known[n].release for n in failing if n in known and known[n].phase is not Phase.DRAINING}
    held = (seen.before.held - cleared) | (lost - {seen.before.current})
    return seen.after.held == held


@law(3)
def a_failure_falls_back(seen: Seen) -> bool:
    """When the wanted release fails, what serves is wanted again if it may be, or else what is current."""
    pairs = [(seen.before, seen.taken), *((old, new) for old, _, new in seen.deeds)]
    for old, new in pairs:
        if old.wanted in new.held:
            g = server(new)
            if new.wanted != (g.release if g and g.release not in new.held else new.current):
                return False
    return True


@law(3)
def the_public_place_is_right(seen: Seen) -> bool:
    """What waits for a restart by hand is installed, and a release is installed only for a reason."""
    for world, action, _ in seen.deeds:
        if isinstance(action, Install) and not (
            action.release == world.parked
            or (action.release == world.current and world.installed in world.held)
        ):
            return False
    return not running(seen.after) or seen.after.parked in ("", seen.after.installed)


# -- 4: somebody serves ------------------------------------------------------------------------------------


@law(4)
def somebody_serves_or_is_about_to(seen: Seen) -> bool:
    """Unless stopping or backing off, somebody serves or is about to."""
    after = seen.after
    backing_off = seen.now < after.not_before <= seen.now + LONGEST_BACKOFF
    leaving = alone(after) and bool(after.generations)
    hopeful = any(g.phase is not Phase.DRAINING for g in after.generations)
    return not running(after) or hopeful or backing_off or leaving


@law(4)
def what_is_wanted_is_on_its_way(seen: Seen) -> bool:
    """When another generation is called for, one is starting, or a backoff or a leaving one is waited for."""
    after = seen.after
    backing_off = seen.now < after.not_before <= seen.now + LONGEST_BACKOFF
    leaving = alone(after) and bool(in_phase(after, Phase.DRAINING))
    begun = bool(in_phase(after, Phase.STARTING))
    return not running(after) or not wants_another(after) or begun or backing_off or leaving


@law(4)
def nobody_finishes_who_has_hope(seen: Seen) -> bool:
    """The master ends by itself only when nobody serves and nobody is about to."""
    for world, action, _ in seen.deeds:
        if isinstance(action, Finish):
            hope = [g for g in world.generations if g.phase is not Phase.DRAINING and not g.failed]
            if hope:
                return False
    return True
