"""When to look for a release. Nothing here reads a clock or rolls a dice: both come in, a time goes out.

Times are seconds on a monotonic clock; `dice` is a number from 0 up to 1, another one for each call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

LONGEST_WISH = 86_400.0
"""Seconds; a source that asks us to wait longer than a day is asked again after a day."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often to look: all in seconds, but for `jitter`, the part of the interval that is left to chance.

    Looks are `interval` apart, and never closer than `min_fetch_interval`. After failures they are a random
    time apart that grows from `backoff` to `max_backoff` at most, or to the interval if that is longer.
    """

    interval: float
    min_fetch_interval: float = 1.0
    jitter: float = 0.1
    backoff: float = 1.0
    max_backoff: float = 300.0


@dataclass(frozen=True)
class Schedule:
    """When the next look is due, and how many have failed in a row."""

    due: float
    failures: int = 0


def looked(pace: Pace, now: float, dice: float) -> Schedule:
    """A look went well, whatever it found: the next one is an interval away, and some more by chance.

    The chance only ever adds: a fleet that was started at once spreads out, and nobody looks too often.
    """
    wait = pace.interval * (1.0 + pace.jitter * dice)
    return Schedule(now + max(wait, pace.min_fetch_interval))


def failed(
    schedule: Schedule, pace: Pace, now: float, dice: float, *, retry_after: float | None = None
) -> Schedule:
    """A look went wrong: try again after a random part of a time that doubles (full jitter).

    `retry_after` is what the source asked for: never sooner, and a little later by chance.
    """
    failures = schedule.failures + 1
    ceiling = max(pace.max_backoff, pace.interval)
    wait = dice * min(ceiling, pace.backoff * 2.0 ** min(failures, 40))
    if retry_after is not None and retry_after > 0:
        asked = min(retry_after, LONGEST_WISH)
        wait = max(wait, asked + min(asked, pace.backoff) * dice)
    return Schedule(now + max(wait, pace.min_fetch_interval), failures)


def glanced(schedule: Schedule, now: float, after: float) -> Schedule:
    """Something is there that cannot be judged yet: look again soon; it was neither news nor a failure."""
    return replace(schedule, due=now + min(max(after, 0.01), LONGEST_WISH))
