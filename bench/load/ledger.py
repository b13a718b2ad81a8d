"""Where every request's end is written down, in memory that grows with time but not with the rate.

Latencies are kept by slices of 50 ms and kind of client, so that windows can be named after the fact: a slice
is inside a window when the time between its start and the end of its longest request touches the window.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from bench.load.generations import Generations
from bench.load.histogram import Histogram
from bench.load.outcomes import Failure, Outcome
from bench.load.report import Moment, Report, Split, Summary, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.load.marks import Marks

SLICE: Final = 0.050
"""Seconds."""
MOST_FAILURES: Final = 1000
"""Failures told one by one; the rest are only counted."""


class _Cell:
    """The requests of one kind that were due in one slice of time."""

    __slots__ = ("latencies", "outcomes", "until")

    def __init__(self) -> None:
        self.latencies = Histogram()
        self.outcomes: Counter[str] = Counter()
        self.until = 0.0


class Ledger:
    """The account of one run.

    Args:
        target: what the report calls the server.
        kinds: the names of the kinds of clients, in the order of the report.
        started: seconds on the monotonic clock.
        told: called with `{"event": ...}` for the first answer, every new generation (also when each kind of
            client first hears it) and a thousand failures.

    """

    def __init__(
        self,
        target: str,
        kinds: tuple[str, ...],
        *,
        started: float,
        told: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.sent = 0
        self.ended = 0
        self.connections: Counter[str] = Counter()
        self.apart: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
        self.lag = Histogram()
        self._target = target
        self._kinds = kinds
        self._started = started
        self._told = told
        self._first = False  # whether the first answer came
        self._cells: dict[tuple[int, str], _Cell] = {}
        self._generations = Generations()
        self._failures: list[Failure] = []

    def answered(self, kind: str, due: float, at: float, generation: str | None) -> None:
        """Write down a good answer, complete at `at`, to a request due at `due`."""
        self.heard(generation, at, kind)
        self.good(kind, due, at, generation)

    def good(self, kind: str, due: float, at: float, generation: str | None) -> None:
        """Write it down for one whose answer was `heard` before."""
        cell = self._cell(kind, due, at)
        cell.outcomes[Outcome.OK] += 1
        cell.latencies.record(at - due)
        self.ended += 1
        if generation is not None:
            self._generations.timed(generation, at - due)

    def failed(self, failure: Failure) -> None:
        """Write down a request that failed."""
        self._cell(failure.kind, failure.due, failure.at).outcomes[failure.outcome] += 1
        self.ended += 1
        if len(self._failures) < MOST_FAILURES:
            self._failures.append(failure)
            self._tell({"event": "failure", **{name: getattr(failure, name) for name in Failure.__slots__}})

    def heard(self, generation: str | None, at: float, kind: str) -> None:
        """Write down that an answer came, good or not, who gave it, and to which kind of client."""
        if not self._first:
            self._first = True
            self._tell({"event": "started", "at": at})
        if generation is None:
            return
        if self._generations.heard(generation, at):
            self._tell({"event": "generation", "generation": generation, "at": at})
        if self._generations.new_to(kind, generation):
            self._tell({"event": "heard", "generation": generation, "kind": kind, "at": at})

    def _cell(self, kind: str, due: float, at: float) -> _Cell:
        key = (int((due - self._started) / SLICE), kind)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
        cell.until = max(cell.until, at)
        return cell

    def _tell(self, event: dict[str, Any]) -> None:
        if self._told is not None:
            self._told(event)

    def report(self, marks: Marks, *, now: float, timeline: bool = False) -> Report:
        """Return the account, with everything that was under way in a window told apart."""
        windows = marks.windows(now)
        sums = _Sums(self._kinds)
        by_window = [_Sum() for _ in windows]
        by_label = {label: _Sum() for _, _, label in windows}
        for (number, kind), cell in self._cells.items():
            start = self._started + number * SLICE
            touched = [
                which
                for which, (opens, shuts, _) in enumerate(windows)
                if start <= shuts and cell.until >= opens
            ]
            for which in touched:
                by_window[which].add(cell)
            for label in {windows[which][2] for which in touched}:
                by_label[label].add(cell)
            sums.add(kind, cell, inside=bool(touched))
        return Report(
            target=self._target,
            started=self._started,
            ended=now,
            sent=self.sent,
            total=sums.split(self._kinds),
            kinds={kind: sums.split((kind,)) for kind in self._kinds},
            generations=self._generations.table(),
            windows=tuple(
                Window(label, opens, shuts, by_window[which].summary(), self._new_after(opens, shuts))
                for which, (opens, shuts, label) in enumerate(windows)
            ),
            connections=dict(self.connections),
            apart={kind: dict(words) for kind, words in self.apart.items() if words},
            lag=Summary.of(self.lag, 0),
            failures=tuple(self._failures),
            timeline=self._timeline() if timeline else (),
            labels={label: each.summary() for label, each in by_label.items()},
        )

    def _new_after(self, opens: float, shuts: float) -> float | None:
        first = self._generations.first_within(opens, shuts)
        return None if first is None else first - opens

    def _timeline(self) -> tuple[Moment, ...]:
        slices: dict[int, _Sum] = {}
        for (number, _), cell in self._cells.items():
            slices.setdefault(number, _Sum()).add(cell)
        moments = []
        for number, each in sorted(slices.items()):
            found = each.summary()
            moments.append(Moment(number * SLICE, found.ok, found.failed, found.p50, found.most))
        return tuple(moments)


class _Sum:
    """Cells added up."""

    def __init__(self) -> None:
        self.latencies = Histogram()
        self.outcomes: Counter[str] = Counter()

    def add(self, other: _Cell | _Sum) -> None:
        self.latencies.add(other.latencies)
        self.outcomes.update(other.outcomes)

    def summary(self) -> Summary:
        return Summary.of(self.latencies, self.outcomes.total() - self.outcomes[Outcome.OK])


class _Sums:
    """Cells added up by kind of client, inside and outside of windows."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._sums = {(kind, inside): _Sum() for kind in kinds for inside in (False, True)}

    def add(self, kind: str, cell: _Cell, *, inside: bool) -> None:
        self._sums[kind, inside].add(cell)

    def split(self, kinds: tuple[str, ...]) -> Split:
        whole, outside, inside = _Sum(), _Sum(), _Sum()
        for kind in kinds:
            outside.add(self._sums[kind, False])
            inside.add(self._sums[kind, True])
        whole.add(outside)
        whole.add(inside)
        outcomes = {str(word): count for word, count in sorted(whole.outcomes.items()) if count}
        return Split(whole.summary(), outside.summary(), inside.summary(), outcomes)
