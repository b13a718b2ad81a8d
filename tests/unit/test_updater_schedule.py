"""When to look: the properties every schedule has, whatever the dice say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overseer.updater.schedule import LONGEST_WISH, Pace, Schedule, failed, glanced, looked

DICE = st.floats(0, 1, exclude_max=True)
NOW = st.floats(0, 1e9)
SECONDS = st.floats(0, 1e6)
PACES = st.builds(
    Pace,
    interval=SECONDS,
    min_fetch_interval=st.floats(0, 1e3),
    jitter=st.floats(0, 1),
    backoff=st.floats(0.001, 1e3),
    max_backoff=SECONDS,
)
SLACK = 1e-6  # seconds: what floats of this size cannot tell apart


@given(PACES, NOW, DICE)
def test_a_look_is_never_sooner_than_the_interval_and_hardly_later(
    pace: Pace, now: float, dice: float
) -> None:
    """Chance only adds, and no more than its part."""
    due = looked(pace, now, dice).due
    assert due >= now + max(pace.interval, pace.min_fetch_interval) - SLACK
    assert due <= now + max(pace.interval * (1 + pace.jitter), pace.min_fetch_interval) + SLACK


@given(PACES, NOW, DICE)
def test_a_look_that_went_well_forgets_the_failures(pace: Pace, now: float, dice: float) -> None:
    """The next failure is the first again."""
    assert looked(pace, now, dice).failures == 0


@given(PACES, NOW, DICE, st.integers(0, 10**6))
def test_a_failure_waits_no_longer_than_the_ceiling(
    pace: Pace, now: float, dice: float, failures: int
) -> None:
    """Also after a month of failures."""
    after = failed(Schedule(now, failures), pace, now, dice)
    ceiling = max(pace.max_backoff, pace.interval, pace.min_fetch_interval)
    assert now + pace.min_fetch_interval <= after.due <= now + ceiling + SLACK
    assert after.failures == failures + 1


@given(PACES, NOW, DICE, st.floats(0, 1e9))
def test_a_source_that_asks_for_time_is_given_it(pace: Pace, now: float, dice: float, asked: float) -> None:
    """At least what it asked for, but never more than a day."""
    after = failed(Schedule(now), pace, now, dice, retry_after=asked)
    assert after.due >= now + min(asked, LONGEST_WISH) - SLACK
    longest = max(pace.max_backoff, pace.interval, pace.min_fetch_interval, 2 * LONGEST_WISH)
    assert after.due <= now + longest + SLACK


@given(st.integers(0, 30))
def test_the_room_for_chance_doubles_with_every_failure(failures: int) -> None:
    """Full jitter: anywhere between at once and the whole of it."""
    pace = Pace(interval=0, min_fetch_interval=0, backoff=1, max_backoff=2**40)
    assert failed(Schedule(0, failures), pace, 0, 0.0).due == 0
    assert failed(Schedule(0, failures), pace, 0, 0.5).due == 2**failures


@given(NOW, st.floats(-10, 1e9), st.integers(0, 5))
def test_a_glance_counts_neither_as_news_nor_as_a_failure(now: float, after: float, failures: int) -> None:
    """Failures stay what they were, and it is soon."""
    again = glanced(Schedule(now, failures), now, after)
    assert again.failures == failures
    assert now < again.due <= now + LONGEST_WISH
