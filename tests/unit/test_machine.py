"""The heart tells its story: starts, restarts and their answers, upgrades and the way back."""

from __future__ import annotations

from math import inf

from tests.unit.tube import RESTART, Tube, serving

from overseer.facts import (
    Admit,
    Answer,
    Asked,
    Cleared,
    Drain,
    Exit,
    Exited,
    Failed,
    GiveUp,
    Handover,
    Hello,
    Install,
    Kill,
    Outcome,
    Phase,
    Presume,
    Promote,
    Ready,
    Request,
    Restarts,
    Serve,
    Spawn,
    Start,
    Tick,
    World,
)
from overseer.machine import alarm, step
from overseer.values import replace


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


# -- upgrades ----------------------------------------------------------------------------------------------


def test_an_upgrade_is_a_restart_with_another_release() -> None:
    """It is started beside the old one, and current only after a whole probation."""
    tube = serving(probation=30.0)
    assert tube.stage("B") == [Start(2, "B"), Spawn(2, 1, "B")]
    assert tube.up(2) == [Serve(2), Drain(1)]
    tube.exits(1)
    assert tube.wait(29.9) == []
    assert tube.world.current == "A"
    assert tube.wait(0.1) == [Promote(2, "B")]
    assert tube.world.current == "B"


def test_the_same_release_twice_is_no_upgrade() -> None:
    """What is wanted already is not started again."""
    tube = serving()
    assert tube.stage("A") == []
    tube.stage("B")
    assert tube.stage("B") == []


def test_a_bad_release_is_a_non_event() -> None:
    """It fails before it serves: the old one serves on, and the bad one is never taken again."""
    tube = serving()
    tube.stage("B")
    assert tube.exits(2, status=1) == []
    assert tube.world.wanted == "A"
    assert tube.world.held == {"B"}
    assert tube.stage("B") == []


def test_a_release_that_dies_on_probation_is_rolled_back() -> None:
    """The release before, which never ceased to be current, comes back."""
    tube = serving()
    tube.stage("B")
    tube.up(2)
    tube.exits(1)
    tube.wait(29)
    assert tube.exits(2, status=1) == [Start(3, "A"), Spawn(3, 1, "A")]
    assert tube.world.held == {"B"}
    assert tube.world.reason == "ended unasked (exit status 1)", "it is told after the generation has gone"
    tube.up(3)
    assert tube.wait(3600) == []


def test_a_release_can_say_itself_that_it_will_not_do() -> None:
    """On probation its word is enough; it serves until the old release does."""
    tube = serving()
    tube.stage("B")
    tube.up(2)
    tube.exits(1)
    assert tube.on(Failed(2, "health")) == [Start(3, "A"), Spawn(3, 1, "A")]
    assert tube.up(3) == [Serve(3), Drain(2)]


def test_the_current_release_cannot_talk_itself_out_of_service() -> None:
    """There is no way back from it, so its word changes nothing."""
    tube = serving()
    assert tube.on(Failed(1, "health")) == []
    assert tube.phases() == {1: Phase.SERVING}


def test_a_generation_that_says_it_will_not_start_is_asked_to_leave() -> None:
    """Before it serves its word is as good as its end."""
    tube = serving()
    tube.restart()
    failed = Answer(Request("cli", RESTART, 2), Outcome.FAILED, "no database")
    assert tube.on(Failed(2, "no database")) == [failed, Drain(2)]


def test_what_a_held_release_needs_is_the_operators_word() -> None:
    """Cleared, it is staged like any other."""
    tube = serving()
    tube.stage("B")
    tube.exits(2, status=1)
    assert tube.on(Cleared("B")) == []
    assert tube.stage("B") == [Start(3, "B"), Spawn(3, 1, "B")]


def test_a_newer_release_takes_the_place_of_one_that_is_starting() -> None:
    """The half-started one is asked to leave; it has not failed."""
    tube = serving()
    tube.stage("B")
    assert tube.stage("C") == [Drain(2), Start(3, "C"), Spawn(3, 1, "C")]
    assert tube.world.held == frozenset()


def test_the_only_hope_is_not_sent_away_for_a_newer_release() -> None:
    """While nobody serves, what is starting may finish."""
    tube = Tube()
    assert tube.stage("B") == []
    assert tube.up(1) == [Serve(1), Start(2, "B"), Spawn(2, 1, "B")]


def test_a_newer_release_that_fails_does_not_take_a_good_one_along() -> None:
    """What serves on probation is wanted again, and is promoted when its time has come."""
    tube = serving(probation=30.0)
    tube.stage("B")
    tube.up(2)
    tube.exits(1)
    tube.wait(20)
    tube.stage("C")
    tube.wait(20)
    assert tube.exits(3, status=1) == [Promote(2, "B")]


def test_a_release_that_fails_while_a_newer_one_starts_does_not_take_it_along() -> None:
    """Only the one that failed is held; the newer one is still wanted."""
    tube = serving()
    tube.stage("B")
    tube.up(2)
    tube.stage("C")
    assert tube.exits(2, status=1) == []
    assert tube.world.wanted == "C"
    assert tube.world.held == {"B"}


def test_after_a_recovery_an_upgrade_is_started_at_once() -> None:
    """Who serves has ended the backoff."""
    tube = serving()
    tube.restart()
    tube.exits(1, status=1)
    tube.up(2)
    assert tube.stage("B") == [Start(3, "B"), Spawn(3, 1, "B")]


def test_a_release_whose_restart_fails_on_probation_is_rolled_back() -> None:
    """It failed once: it is not trusted any more, though a generation of it serves."""
    tube = serving()
    tube.stage("B")
    tube.up(2)
    tube.restart()
    assert Start(4, "A") in tube.exits(3, status=1)
    assert tube.up(4)[-1] == Drain(2)


def test_the_current_release_that_fails_beside_a_bad_one_is_tried_later_and_later() -> None:
    """A bad new release is better than nobody: it serves while the waits grow to 15 s, for months on end."""
    tube = serving()
    tube.stage("B")
    tube.up(2)
    tube.exits(1)
    tube.on(Failed(2, "health"))
    waits = []
    for n in range(3, 11):
        if n == 9:  # the months have passed
            tube.world = replace(tube.world, failures=10**6)
        tube.exits(n, status=1)
        waits.append(alarm(tube.world, tube.now) - tube.now)
        assert tube.wait(waits[-1]) == [Start(n + 1, "A"), Spawn(n + 1, 1, "A")]
    assert waits == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0]
    tube.up(11)
    assert (tube.world.failures, alarm(tube.world, tube.now)) == (0, tube.now + 30.0)


# -- sequential handover -----------------------------------------------------------------------------------


def test_a_program_that_must_be_alone_is_started_when_the_old_one_has_left() -> None:
    """Sequential handover: out with the old before in with the new."""
    tube = serving(handover=Handover.SEQUENTIAL)
    assert tube.restart() == [Drain(1)]
    assert tube.wait(29) == []
    assert tube.exits(1) == [Start(2, "A"), Spawn(2, 1, "A")]


def test_a_new_release_that_must_be_alone_waits_for_its_listeners() -> None:
    """It says so in its hello: the old one drains, and only then the new one is admitted."""
    tube = serving()
    tube.stage("B")
    assert tube.hello(2, handover=Handover.SEQUENTIAL) == [Drain(1)]
    assert tube.exits(1) == [Admit(2, 1)]
    assert tube.ready(2) == [Serve(2)]


def test_who_waits_to_be_alone_loses_no_patience() -> None:
    """While others leave no deadline runs against it."""
    tube = serving(terminate_timeout=500.0, ready_timeout=60.0)
    tube.stage("B")
    tube.hello(2, handover=Handover.SEQUENTIAL)
    assert alarm(tube.world, tube.now) == tube.now + 500
    assert tube.wait(499) == []


def test_a_release_that_fails_alone_is_followed_by_the_one_before() -> None:
    """Nobody serves meanwhile, as was agreed; the way back is the same."""
    tube = serving(handover=Handover.SEQUENTIAL)
    tube.stage("B")
    tube.exits(1)
    assert tube.exits(2, status=1) == [Start(3, "A"), Spawn(3, 1, "A")]


# -- restarts by hand --------------------------------------------------------------------------------------


def test_an_upgrade_that_may_not_restart_is_installed_and_waits() -> None:
    """`no_restart_after_fetch`: the public place has it, the next restart by hand starts it."""
    tube = serving(restarts=Restarts.NOT_AFTER_FETCH)
    assert tube.stage("B") == [Install("B")]
    assert tube.stage("B") == []
    assert tube.restart() == [Start(2, "B"), Spawn(2, 1, "B")]
    assert tube.world.parked == ""


def test_what_waits_stays_in_the_public_place_when_another_release_is_promoted() -> None:
    """A promotion publishes its release; what is to be started next is put back over it."""
    tube = serving(restarts=Restarts.NOT_AFTER_FETCH, probation=30.0)
    tube.stage("B")
    tube.restart()
    tube.up(2)
    assert tube.stage("C") == [Install("C")]
    assert tube.wait(30) == [
        Kill(1, 1, "still there 30 s after it was asked to leave"),
        Promote(2, "B"),
        Install("C"),
    ]


def test_what_waits_is_not_forgotten_when_another_release_fails() -> None:
    """The next restart by hand starts it."""
    tube = serving(restarts=Restarts.NOT_AFTER_FETCH)
    tube.stage("B")
    tube.restart()
    tube.stage("C")
    tube.exits(2, status=1)
    assert tube.restart() == [Start(3, "C"), Spawn(3, 1, "C")]


def test_an_installed_release_that_fails_is_put_back() -> None:
    """The public place goes back to what is current, so that a reboot starts what works."""
    tube = serving(restarts=Restarts.NOT_AFTER_FETCH)
    tube.stage("B")
    tube.restart()
    assert Install("A") in tube.exits(2, status=1)
    assert tube.stage("B") == []


def test_the_last_of_several_installed_releases_is_started() -> None:
    """What is newer takes the place of what waits."""
    tube = serving(restarts=Restarts.NOT_AFTER_FETCH)
    tube.stage("B")
    assert tube.stage("C") == [Install("C")]
    assert tube.restart() == [Start(2, "C"), Spawn(2, 1, "C")]


def test_an_upgrade_at_once_forgets_what_waited() -> None:
    """When restarts are allowed again, an older release that waited does not come back."""
    tube = serving(restarts=Restarts.NOT_AFTER_FETCH)
    tube.restart()
    tube.stage("B")
    tube.up(2, restarts=Restarts.ALWAYS)
    tube.stage("C")
    tube.up(3, restarts=Restarts.ALWAYS)
    assert tube.restart() == [Start(4, "C"), Spawn(4, 1, "C")]


def test_a_release_that_waits_and_has_failed_meanwhile_is_forgotten() -> None:
    """A restart by hand does not start what is held."""
    tube = serving(probation=inf)
    tube.stage("B")
    tube.up(2, restarts=Restarts.NOT_AFTER_FETCH)
    tube.stage("A")
    tube.restart()
    tube.stage("B")
    assert Install("A") in tube.on(Failed(2, "health"))
    assert tube.world.parked == ""


def test_with_no_restart_the_wish_for_one_stops_the_program() -> None:
    """Upgrades still are installed: self-upgrading command-line tools."""
    tube = serving(restarts=Restarts.NEVER)
    assert tube.stage("B") == [Install("B")]
    wish = Request("cli", RESTART, 0)
    assert tube.on(Asked("cli", RESTART)) == [
        Answer(wish, Outcome.STOPPED, "the master is stopping"),
        Drain(1),
    ]
    assert tube.exits(1, status=0) == [Exit(0)]
