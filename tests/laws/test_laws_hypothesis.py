"""The laws hold in any order of events: late, doubled and invented ones, at any time."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import Phase as Try
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.laws.laws import check
from tests.laws.seen import processes, take

from overseer.facts import (
    Answer,
    Asked,
    Cleared,
    Event,
    Exit,
    Exited,
    Extended,
    Failed,
    Halt,
    Handover,
    Hello,
    Life,
    Phase,
    Policy,
    Promote,
    Ready,
    Request,
    Restarts,
    Serve,
    Stage,
    Staged,
    Start,
    Tick,
    Wish,
    World,
)
from overseer.machine import alarm, step

seconds = st.sampled_from([0.25, 1.0, 2.0, 5.0])
policies = st.builds(
    Policy,
    workers=st.sampled_from([1, 1, 1, 2, 3]),
    handover=st.sampled_from([Handover.OVERLAP, Handover.OVERLAP, Handover.SEQUENTIAL]),
    restarts=st.sampled_from([Restarts.ALWAYS, Restarts.ALWAYS, Restarts.NOT_AFTER_FETCH, Restarts.NEVER]),
    ready_after=st.sampled_from([0.0, 0.5, inf]),
    ready_timeout=seconds,
    terminate_timeout=st.sampled_from([0.0, 1.0, 30.0]),
    probation=st.sampled_from([0.0, 1.0, 7.0]),
    max_draining=st.integers(0, 3),
    crash_limit=st.integers(0, 2),
    crash_window=seconds,
)
statuses = st.sampled_from([0, 1, 7, -9, -15])
numbers = st.integers(0, 6)  # counted from the newest: some have gone, some never were
names = st.sampled_from(["", "", "a", "b", "c"])
releases = st.sampled_from("ABCD")


class AnyHistory(RuleBasedStateMachine):
    """One master and whatever can happen to it."""

    @initialize(policy=policies)
    def begin(self, policy: Policy) -> None:
        """Start it."""
        self.world = World("A", "A", policy)
        self.now = 0.0
        self.served: dict[int, tuple[str, float, float]] = {}
        self.failed: set[str] = set()
        self.asked: list[Request] = []
        self.exits: list[int] = []
        self.on(Tick())

    def on(self, event: Event) -> None:
        """Let it happen; ask every law, and those that need the whole history."""
        seen = take(self.world, event, self.now)
        check(seen)
        assert step(self.world, event, self.now) == (seen.after, seen.actions)
        self.asked += [r for r in seen.taken.requests if r not in self.world.requests]
        self.failed = (self.failed | seen.after.held) - (
            {event.release} if isinstance(event, Cleared) else set()
        )
        for world, action, after in seen.deeds:
            match action:
                case Serve(n):
                    g = next(g for g in after.generations if g.number == n)
                    self.served[n] = (g.release, self.now, g.policy.probation)
                case Promote(n, release):
                    served, since, probation = self.served[n]
                    assert served == release
                    assert self.now >= since + probation, "3: a whole probation"
                case Start(_, release):
                    assert release not in self.failed, "3: what failed is not started again by itself"
                case Answer(request):
                    self.asked.remove(request)  # 5: whoever asked, and once
                case Exit(status):
                    self.exits.append(status)
                    assert world.status == status
                case _:
                    pass
        self.world = seen.after
        assert sorted(map(repr, self.asked)) == sorted(map(repr, self.world.requests))

    def somebody(self, back: int, worker: int) -> tuple[int, int]:
        """Return the number of a generation and of a worker, of the living or not."""
        spawned = max((g.spawned for g in self.world.generations), default=1)
        return self.world.started + 1 - back, max(0, spawned + 1 - worker)

    @rule(time=st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 20.0]) | st.floats(0, 100))
    def time_passes(self, time: float) -> None:
        """Without a look at the alarm: the machine may have been stopped."""
        self.now += time
        self.on(Tick())

    @rule()
    def the_alarm_rings(self) -> None:
        """As soon as it should."""
        rings = alarm(self.world, self.now)
        if rings < inf:
            self.now = rings
        self.on(Tick())

    @rule(data=st.data(), policy=policies, status=statuses)
    def somebody_alive_goes_on(self, data: Any, policy: Policy, status: int) -> None:
        """The likely news: what a living worker does next."""
        living = list(processes(self.world))
        if not living:
            return
        g, w = data.draw(st.sampled_from(living))
        n = g.number
        match w.stage:
            case Stage.SPAWNED:
                self.on(Hello(n, w.number, data.draw(st.sampled_from([self.world.policy, policy]))))
            case Stage.ADMITTED:
                self.on(Ready(n, w.number))
            case Stage.KILLED:
                self.on(Exited(n, w.number, -9))
            case _ if g.phase is Phase.DRAINING:
                self.on(Exited(n, w.number, status))
            case _:
                self.on(Tick())

    @rule()
    def everybody_comes_up(self) -> None:
        """Nothing goes wrong with whoever starts."""
        for g, w in list(processes(self.world)):
            if g.phase is Phase.STARTING:
                self.on(Hello(g.number, w.number, g.policy))
                self.on(Ready(g.number, w.number))

    @rule(back=numbers, worker=numbers, policy=policies)
    def somebody_says_hello(self, back: int, worker: int, policy: Policy) -> None:
        """Perhaps twice, perhaps after its end."""
        self.on(Hello(*self.somebody(back, worker), policy))

    @rule(back=numbers, worker=numbers)
    def somebody_says_ready(self, back: int, worker: int) -> None:
        """Perhaps before it may."""
        self.on(Ready(*self.somebody(back, worker)))

    @rule(back=numbers, worker=numbers, status=statuses)
    def somebody_ends(self, back: int, worker: int, status: int) -> None:
        """Perhaps twice."""
        self.on(Exited(*self.somebody(back, worker), status))

    @rule(back=numbers, worker=numbers, seconds=st.floats(0, 100))
    def somebody_needs_longer(self, back: int, worker: int, seconds: float) -> None:
        """Perhaps when it is too late, or for less than it has."""
        self.on(Extended(*self.somebody(back, worker), seconds))

    @rule(back=numbers)
    def somebody_says_it_will_not_do(self, back: int) -> None:
        """Perhaps when it is too late."""
        self.on(Failed(self.world.started + 1 - back, "it says so"))

    @rule(release=releases)
    def a_release_is_staged(self, release: str) -> None:
        """Perhaps one that is known, current or held."""
        self.on(Staged(release))

    @rule(release=releases)
    def a_release_is_cleared(self, release: str) -> None:
        """Perhaps one that is not held."""
        self.on(Cleared(release))

    @rule(name=names)
    def a_restart_is_asked_for(self, name: str) -> None:
        """By a signal, or by somebody who waits for the answer."""
        self.on(Asked(name, Wish.RESTART))

    @precondition(lambda self: self.world.started > 3)
    @rule(name=names)
    def a_stop_is_asked_for(self, name: str) -> None:
        """Not too early, or the histories are short."""
        self.on(Asked(name, Wish.STOP))

    @precondition(lambda self: self.world.started > 3)
    @rule()
    def a_halt_is_asked_for(self) -> None:
        """Likewise."""
        self.on(Halt())

    def teardown(self) -> None:
        """Whatever happened: a stop ends in an exit, if only the killed die."""
        if not hasattr(self, "world"):
            return
        self.on(Asked("last", Wish.STOP))
        for _ in range(200):
            dead = [(g.number, w.number) for g, w in processes(self.world) if w.stage is Stage.KILLED]
            for n, w in dead:
                self.on(Exited(n, w, -9))
            if self.world.life is Life.DONE:
                break
            rings = alarm(self.world, self.now)
            assert rings < inf or dead, "8: nothing would ever wake it"
            self.now = max(self.now, rings) if rings < inf else self.now
            self.on(Tick())
        assert self.world.life is Life.DONE
        assert len(self.exits) == 1
        assert self.asked == []


def often(histories: int, steps: int) -> settings:
    """Return how many histories of how many steps are tried; time on this machine does not matter."""
    return settings(max_examples=histories, stateful_step_count=steps, deadline=None)


def walk(histories: int, steps: int) -> None:
    """Try the same few histories each time, and look no further into what breaks a law."""
    only = settings(
        often(histories, steps),
        phases=[Try.generate],
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(AnyHistory, settings=only)


def test_the_laws_hold_in_any_history() -> None:
    """A hundred of them on every occasion."""
    run_state_machine_as_test(AnyHistory, settings=often(100, 40))


@pytest.mark.long
def test_the_laws_hold_in_thousands_of_histories() -> None:
    """Where there is time."""
    run_state_machine_as_test(AnyHistory, settings=often(2000, 60))
