"""What each generation of the server answered, and how quickly, in memory that has a bound.

A service under a storm of restarts has hundreds of generations, and a pattern that finds a new name in every
answer has millions. So latencies are kept for those heard of last.
"""

from __future__ import annotations

from typing import Final

from bench.load.histogram import Histogram
from bench.load.report import Generation, Summary

TIMED: Final = 256
"""Generations whose latencies are kept at one time. When one more is heard of, the figures of the oldest are
final: answers that it gives later are counted, and not timed."""
NAMED: Final = 20_000
"""Generations told apart at all; answers by others are counted under one name."""
OTHERS: Final = "others"


class _One:
    """One generation until now."""

    __slots__ = ("answers", "final", "first", "kinds", "last", "latencies")

    def __init__(self, first: float) -> None:
        self.answers = 0
        self.kinds: set[str] = set()
        self.first = first
        self.last = first
        self.latencies: Histogram | None = Histogram()
        self.final = Summary.of(Histogram(), 0)


class Generations:
    """Every generation that was heard of, in the order of their first answers."""

    def __init__(self) -> None:
        self._all: dict[str, _One] = {}
        self._timed: list[_One] = []

    def heard(self, name: str, at: float) -> bool:
        """Count an answer, good or not; True for the first by this generation."""
        one = self._all.get(name) or self._begin(name, at)
        one.answers += 1
        one.last = max(one.last, at)
        return one.answers == 1

    def new_to(self, kind: str, name: str) -> bool:
        """Say that this kind of client has heard it; True for the first time."""
        kinds = (self._all.get(name) or self._all[OTHERS]).kinds
        if kind in kinds:
            return False
        kinds.add(kind)
        return True

    def timed(self, name: str, seconds: float) -> None:
        """Write down how long a good answer took, by a generation that was heard."""
        one = self._all.get(name) or self._all[OTHERS]
        if one.latencies is not None:
            one.latencies.record(seconds)

    def table(self) -> dict[str, Generation]:
        """Return what is known of each."""
        found = {}
        for name, one in self._all.items():
            figures = one.final if one.latencies is None else Summary.of(one.latencies, 0)
            found[name] = Generation(
                one.answers,
                one.first,
                one.last,
                timed=figures.ok,
                p50=figures.p50,
                p99=figures.p99,
                p999=figures.p999,
                most=figures.most,
            )
        return found

    def first_within(self, opens: float, shuts: float) -> float | None:
        """Return when the first of those that began in this time was heard; None: none began."""
        return next((one.first for one in self._all.values() if opens <= one.first <= shuts), None)

    def _begin(self, name: str, at: float) -> _One:
        if len(self._all) >= NAMED:
            name = OTHERS
            if name in self._all:
                return self._all[name]
        one = self._all[name] = _One(at)
        self._timed.append(one)
        if len(self._timed) > TIMED:
            oldest = self._timed.pop(0)
            assert oldest.latencies is not None
            oldest.final = Summary.of(oldest.latencies, 0)
            oldest.latencies = None
        return one
