"""Laws 5 to 8: answers, deadlines and the end, news, wake-ups."""

from __future__ import annotations

from math import inf

from tests.laws.seen import (
    Seen,
    generation,
    in_phase,
    law,
    living,
    process,
    processes,
    running,
    server,
    wants_another,
)

from overseer.facts import (
    Admit,
    Answer,
    Asked,
    Drain,
    Exit,
    Exited,
    Extended,
    Failed,
    Finish,
    GiveUp,
    Hello,
    Kill,
    Life,
    Outcome,
    Phase,
    Presume,
    Ready,
    Restarts,
    Serve,
    Spawn,
    Stage,
    Tick,
    Wish,
)
from overseer.machine import KILLED_BY_US, alarm
from overseer.values import replace

# -- 5: every request gets one answer ----------------------------------------------------------------------


@law(5)
def no_request_is_lost(seen: Seen) -> bool:
    """A request is kept until it is answered, and is answered once."""
    answered = [a.request for a in seen.actions if isinstance(a, Answer)]
    kept = list(seen.taken.requests)
    event = seen.event
    asked = [r for r in kept if r not in seen.before.requests]
    if isinstance(event, Asked):
        known = [r for r in kept if (r.name, r.wish) == (event.name, event.wish)]
        restart = event.wish is Wish.RESTART and seen.before.policy.restarts is not Restarts.NEVER
        due = seen.before.started + 1 if restart else 0
        if not any(r.generation == due for r in known) or len(asked) > 1:
            return False
    elif asked:
        return False
    left = [r for r in kept if r not in answered]
    return (
        len(set(answered)) == len(answered)
        and set(answered) <= set(kept)
        and list(seen.after.requests) == left
        and all(r in kept for r in seen.before.requests)
    )


@law(5)
def answers_are_true(seen: Seen) -> bool:
    """An answer says what has happened."""
    for world, action, _ in seen.deeds:
        if isinstance(action, Answer):
            g, request = server(world), action.request
            match action.outcome:
                case Outcome.STOPPED:
                    true = not running(world) and request.wish is Wish.RESTART
                case Outcome.FAILED:
                    true = running(world) and world.unserved >= request.generation > 0 and bool(action.detail)
                    true = true and not (g and g.number >= request.generation)
                case _ if request.wish is Wish.STOP:
                    true = not running(world) and not world.generations
                case _:
                    true = g is not None and g.number >= request.generation > 0
            if not true:
                return False
    return True


@law(5)
def no_request_waits_in_vain(seen: Seen) -> bool:
    """Who waits for an answer waits for something that is under way."""
    g, after = server(seen.after), seen.after
    for r in after.requests:
        if r.wish is Wish.STOP:
            if running(after) or not after.generations:
                return False
        elif not running(after) or after.unserved >= r.generation or (g and g.number >= r.generation):
            return False
    return True


# -- 6: deadlines, and the end -----------------------------------------------------------------------------


@law(6)
def processes_come_and_go_in_the_open(seen: Seen) -> bool:
    """A worker comes by a spawn and goes by its own end, in no other way."""
    before = {(g.number, w.number) for g, w in processes(seen.before)}
    after = {(g.number, w.number) for g, w in processes(seen.after)}
    spawned = {(a.generation, a.worker) for a in seen.actions if isinstance(a, Spawn)}
    event = seen.event
    gone = {(event.generation, event.worker)} if isinstance(event, Exited) else set()
    return after == (before - gone) | spawned and not spawned & before


@law(6)
def the_killed_stay_killed(seen: Seen) -> bool:
    """A worker is killed once, and nothing it says afterwards counts."""
    dead = {(g.number, w.number) for g, w in processes(seen.before) if w.stage is Stage.KILLED}
    here = {(g.number, w.number): w.stage for g, w in processes(seen.after)}
    kills = [(a.generation, a.worker) for a in seen.actions if isinstance(a, Kill)]
    return (
        all(here.get(one, Stage.KILLED) is Stage.KILLED for one in (*dead, *kills))
        and len(kills) == len(set(kills))
        and not dead & set(kills)
    )


@law(6)
def leaving_is_for_good(seen: Seen) -> bool:
    """Who drains never serves again, and leaves nothing behind."""
    left = {g.number for g in in_phase(seen.before, Phase.DRAINING)}
    return all(g.workers for g in in_phase(seen.after, Phase.DRAINING)) and all(
        g.phase is Phase.DRAINING for g in seen.after.generations if g.number in left
    )


@law(6)
def every_patience_is_as_agreed(seen: Seen) -> bool:
    """What was begun ends when its generation's policy says."""
    for world, action, after in seen.deeds:
        g = generation(after, action.generation) if hasattr(action, "generation") else None
        w = process(after, g.number, action.worker) if g and hasattr(action, "worker") else None
        at = seen.now
        match action:
            case Spawn() if w and g:
                right = w.until == at + g.policy.ready_timeout and w.stage is Stage.SPAWNED
            case Admit() if w and g:
                right = w.until == at + g.policy.ready_timeout and w.stage is Stage.ADMITTED
                right = right and w.presumed == at + g.policy.ready_after
            case Serve() if g:
                right = g.until == (inf if g.release == world.current else at + g.policy.probation)
            case Drain() if g:
                right = g.until == at + g.policy.terminate_timeout
            case Presume():
                was = process(world, action.generation, action.worker)
                right = was is not None and was.stage is Stage.ADMITTED and at >= was.presumed
            case Spawn() | Admit() | Serve():
                right = False
            case _:
                right = True
        if not right:
            return False
    return True


@law(6)
def more_time_is_never_less(seen: Seen) -> bool:
    """A worker that asks for more time moves its own deadline, later and no further than it asked."""
    event = seen.event
    if not isinstance(event, Extended):
        return True
    was, now = generation(seen.before, event.generation), generation(seen.taken, event.generation)
    if was is None or now is None:
        return was is now
    asked = seen.now + event.seconds
    if was.phase is Phase.DRAINING:
        return now in (was, replace(was, until=asked)) and now.until >= was.until
    pairs = zip(was.workers, now.workers, strict=True)
    return replace(was, workers=now.workers) == now and all(
        a == b or (b.stage is a.stage and b.until in (a.until, asked) and b.until >= a.until)
        for a, b in pairs
    )


@law(6)
def giving_up_has_a_reason(seen: Seen) -> bool:
    """A generation is given up when a worker is late or too many have ended in a row."""
    for world, action, _ in seen.deeds:
        if isinstance(action, GiveUp):
            g = generation(world, action.generation)
            late = g and any(seen.now >= w.until for w in living(g)) and g.phase is Phase.STARTING
            looping = g and g.phase is Phase.SERVING and g.crashes > g.policy.crash_limit * g.policy.workers
            if not action.reason or not (late or looping):
                return False
    return True


@law(6)
def nobody_outstays(seen: Seen) -> bool:
    """After a step nobody is past a deadline: who had to be ready is, who had to leave is killed."""
    now = seen.now
    for g in seen.after.generations:
        for w in living(g):
            if g.phase is Phase.DRAINING:
                if seen.after.life is Life.HALTING or not now < g.until < inf:
                    return False
            elif w.stage in (Stage.SPAWNED, Stage.ADMITTED):
                if not now < w.until < inf or now >= w.presumed:
                    return False
            elif w.stage is Stage.WAITING and (len(seen.after.generations) == 1 or g.phase is Phase.SERVING):
                return False
    return True


@law(6)
def crash_loops_end(seen: Seen) -> bool:
    """Who serves and loses workers in a row beyond its limit is given up."""
    return not running(seen.after) or all(
        g.failed or g.crashes <= g.policy.crash_limit * g.policy.workers
        for g in in_phase(seen.after, Phase.SERVING)
    )


@law(6)
def the_killed_did_not_crash(seen: Seen) -> bool:
    """A worker that we killed because it was one too many does not count against its generation."""
    event = seen.event
    if not isinstance(event, Exited):
        return True
    w, g = process(seen.before, event.generation, event.worker), generation(seen.before, event.generation)
    now = generation(seen.taken, event.generation)
    if not (w and g and now and w.stage is Stage.KILLED):
        return True
    return (now.crashes, now.failed, now.phase) == (g.crashes, g.failed, g.phase)


@law(6)
def stopping_ends(seen: Seen) -> bool:
    """Once asked to stop everybody leaves, and the master exits exactly when the last has gone."""
    order = [Life.RUNNING, Life.STOPPING, Life.HALTING, Life.DONE]
    after, exits = seen.after, [a for a in seen.actions if isinstance(a, Exit)]
    ended = after.life is Life.DONE and seen.before.life is not Life.DONE
    return (
        order.index(after.life) >= order.index(seen.before.life)
        and (running(after) or all(g.phase is Phase.DRAINING for g in after.generations))
        and (after.life is Life.DONE) == (not running(after) and not after.generations)
        and [a.status for a in exits] == ([after.status] if ended else [])
        and (seen.before.life is not Life.DONE or all(isinstance(a, Answer) for a in seen.actions))
    )


@law(6)
def the_status_is_the_programs(seen: Seen) -> bool:
    """The master's status is the heir's: the first that is not 0, and 137 if we had to kill it."""
    event, was = seen.event, None
    said = 0
    if isinstance(event, Exited):
        was = process(seen.before, event.generation, event.worker)
        said = KILLED_BY_US if was and was.stage is Stage.KILLED and event.status == -9 else event.status
    g = generation(seen.before, event.generation) if isinstance(event, Exited) and was else None
    heir = g is not None and g.phase is Phase.DRAINING and g.number == seen.before.heir
    if seen.taken.status != (seen.before.status or said if heir else seen.before.status):
        return False
    for world, action, after in seen.deeds:
        if isinstance(action, Finish):
            gave_up = any(isinstance(a, GiveUp) for a in seen.actions)
            fair = action.status == said if was and not gave_up else action.status != 0
            if not fair or after.status != action.status or after.heir:
                return False
        elif after.status != world.status:
            return False
    return True


@law(6)
def the_heir_is_who_served(seen: Seen) -> bool:
    """When a stop is asked for, the heir is who serves, or else who was about to."""
    if not running(seen.before) or running(seen.taken):
        return True
    starting = next((g for g in in_phase(seen.before, Phase.STARTING) if not g.failed), None)
    heir = server(seen.before) or starting
    return seen.taken.heir == (heir.number if heir else 0)


# -- 7: news finds whom it is about ------------------------------------------------------------------------


@law(7)
def news_is_about_one(seen: Seen) -> bool:
    """News of one worker changes no other worker and no other generation."""
    event = seen.event
    if not isinstance(event, Hello | Ready | Exited | Extended | Failed):
        return True
    mine = event.generation
    others = [g for g in seen.before.generations if g.number != mine]
    if [g for g in seen.taken.generations if g.number != mine] != others:
        return False
    if isinstance(event, Failed):
        return True
    was, now = generation(seen.before, mine), generation(seen.taken, mine)
    here = [w for w in was.workers if w.number != event.worker] if was else []
    return [w for w in (now.workers if now else ()) if w.number != event.worker] == here


@law(7)
def stale_news_is_no_news(seen: Seen) -> bool:
    """News of who has gone, and words out of turn, change nothing."""
    event = seen.event
    match event:
        case Hello(n, w, _):
            known = process(seen.before, n, w)
            stale = known is None or known.stage is not Stage.SPAWNED
        case Ready(n, w):
            known = process(seen.before, n, w)
            stale = known is None or known.stage is not Stage.ADMITTED
        case Exited(n, w, _):
            stale = process(seen.before, n, w) is None
        case Extended(n, w, _):
            known = process(seen.before, n, w)
            stale = known is None or known.stage is Stage.KILLED
        case Failed(n, _):
            g = generation(seen.before, n)
            stale = g is None or g.phase is Phase.DRAINING
        case Tick():
            stale = True
        case _:
            stale = False
    return not stale or seen.taken == seen.before


# -- 8: no wake-up is lost ---------------------------------------------------------------------------------


@law(8)
def somebody_will_wake_it(seen: Seen) -> bool:
    """Until it is done, there is an alarm or a process whose word or end is awaited."""
    return seen.after.life is Life.DONE or alarm(seen.after, seen.now) < inf or any(processes(seen.after))


@law(8)
def the_alarm_is_in_time(seen: Seen) -> bool:
    """The alarm rings no later than the first deadline that somebody could miss."""
    after, now = seen.after, seen.now
    rings, times = alarm(after, now), []
    for g in after.generations:
        if g.phase is Phase.DRAINING:
            times += [g.until] if living(g) else []
            continue
        times += [time for w in living(g) for time in (w.until, w.presumed)]
        times += [g.until] if g.phase is Phase.SERVING and g.release == after.wanted else []
        times += [g.not_before] if len(living(g)) < g.policy.workers and not g.failed else []
    if wants_another(after) and running(after) and not in_phase(after, Phase.STARTING):
        times += [after.not_before]
    return all(rings <= time for time in times if time > now)
