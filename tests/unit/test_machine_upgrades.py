"""The heart tells its story: upgrades, the way back, programs that must be alone, restarts by hand."""

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
    Failed,
    Handover,
    Install,
    Kill,
    Outcome,
    Phase,
    Promote,
    Request,
    Restarts,
    Serve,
    Spawn,
    Start,
)
from overseer.machine import alarm
from overseer.values import replace

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
