"""What a run found, as plain values: through JSON and back unchanged, and as a table for people."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.load.outcomes import Failure, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.load.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Summary:
    """Requests of one sort. Latencies are seconds of those answered well, from the time each was due."""

    ok: int
    failed: int
    p50: float
    p99: float
    p999: float
    most: float

    @classmethod
    def of(cls, latencies: Histogram, failed: int) -> Summary:
        """Return the summary of a histogram and a number of failures."""
        p50, p99, p999 = (latencies.quantile(share) for share in (0.5, 0.99, 0.999))
        return cls(latencies.count, failed, p50, p99, p999, latencies.most)

    @property
    def count(self) -> int:
        """All requests, well answered or not."""
        return self.ok + self.failed


@dataclass(frozen=True, slots=True)
class Split:
    """The same requests, whole and by whether they were under way inside of a window."""

    all: Summary
    outside: Summary
    inside: Summary
    outcomes: Mapping[str, int]
    """how many of each outcome, only those that occurred"""


@dataclass(frozen=True, slots=True)
class Generation:
    """What one generation of the server answered; times on the monotonic clock, latencies in seconds."""

    answers: int
    first: float
    """when its first answer was complete"""
    last: float
    timed: int = 0
    """how many of its answers were good and are in the latencies"""
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    most: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """What clients saw in one window, start and end on the monotonic clock."""

    label: str
    start: float
    end: float
    summary: Summary
    new_after: float | None
    """seconds from its start to the first answer by a generation not heard before; None: there was none"""


@dataclass(frozen=True, slots=True)
class Moment:
    """One slice of time for a plot; `at` in seconds after the start of the run."""

    at: float
    ok: int
    failed: int
    p50: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a run found. Moments are seconds on the monotonic clock; lengths of time are seconds."""

    target: str
    started: float
    ended: float
    sent: int
    """requests due and begun; each has exactly one outcome"""
    total: Split
    kinds: Mapping[str, Split]
    generations: Mapping[str, Generation]
    """by the name each gave, in order of their first answers"""
    windows: tuple[Window, ...]
    connections: Mapping[str, int]
    """opened, and what happened to connections with no request on them: none of it is a failure"""
    lag: Summary
    """how late the generator itself was in beginning requests; it is part of every latency"""
    failures: tuple[Failure, ...]
    """the first thousand"""
    timeline: tuple[Moment, ...] = ()
    apart: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    """by kind of client: what is no failure and yet worth a word (told to leave, sent again, retried)"""
    labels: Mapping[str, Summary] = dataclasses.field(default_factory=dict)
    """by label, what was under way in windows that have it: each request once"""

    @property
    def ok(self) -> int:
        """Requests answered well."""
        return self.total.all.ok

    @property
    def failed(self) -> int:
        """Requests that were not."""
        return self.total.all.failed

    def count(self, outcome: Outcome) -> int:
        """Return how many requests ended so."""
        return self.total.outcomes.get(outcome, 0)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` understands."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Return the report that `to_json` wrote down."""
        rest = {name: content for name, content in data.items() if name not in _NESTED}
        return cls(
            **rest,
            total=_split(data["total"]),
            kinds={name: _split(each) for name, each in data["kinds"].items()},
            generations={name: Generation(**each) for name, each in data["generations"].items()},
            windows=tuple(
                Window(**{**each, "summary": Summary(**each["summary"])}) for each in data["windows"]
            ),
            lag=Summary(**data["lag"]),
            failures=tuple(Failure(**each) for each in data["failures"]),
            timeline=tuple(Moment(**each) for each in data["timeline"]),
            labels={name: Summary(**each) for name, each in data["labels"].items()},
        )

    def __str__(self) -> str:
        return "\n".join(_lines(self))


_NESTED: Final = frozenset(
    {"total", "kinds", "generations", "windows", "lag", "failures", "timeline", "labels"}
)


def _split(data: Mapping[str, Any]) -> Split:
    parts = {name: Summary(**data[name]) for name in ("all", "outside", "inside")}
    return Split(**parts, outcomes=data["outcomes"])


LATE: Final = 0.020
"""Seconds of the generator's own lag (its p99) from which the table warns: it then measured itself too."""
MOST_TOLD: Final = 12
"""Generations in the table; the JSON has all."""
_FEW: Final = 10


def _lines(report: Report) -> Iterator[str]:
    seconds = report.ended - report.started
    yield f"{report.target}  {seconds:.1f} s  {report.sent:,} requests  {report.failed:,} failed"
    yield f"{'':24}{'requests':>10}{'failed':>8}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}  ms"
    for name, split in [*report.kinds.items(), ("all", report.total)]:
        if report.windows:
            yield _row(f"{name}, outside", split.outside)
            yield _row(f"{name}, inside", split.inside)
        else:
            yield _row(name, split.all)
        bad = [f"{count:,} {word}" for word, count in split.outcomes.items() if word != Outcome.OK]
        if name != "all":
            bad += [f"{count:,} {word}" for word, count in report.apart.get(name, {}).items()]
            if bad:
                yield f"{'':24}{', '.join(bad)}"
    for window in report.windows:
        said = "" if window.new_after is None else f", new generation after {window.new_after * 1e3:.0f} ms"
        yield f"window {window.label or '-'}: {_worst(window.summary)}{said}"
    yield from _by_generation(report.generations)
    yield "connections  " + ", ".join(
        f"{count:,} {word}" for word, count in report.connections.items() if count
    )
    yield f"generator's own lag  p99 {report.lag.p99 * 1e3:.1f} ms, max {report.lag.most * 1e3:.1f} ms"
    if report.lag.p99 > LATE:
        yield "WARNING: the generator was too slow for this rate here; its lag is part of the latencies above"
    for failure in report.failures[:_FEW]:
        yield (
            f"failed after {failure.at - report.started:.3f} s: {failure.kind} {failure.outcome},"
            f" {failure.detail} (generation {failure.generation or '?'}, {failure.answered} answers before)"
        )
    if len(report.failures) > _FEW:
        yield f"and {report.failed - _FEW:,} more"


def told(generations: Mapping[str, Generation]) -> dict[str, Generation]:
    """Return those that a table shows: all of a few; of many the first, the slowest, and the last."""
    if len(generations) <= MOST_TOLD:
        return dict(generations)
    few = MOST_TOLD // 3
    names = list(generations)
    slow = sorted(names[few:-few], key=lambda name: generations[name].p99, reverse=True)[:few]
    shown = {*names[:few], *slow, *names[-few:]}
    return {name: each for name, each in generations.items() if name in shown}


def _by_generation(generations: Mapping[str, Generation]) -> Iterator[str]:
    if not generations:
        return
    yield f"{'by generation':24}{'answers':>10}"
    shown = told(generations)
    for name, each in shown.items():
        times = _times(each.p50, each.p99, each.p999, each.most)
        yield f"{f'  {name[:20]}':24}{each.answers:10,}{'':8}{times}"
    if len(shown) < len(generations):
        yield f"  the first, the slowest and the last of {len(generations):,} generations"


def _row(name: str, summary: Summary) -> str:
    times = _times(summary.p50, summary.p99, summary.p999, summary.most)
    return f"{name:24}{summary.count:10,}{summary.failed:8,}{times}"


def _times(*seconds: float) -> str:
    return "".join(f"{each * 1e3:9.2f}" for each in seconds)


def _worst(summary: Summary) -> str:
    return f"{summary.count:,} requests, {summary.failed:,} failed, worst {summary.most * 1e3:.1f} ms"
