"""When requests are due. The times are fixed before the first is sent and never wait for an answer.

That is what *open loop* means: a server that stalls does not slow its clients down, it only makes them wait,
and the wait is counted from the time each request was due (no coordinated omission). Nothing in here does
I/O.
"""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Shape = Literal["even", "poisson"]
"""even: one every 1/rate seconds. poisson: as strangers come, in bunches, `rate` a second on average."""


def arrivals(rate: float, *, shape: Shape = "even", phase: float = 0.0, seed: int = 0) -> Iterator[float]:
    """Yield the seconds after the start at which one is due, for ever, in order.

    Args:
        rate: per second, on average; 0 yields nothing.
        shape: how they are spread.
        phase: 0 to 1, how far into its first interval the first of an even schedule comes.
        seed: of a poisson schedule; the same seed gives the same times.

    """
    if rate <= 0:
        return
    if shape == "even":
        number = 0
        while True:
            # A product, not a running sum: no error adds up over a long run.
            yield (number + phase) / rate
            number += 1
    chance = random.Random(seed)
    at = 0.0
    while True:
        at += chance.expovariate(rate)
        yield at


def merged(rates: Sequence[float], *, shape: Shape = "even", seed: int = 0) -> Iterator[tuple[float, int]]:
    """Yield `(seconds, which of the rates)` of several schedules in order of time.

    Even schedules start at different phases, so that equal rates do not all fire in the same instant.
    """
    share = len(rates) + 1
    streams = [
        _labelled(arrivals(rate, shape=shape, phase=(which + 1) / share, seed=seed + which), which)
        for which, rate in enumerate(rates)
    ]
    return heapq.merge(*streams)


def _labelled(times: Iterator[float], which: int) -> Iterator[tuple[float, int]]:
    for at in times:
        yield at, which
