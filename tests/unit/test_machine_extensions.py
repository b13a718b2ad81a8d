"""The heart tells its story: workers that need longer than was agreed."""

from __future__ import annotations

from math import inf

from tests.unit.tube import Tube, serving

from overseer.facts import Drain, Exited, Extended, GiveUp, Kill, Serve


def test_who_asks_in_time_may_take_longer_to_become_ready() -> None:
    """Its new deadline counts from when it asked; when that has passed it is given up after all."""
    tube = Tube(ready_timeout=60.0)
    tube.hello(1)
    assert tube.wait(50) == []
    tube.on(Extended(1, 1, 30.0))
    assert tube.wait(29) == []
    assert isinstance(tube.wait(2)[0], GiveUp)


def test_who_asks_for_more_time_is_not_presumed_to_be_ready() -> None:
    """It says itself that it is not: only its own word counts from then on."""
    tube = Tube(ready_after=1.0)
    tube.hello(1)
    tube.on(Extended(1, 1, 10.0))
    assert tube.wait(5) == []
    assert tube.ready(1) == [Serve(1)]


def test_who_drains_may_take_longer() -> None:
    """Nobody is killed before the time that was asked for is over."""
    tube = serving(terminate_timeout=30.0)
    tube.restart()
    tube.hello(2)
    assert Drain(1) in tube.ready(2)
    tube.wait(20)
    tube.on(Extended(1, 1, 100.0))
    assert tube.wait(99) == []
    assert [type(action) for action in tube.wait(2)] == [Kill]


def test_more_time_is_never_less() -> None:
    """Asking for a second does not take away the rest of the minute."""
    tube = Tube(ready_timeout=60.0)
    tube.hello(1)
    tube.on(Extended(1, 1, 1.0))
    assert tube.wait(59) == []


def test_a_word_of_who_was_killed_or_serves_changes_nothing() -> None:
    """There is no deadline to move."""
    tube = serving(terminate_timeout=1.0)
    before = tube.world
    tube.on(Extended(1, 1, 5.0))
    assert tube.world == before
    tube.restart()
    tube.hello(2)
    tube.ready(2)
    tube.wait(2)
    before = tube.world
    tube.on(Extended(1, 1, 5.0))
    assert tube.world == before
    assert tube.on(Exited(1, 1, -9)) == []
    assert all(g.until == inf for g in tube.world.generations)
