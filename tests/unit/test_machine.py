"""The heart tells its story: starts, restarts and their answers, draining."""

from __future__ import annotations

from math import inf

from tests.unit.tube import RESTART, Tube, serving

from overseer.facts import (
    Admit,
    Answer,
    Drain,
    Exited,
    Failed,
    GiveUp,
    Hello,
    Kill,
    Outcome,
    Phase,
    Presume,
    Ready,
    Request,
    Serve,
    Spawn,
    Start,
    Tick,
    World,
)
from overseer.machine import alarm, step


def test_the_first_generation_is_started_at_once() -> None:
    """A new master has one thing to do."""
    tube = Tube()
    _, actions = step(World("A", "A", tube.policy), Tick(), 0.0)
    assert actions == [Start(1, "A"), Spawn(1, 1, "A")]


def test_a_worker_gets_its_listeners_when_it_has_said_hello() -> None:
    """Hello brings admission, and only its own ready word makes it serve."""
    tube = Tube()
    assert tube.hello(1) == [Admit(1, 1)]
    assert tube.phases() == {1: Phase.STARTING}
    assert tube.ready(1) == [Serve(1)]
    assert tube.phases() == {1: Phase.SERVING}


def test_a_word_out_of_turn_is_not_ready() -> None:
    """Ready counts only from a worker that has its listeners."""
    tube = Tube()
    assert tube.ready(1) == []
    assert tube.phases() == {1: Phase.STARTING}


def test_a_quiet_program_is_presumed_ready_after_a_while() -> None:
    """A program that says nothing counts as ready when it has been alive for `ready_after`."""
    tube = Tube()
    tube.hello(1, ready_after=1.0)
    assert tube.wait(0.9) == []
    assert tube.wait(0.1) == [Presume(1, 1), Serve(1)]


def test_a_master_that_overslept_still_presumes() -> None:
    """After a stop of the whole machine a program that lived through it is ready, not late."""
    tube = Tube()
    tube.hello(1, ready_after=1.0)
    tube.now += 3600
    assert tube.on(Tick()) == [Presume(1, 1), Serve(1)]


def test_nothing_is_left_to_do_while_all_is_well() -> None:
    """A master whose program serves sleeps without an alarm."""
    tube = serving()
    assert alarm(tube.world, tube.now) == inf


# -- restarts ----------------------------------------------------------------------------------------------


def test_a_restart_waits_until_the_new_one_is_ready() -> None:
    """The old generation is asked to leave only when the new one serves."""
    tube = serving()
    assert tube.restart() == [Start(2, "A"), Spawn(2, 1, "A")]
    assert tube.hello(2) == [Admit(2, 1)]
    assert tube.phases() == {1: Phase.SERVING, 2: Phase.STARTING}
    answer = Answer(Request("cli", RESTART, 2), Outcome.DONE, "generation 2 serves")
    assert tube.ready(2) == [Serve(2), answer, Drain(1)]
    assert tube.exits(1) == []
    assert tube.phases() == {2: Phase.SERVING}


def test_a_hundred_requests_during_a_start_become_one_follow_up() -> None:
    """Everybody gets a generation younger than the wish, and an answer; one start does for all."""
    tube = serving()
    tube.restart("first")
    assert [action for i in range(100) for action in tube.restart(f"cli {i}")] == []
    started = tube.up(2)
    assert [a.generation for a in started if isinstance(a, Start)] == [3]
    assert [a.request.name for a in started if isinstance(a, Answer)] == ["first"]
    done = tube.up(3)
    assert len([a for a in done if isinstance(a, Answer) and a.outcome is Outcome.DONE]) == 100
    assert not [a for a in done if isinstance(a, Start)]


def test_a_hundred_signals_between_two_starts_are_one_wish() -> None:
    """A signal has no name; nobody waits for a hundred answers."""
    tube = serving()
    tube.restart("")
    for _ in range(100):
        tube.restart("")
    assert tube.world.requests == (Request("", RESTART, 2), Request("", RESTART, 3))


def test_a_start_that_fails_is_a_non_event() -> None:
    """The old generation serves on, who asked is told why, and nothing is tried again unasked."""
    tube = serving()
    tube.restart()
    why = "ended before it was ready (exit status 3)"
    assert tube.exits(2, status=3) == [Answer(Request("cli", RESTART, 2), Outcome.FAILED, why)]
    assert tube.phases() == {1: Phase.SERVING}
    assert tube.wait(3600) == []


def test_a_start_that_is_killed_tells_the_signal() -> None:
    """A death by signal is told as one."""
    tube = serving()
    tube.restart()
    tube.exits(2, status=-11)
    assert tube.world.reason == "ended before it was ready (killed by signal 11)"


def test_a_program_that_never_says_hello_is_given_up() -> None:
    """It is asked to leave after `ready_timeout`, and killed when it does not."""
    tube = serving(ready_timeout=60.0, terminate_timeout=30.0)
    tube.restart()
    assert tube.wait(59.9) == []
    why = "did not say hello within 60 s"
    failed = Answer(Request("cli", RESTART, 2), Outcome.FAILED, why)
    assert tube.wait(0.1) == [GiveUp(2, why), failed, Drain(2)]
    assert tube.wait(29.9) == []
    assert tube.wait(0.1) == [Kill(2, 1, "still there 30 s after it was asked to leave")]
    assert tube.exits(2, status=-9) == []
    assert tube.phases() == {1: Phase.SERVING}


def test_a_program_that_never_gets_ready_is_given_up() -> None:
    """Its patience begins anew when it has its listeners."""
    tube = serving(ready_timeout=60.0)
    tube.restart()
    tube.wait(50)
    tube.hello(2)
    assert tube.wait(59.9) == []
    assert tube.wait(0.1)[0] == GiveUp(2, "was not ready within 60 s")


def test_after_a_failed_start_the_next_wish_is_granted_at_once() -> None:
    """Whoever asks by hand does not wait for a backoff."""
    tube = serving()
    tube.restart()
    tube.exits(2, status=1)
    assert tube.restart() == [Start(3, "A"), Spawn(3, 1, "A")]


def test_a_wish_that_was_made_during_a_failing_start_is_tried_after_a_backoff() -> None:
    """The later wish is not answered by the earlier failure."""
    tube = serving()
    tube.restart("one")
    tube.restart("two")
    failed = tube.exits(2, status=1)
    assert [(a.request.name, a.outcome) for a in failed if isinstance(a, Answer)] == [("one", Outcome.FAILED)]
    assert tube.wait(0.9) == []
    assert tube.wait(0.1) == [Start(3, "A"), Spawn(3, 1, "A")]
    assert Answer(Request("two", RESTART, 3), Outcome.DONE, "generation 3 serves") in tube.up(3)


def test_late_news_of_an_old_generation_is_no_news_of_a_new_one() -> None:
    """Words and ends find the generation they are about, or nobody."""
    tube = serving()
    tube.restart()
    tube.up(2)
    tube.exits(1)
    before = tube.world
    for late in (Ready(1, 1), Exited(1, 1, 1), Hello(1, 1, tube.policy), Failed(1, "late"), Exited(2, 9, 1)):
        assert tube.on(late) == []
    assert tube.world == before


# -- draining ----------------------------------------------------------------------------------------------


def test_a_generation_that_does_not_leave_is_killed_and_it_is_said() -> None:
    """The drain is bounded by `terminate_timeout`."""
    tube = serving(terminate_timeout=30.0)
    tube.restart()
    tube.up(2)
    assert tube.wait(29.9) == []
    assert tube.wait(0.1) == [Kill(1, 1, "still there 30 s after it was asked to leave")]
    assert tube.wait(3600) == []


def test_long_connections_never_block_the_next_restart() -> None:
    """Several generations drain at the same time."""
    tube = serving(max_draining=4)
    for n in (2, 3, 4, 5):
        tube.restart()
        tube.up(n)
    draining = dict.fromkeys((1, 2, 3, 4), Phase.DRAINING)
    assert tube.phases() == {**draining, 5: Phase.SERVING}


def test_of_too_many_that_drain_the_oldest_is_killed() -> None:
    """More than `max_draining` do not drain; the oldest has had the longest."""
    tube = serving(max_draining=2)
    for n in (2, 3):
        tube.restart()
        tube.up(n)
    tube.restart()
    actions = tube.up(4)
    assert actions[-2:] == [Drain(3), Kill(1, 1, "more than 2 generations would be draining")]
    tube.restart()
    assert [a.generation for a in tube.up(5) if isinstance(a, Kill)] == [2]


def test_nobody_may_drain_where_none_is_allowed_to() -> None:
    """`max_draining` of 0 is strange and means what it says."""
    tube = serving(max_draining=0)
    tube.restart()
    killed = Kill(1, 1, "more than 0 generations would be draining")
    assert tube.up(2)[-2:] == [Drain(1), killed]
