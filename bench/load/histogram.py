"""Latencies in bounded memory: buckets that grow by one per cent, so that every quantile is right within one.

A histogram never holds more than about 2,200 numbers, however many values it has seen. Nothing in here does
I/O.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST: Final = 1e-6
"""Seconds. Below a microsecond nothing is told apart."""
MOST: Final = 3600.0
"""Seconds. What took longer is counted in the last bucket (`Histogram.most` stays exact)."""
GROWTH: Final = 1.01
"""Each bucket's upper edge is this many times its lower edge."""

_LOG_GROWTH: Final = math.log(GROWTH)
_LAST: Final = math.ceil(math.log(MOST / LEAST) / _LOG_GROWTH)


class Histogram:
    """A count per bucket, and the exact count, sum, least and greatest of all values.

    `quantile` differs from the exact nearest-rank quantile by at most one per cent, or one microsecond.
    """

    __slots__ = ("buckets", "count", "least", "most", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.least = math.inf
        self.most = 0.0

    def record(self, seconds: float) -> None:
        """Count one value; a negative one (clocks read in the wrong order) counts as zero."""
        if seconds > LEAST:
            index = min(int(math.log(seconds / LEAST) / _LOG_GROWTH) + 1, _LAST)
        else:
            index = 0
            seconds = max(seconds, 0.0)
        self.buckets[index] = self.buckets.get(index, 0) + 1
        self.count += 1
        self.total += seconds
        self.most = max(self.most, seconds)
        self.least = min(self.least, seconds)

    def add(self, other: Histogram) -> None:
        """Count everything `other` has counted, as if it had been recorded here."""
        for index, count in other.buckets.items():
            self.buckets[index] = self.buckets.get(index, 0) + count
        self.count += other.count
        self.total += other.total
        self.most = max(self.most, other.most)
        self.least = min(self.least, other.least)

    @property
    def mean(self) -> float:
        """The exact mean in seconds; 0.0 of nothing."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """Return the seconds that the share `q` (0 to 1) of all values does not exceed; 0.0 of nothing.

        Raises:
            ValueError: when `q` is not a share.

        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile is between 0 and 1, not {q}")
        if not self.count:
            return 0.0
        rank = max(1, math.ceil(q * self.count))
        if rank == self.count:
            return self.most
        seen = 0
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            if seen >= rank:
                return min(max(_middle(index), self.least), self.most)
        raise AssertionError("the buckets hold fewer values than were counted")

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` understands."""
        return {
            "buckets": {str(index): count for index, count in sorted(self.buckets.items())},
            "total": self.total,
            "least": self.least if self.count else 0.0,
            "most": self.most,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Histogram:
        """Return the histogram that `to_json` wrote down."""
        made = cls()
        made.buckets = {int(index): int(count) for index, count in data["buckets"].items()}
        made.count = sum(made.buckets.values())
        made.total = float(data["total"])
        made.least = float(data["least"]) if made.count else math.inf
        made.most = float(data["most"])
        return made


def _middle(index: int) -> float:
    """Return the value that stands for a bucket: the geometric mean of its edges."""
    return LEAST * GROWTH ** (index - 0.5) if index else LEAST
