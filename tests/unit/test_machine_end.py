"""The heart tells its story: stops, ends, and the status that comes out."""

from __future__ import annotations

from math import inf

import pytest
from tests.unit.tube import RESTART, STOP, Tube, serving

from overseer.facts import (
    Answer,
    Drain,
    Exit,
    Failed,
    Finish,
    GiveUp,
    Halt,
    Handover,
    Kill,
    Life,
    Outcome,
    Request,
    Restarts,
    Spawn,
    Staged,
    Start,
    Tick,
)
from overseer.machine import GAVE_UP, KILLED_BY_US, alarm, ending


@pytest.mark.parametrize("status", [0, 1, 7, 255, -15, -9, -11])
def test_the_end_of_the_only_program_is_the_end_of_the_master(status: int) -> None:
    """It is no process manager: with one worker the same status comes out, whatever it is."""
    assert serving().exits(1, status=status) == [Finish(status), Exit(status)]


def test_a_first_start_that_fails_ends_the_master_with_its_status() -> None:
    """There is nobody to fall back to."""
    assert Tube().exits(1, status=3) == [Finish(3), Exit(3)]


def test_a_first_start_that_hangs_ends_the_master_with_failure() -> None:
    """Even if the program leaves politely when it is asked to."""
    tube = Tube(ready_timeout=60.0)
    assert tube.wait(60) == [GiveUp(1, "did not say hello within 60 s"), Drain(1), Finish(GAVE_UP)]
    assert tube.exits(1, status=0) == [Exit(GAVE_UP)]


def test_a_first_start_that_says_it_will_not_do_ends_the_master_with_failure() -> None:
    """Its word stands for a status."""
    tube = Tube()
    assert tube.on(Failed(1, "address in use")) == [Drain(1), Finish(GAVE_UP)]


def test_the_master_does_not_end_while_a_successor_starts() -> None:
    """The program ended by itself during a restart; the new generation is the service now."""
    tube = serving()
    tube.restart()
    assert tube.exits(1, status=1) == []
    tube.up(2)
    assert tube.world.life is Life.RUNNING


def test_the_master_ends_when_the_successor_fails_too() -> None:
    """The last hope's status is the master's."""
    tube = serving()
    tube.restart()
    tube.exits(1, status=1)
    failed = Answer(Request("cli", RESTART, 2), Outcome.FAILED, "ended before it was ready (exit status 4)")
    assert tube.exits(2, status=4) == [failed, Finish(4), Exit(4)]


def test_the_master_waits_for_who_still_drains_before_it_ends() -> None:
    """An older generation may finish its connections; its status is not the master's."""
    tube = serving()
    tube.restart()
    tube.up(2)
    assert tube.exits(2, status=7) == [Finish(7)]
    assert tube.exits(1, status=1) == [Exit(7)]


def test_in_sequential_handover_a_failed_restart_is_the_end() -> None:
    """The old one has gone as agreed; the process manager decides what comes next."""
    tube = serving(handover=Handover.SEQUENTIAL)
    tube.restart()
    tube.exits(1)
    assert Finish(4) in tube.exits(2, status=4)


# -- commands, which are never restarted ---------------------------------------------------------------------


def test_a_command_that_is_done_is_done() -> None:
    """Its status comes out, and nothing is started again."""
    tube = serving(restarts=Restarts.NEVER)
    assert tube.exits(1, status=3) == [Finish(3), Exit(3)]


def test_a_command_may_be_done_before_it_counts_as_ready() -> None:
    """A short one is no failed start."""
    assert Tube(restarts=Restarts.NEVER).exits(1, status=0) == [Finish(0), Exit(0)]


def test_a_command_of_a_new_release_is_not_done_again_by_the_old_one() -> None:
    """It ended, well or not; that is no reason to run another release, nor to hold this one."""
    tube = serving()
    tube.stage("B")
    tube.up(2, restarts=Restarts.NEVER)
    tube.exits(1)
    assert tube.exits(2, status=1) == [Finish(1), Exit(1)]
    assert tube.world.held == frozenset()


def test_a_command_that_fails_beside_a_service_is_a_bad_release() -> None:
    """Somebody serves, so its end is not the end: it is held, and the old one serves on."""
    tube = serving()
    tube.stage("B")
    tube.hello(2, restarts=Restarts.NEVER)
    assert tube.exits(2, status=1) == []
    assert tube.world.held == {"B"}


def test_a_command_of_several_workers_replaces_them() -> None:
    """One of several is not the command."""
    tube = serving(restarts=Restarts.NEVER, workers=2)
    assert tube.exits(1, 1, status=1) == [Spawn(1, 3, "A")]


# -- asked to stop -----------------------------------------------------------------------------------------


def test_a_stop_lets_the_program_finish_and_takes_its_status() -> None:
    """Drain, wait, exit; whoever asked is told at the end."""
    tube = serving()
    assert tube.stop() == [Drain(1)]
    assert tube.wait(29) == []
    assert tube.exits(1, status=5) == [Answer(Request("cli", STOP), Outcome.DONE, "stopped"), Exit(5)]


def test_a_stop_reproduces_the_signal_a_program_ended_with() -> None:
    """Many servers end a clean drain by raising the signal again."""
    tube = serving()
    tube.stop("")
    assert tube.exits(1, status=-15)[-1] == Exit(-15)


def test_our_own_kill_comes_out_as_137() -> None:
    """The master exits, it does not kill itself."""
    tube = serving()
    tube.stop("")
    assert tube.wait(30) == [Kill(1, 1, "still there 30 s after it was asked to leave")]
    assert tube.exits(1, status=-9)[-1] == Exit(KILLED_BY_US)


def test_a_kill_by_somebody_else_comes_out_as_a_signal() -> None:
    """Only our own is translated."""
    tube = serving()
    tube.stop("")
    assert tube.exits(1, status=-9)[-1] == Exit(-9)


def test_who_ends_with_its_own_status_just_before_our_kill_keeps_it() -> None:
    """The kill came too late."""
    tube = serving()
    tube.stop("")
    tube.wait(30)
    assert tube.exits(1, status=0)[-1] == Exit(0)


def test_a_stop_waits_for_all_who_drain_and_reports_who_served() -> None:
    """Several generations leave at the same time; the newest that served is the heir."""
    tube = serving()
    for n in (2, 3):
        tube.restart()
        tube.up(n)
    assert tube.stop("") == [Drain(3)]
    assert tube.exits(3, status=5) == []
    assert tube.exits(1, status=1) == []
    assert tube.exits(2, status=2)[-1] == Exit(5)


def test_a_stop_during_a_restart_takes_the_status_of_who_served() -> None:
    """The half-started one leaves as well; its wish is answered."""
    tube = serving()
    tube.restart()
    stopped = Answer(Request("cli", RESTART, 2), Outcome.STOPPED, "the master is stopping")
    assert tube.stop("") == [stopped, Drain(1), Drain(2)]
    tube.exits(2, status=1)
    assert tube.exits(1, status=6)[-1] == Exit(6)


def test_a_stop_before_anybody_served_takes_the_status_of_who_starts() -> None:
    """There is no better one."""
    tube = Tube()
    tube.stop("")
    assert tube.exits(1, status=2)[-1] == Exit(2)


def test_the_first_bad_status_of_several_workers_counts() -> None:
    """A good one after it does not hide it."""
    tube = serving(workers=3)
    tube.stop("")
    for worker, status in enumerate((0, 4, 5), start=1):
        last = tube.exits(1, worker, status=status)
    assert last[-1] == Exit(4)


def test_a_stop_while_nobody_is_left_is_immediate() -> None:
    """During a backoff there is nobody to wait for."""
    tube = serving()
    tube.stage("B")
    tube.up(2)
    tube.exits(1)
    tube.on(Failed(2, "health"))
    tube.exits(3, status=1)
    tube.exits(2, status=1)
    assert tube.phases() == {}
    assert tube.stop() == [Answer(Request("cli", STOP), Outcome.DONE, "stopped"), Exit(0)]


def test_everybody_who_asks_to_stop_is_answered() -> None:
    """Also who asks when the stop is under way, and when all is over."""
    tube = serving()
    tube.stop("one")
    assert tube.stop("two") == []
    end = tube.exits(1)
    assert [a.request.name for a in end if isinstance(a, Answer)] == ["one", "two"]
    assert tube.stop("three") == [Answer(Request("three", STOP), Outcome.DONE, "stopped")]


def test_who_asks_for_a_restart_of_a_stopping_master_is_told() -> None:
    """The wish is not kept."""
    tube = serving()
    tube.stop("")
    stopped = Answer(Request("cli", RESTART, 2), Outcome.STOPPED, "the master is stopping")
    assert tube.restart() == [stopped]


def test_a_stopping_master_starts_nothing() -> None:
    """Neither a new release nor a worker."""
    tube = serving(workers=2)
    tube.stop("")
    assert tube.on(Staged("B")) == []
    assert tube.exits(1, 1, status=1) == []


def test_stopping_is_not_bounded_by_max_draining() -> None:
    """Everybody gets the whole of its time."""
    tube = serving(max_draining=1)
    tube.restart()
    tube.up(2)
    assert tube.stop("") == [Drain(2)]


# -- at once -----------------------------------------------------------------------------------------------


def test_a_halt_kills_everybody_and_says_why() -> None:
    """The second SIGINT: no draining."""
    tube = serving()
    tube.restart()
    tube.up(2)
    why = "asked to stop at once"
    assert tube.on(Halt()) == [Kill(1, 1, why), Drain(2), Kill(2, 1, why)]
    tube.exits(1, status=-9)
    assert tube.exits(2, status=-9)[-1] == Exit(KILLED_BY_US)


def test_a_halt_cuts_a_stop_short() -> None:
    """Who drains is killed."""
    tube = serving()
    tube.stop()
    assert tube.on(Halt()) == [Kill(1, 1, "asked to stop at once")]


def test_a_second_halt_kills_nobody_twice() -> None:
    """The killed are only waited for."""
    tube = serving()
    tube.on(Halt())
    assert tube.on(Halt()) == []
    assert alarm(tube.world, tube.now + 60) == inf


def test_when_all_is_over_nothing_happens_any_more() -> None:
    """A master that is done stays done."""
    tube = serving()
    tube.exits(1, status=7)
    before = tube.world
    assert [tube.on(event) for event in (Halt(), Tick())] == [[], []]
    assert tube.world == before
    assert alarm(tube.world, tube.now) == inf


def test_a_stop_never_counts_as_a_failure_of_the_release() -> None:
    """The operator's stop holds nothing."""
    tube = serving()
    tube.stage("B")
    tube.up(2)
    tube.stop("")
    tube.exits(2, status=1)
    assert tube.world.held == frozenset()


def test_a_restart_that_is_wanted_again_after_a_failure_does_not_end_the_master() -> None:
    """A failed successor of a serving generation never finishes it."""
    tube = serving()
    for n in range(2, 12):
        tube.restart()
        assert not [a for a in tube.exits(n, status=1) if isinstance(a, Start | Finish)]


def test_an_ending_is_told_as_a_code_or_a_signal() -> None:
    """For the log and the answers."""
    assert [ending(status) for status in (3, 0, -9)] == [
        "exit status 3",
        "exit status 0",
        "killed by signal 9",
    ]
