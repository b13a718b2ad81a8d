"""The heart tells its story: generations of several workers, what they lose and what replaces it."""

from __future__ import annotations

from math import inf

from tests.unit.tube import Tube, serving

from overseer.facts import (
    Admit,
    Drain,
    Exit,
    Failed,
    Finish,
    GiveUp,
    Kill,
    Phase,
    Presume,
    Serve,
    Spawn,
    Start,
)
from overseer.machine import KILLED_BY_US, alarm


def test_a_generation_serves_when_all_its_workers_are_ready() -> None:
    """The old workers drain only then."""
    tube = serving(workers=2)
    assert tube.restart() == [Start(2, "A"), Spawn(2, 1, "A"), Spawn(2, 2, "A")]
    tube.hello(2, 1)
    tube.hello(2, 2)
    assert tube.ready(2, 2) == []
    assert tube.ready(2, 1)[0] == Serve(2)


def test_a_worker_is_admitted_without_waiting_for_the_others() -> None:
    """Each gets its listeners when it says hello."""
    tube = Tube(workers=2)
    assert tube.hello(1, 2) == [Admit(1, 2)]
    assert tube.hello(1, 1) == [Admit(1, 1)]


def test_a_new_release_can_ask_for_more_workers() -> None:
    """The first hello tells; the rest are spawned before anybody drains."""
    tube = serving()
    tube.stage("B")
    assert tube.hello(2, workers=3) == [Admit(2, 1), Spawn(2, 2, "B"), Spawn(2, 3, "B")]
    for worker in (2, 3):
        tube.hello(2, worker, workers=3)
    assert [tube.ready(2, worker) for worker in (1, 2, 3)] == [[], [], [Serve(2), Drain(1)]]


def test_a_new_release_can_ask_for_fewer_workers() -> None:
    """The ones too many have nothing yet and are killed."""
    tube = serving(workers=3)
    tube.stage("B")
    why = "its release asks for fewer workers"
    assert tube.hello(2, 2, workers=1) == [Kill(2, 2, why), Kill(2, 3, why)]
    assert tube.hello(2, 1, workers=1) == [Admit(2, 1)]


def test_the_end_of_a_worker_too_many_is_no_crash() -> None:
    """It does not fail the generation, neither while it starts nor when it serves."""
    tube = serving(workers=3)
    tube.stage("B")
    tube.hello(2, 1, workers=1)
    assert tube.exits(2, 3, status=-9) == []
    assert tube.ready(2, 1) == [Serve(2), Drain(1)]
    assert tube.exits(2, 2, status=-9) == []
    assert tube.phases()[2] is Phase.SERVING


def test_sixty_workers_too_many_are_no_crash_loop() -> None:
    """From 64 to 2 workers in one release."""
    tube = serving(workers=64)
    tube.stage("B")
    tube.hello(2, 1, workers=2)
    tube.hello(2, 2, workers=2)
    tube.ready(2, 1)
    tube.ready(2, 2)
    assert [action for worker in range(3, 65) for action in tube.exits(2, worker, status=-9)] == []
    assert tube.phases()[2] is Phase.SERVING


def test_the_first_to_say_hello_speaks_for_its_release() -> None:
    """A second worker that says otherwise is not heard."""
    tube = Tube(workers=2)
    tube.hello(1, 1)
    tube.hello(1, 2, workers=5)
    assert tube.world.generations[0].policy.workers == 2


def test_one_worker_that_fails_before_ready_fails_the_generation() -> None:
    """A start is all or nothing."""
    tube = serving(workers=2)
    tube.restart()
    tube.hello(2, 1)
    assert tube.exits(2, 2, status=1)[-1] == Drain(2)
    assert tube.phases() == {1: Phase.SERVING, 2: Phase.DRAINING}


def test_a_worker_that_dies_is_replaced_at_once() -> None:
    """The others serve on; nothing else changes."""
    tube = serving(workers=2)
    assert tube.exits(1, 1, status=-11) == [Spawn(1, 3, "A")]
    assert tube.hello(1, 3) == [Admit(1, 3)]
    assert tube.ready(1, 3) == []


def test_the_first_loss_of_every_worker_is_replaced_at_once() -> None:
    """One end each is no loop; from then on it waits 1, 2, 4, 8 and at most 15 s."""
    tube = serving(workers=2, crash_limit=8)
    waits = []
    for worker in range(3, 17):
        tube.exits(1, worker - 1, status=1)
        waits.append(max(0.0, alarm(tube.world, tube.now) - tube.now) if not _spawned(tube, worker) else 0.0)
        tube.wait(waits[-1])
        tube.hello(1, worker)
        tube.ready(1, worker)
    assert waits == [0, 0, 1, 1, 2, 2, 4, 4, 8, 8, 15, 15, 15, 15]


def test_a_generation_that_has_lost_all_its_workers_waits_for_the_next() -> None:
    """It stays the one that serves; no other is begun."""
    tube = serving(workers=2, crash_limit=8)
    for worker in (1, 2, 3, 4):
        tube.exits(1, worker, status=1)
    assert tube.phases() == {1: Phase.SERVING}
    assert tube.wait(1) == [Spawn(1, 5, "A"), Spawn(1, 6, "A")]


def _spawned(tube: Tube, worker: int) -> bool:
    return any(w.number == worker for w in tube.world.generations[0].workers)


def test_a_crash_loop_ends_the_master_with_the_workers_status() -> None:
    """More than `crash_limit` ends in a row for each worker are too many."""
    tube = serving(workers=2, crash_limit=1)
    assert tube.exits(1, 1, status=3) == [Spawn(1, 3, "A")]
    assert tube.exits(1, 2, status=3) == [Spawn(1, 4, "A")]
    end = tube.exits(1, 3, status=5)
    assert end == [GiveUp(1, "3 workers in a row ended unasked"), Finish(5), Drain(1)]
    assert tube.exits(1, 4, status=0) == [Exit(5)]


def test_a_crash_loop_of_clean_ends_still_is_a_failure() -> None:
    """Nobody who watches the master may take it for done."""
    tube = serving(workers=2, crash_limit=0)
    assert Finish(1) in tube.exits(1, 1, status=0)


def test_ends_that_are_far_apart_are_no_loop() -> None:
    """A whole `crash_window` without one makes the next the first."""
    tube = serving(workers=2, crash_limit=1, crash_window=60.0)
    for worker in range(2, 12):
        assert tube.exits(1, worker, status=1) == [Spawn(1, worker + 1, "A")]
        tube.hello(1, worker + 1)
        tube.ready(1, worker + 1)
        tube.wait(60)
    assert tube.world.generations[0].crashes == 1


def test_a_crash_loop_on_probation_is_rolled_back() -> None:
    """The release before is started beside what is left of the bad one, which then leaves."""
    tube = serving(workers=2, crash_limit=0)
    tube.stage("B")
    tube.up(2)
    tube.exits(1, 1)
    tube.exits(1, 2)
    end = tube.exits(2, 1, status=1)
    begun = [Start(3, "A"), Spawn(3, 1, "A"), Spawn(3, 2, "A")]
    assert end == [GiveUp(2, "1 workers in a row ended unasked"), *begun]
    assert tube.up(3) == [Serve(3), Drain(2)]


def test_a_failed_generation_gets_no_new_workers() -> None:
    """It serves with what it has until somebody takes over."""
    tube = serving(workers=2, crash_limit=0)
    tube.stage("B")
    tube.up(2)
    tube.exits(2, 1, status=1)
    assert tube.exits(2, 2, status=1) == []
    assert 2 not in tube.phases()


def test_the_current_release_is_started_again_if_its_successor_fails_too() -> None:
    """It failed beside a starting generation, so the master did not end: it has another try."""
    tube = serving(workers=2, crash_limit=0)
    tube.stage("B")
    tube.exits(1, 1, status=1)
    assert tube.exits(2, 1, status=1) == [Drain(2)]
    assert tube.wait(1.0) == [Start(3, "A"), Spawn(3, 1, "A"), Spawn(3, 2, "A")]
    assert Finish(4) in tube.exits(3, 1, status=4)


def test_a_replacement_that_never_gets_ready_is_killed_and_counts() -> None:
    """It is replaced in turn, and with enough of them in a row the generation has failed."""
    tube = serving(workers=2, crash_limit=1, crash_window=inf, ready_timeout=60.0)
    tube.exits(1, 1, status=1)
    tube.hello(1, 3)
    assert tube.wait(60) == [Kill(1, 3, "was not ready within 60 s"), Spawn(1, 4, "A")]
    assert tube.exits(1, 3, status=-9) == []
    late = Kill(1, 4, "did not say hello within 60 s")
    end = [late, GiveUp(1, "3 workers in a row ended unasked"), Finish(KILLED_BY_US), Drain(1)]
    assert tube.wait(60) == end


def test_a_replacement_is_presumed_ready_like_the_others() -> None:
    """Words are as optional for it."""
    tube = Tube(workers=2, ready_after=1.0)
    for worker in (1, 2):
        tube.hello(1, worker)
    tube.wait(1)
    tube.exits(1, 1)
    tube.hello(1, 3)
    assert tube.wait(1) == [Presume(1, 3)]


def test_several_workers_can_say_that_their_release_will_not_do() -> None:
    """A word of one is a word of all."""
    tube = serving(workers=2)
    tube.stage("B")
    assert tube.on(Failed(2, "no database")) == [Drain(2)]
    assert tube.world.held == {"B"}
