"""Windows of time in which something was done to the server: what clients saw then is told apart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self


class Mark:
    """One window; `with` ends it. Times are seconds on the monotonic clock, which all processes share."""

    __slots__ = ("_told", "end", "label", "start")

    def __init__(
        self,
        label: str,
        start: float,
        end: float | None = None,
        *,
        told: Callable[[Mark], None] | None = None,
    ) -> None:
        self.label = label
        self.start = start
        self.end = end
        self._told = told

    def close(self, end: float | None = None) -> None:
        """End the window now, or at the time given; the first end counts."""
        if self.end is None:
            self.end = time.monotonic() if end is None else end
            if self._told is not None:
                self._told(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Marks:
    """The windows of one run. Safe to use from any thread: it only ever appends."""

    def __init__(self) -> None:
        self._marks: list[Mark] = []

    def open(self, label: str = "") -> Mark:
        """Start a window now; it lasts until its `close`, or to the end of the run."""
        mark = Mark(label, time.monotonic())
        self._marks.append(mark)
        return mark

    def add(self, start: float, end: float | None, label: str = "") -> Mark:
        """Add a window known afterwards; `end` None: to the end of the run."""
        mark = Mark(label, start, end)
        self._marks.append(mark)
        return mark

    def windows(self, until: float) -> list[tuple[float, float, str]]:
        """Return `(start, end, label)` in order; a window still open ends at `until`."""
        return sorted(
            (mark.start, until if mark.end is None else mark.end, mark.label) for mark in self._marks
        )
