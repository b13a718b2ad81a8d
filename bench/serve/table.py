"""What the rounds of each server say together, as a table for people, as data, and as a plot. It is pure."""

from __future__ import annotations

import collections
import dataclasses
import platform
import statistics
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bench.load.report import LATE
from bench.master.samples import Spread, ratios
from bench.serve.plot import Bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.serve.peers import Subject
    from bench.serve.running import Sample

SATURATED: Final = 0.9
"""Share of the machine's CPUs from which latencies tell of the machine, not of the server."""
WIDTH: Final = 118
"""Columns of prose in the docs."""


@dataclass(frozen=True)
class Row:
    """What clients of one server saw in all its rounds. Times are milliseconds."""

    subject: str
    ours: bool
    restarts: int
    sent: int
    failed: int
    by_kind: dict[str, int]
    outcomes: dict[str, int]
    without: tuple[str, ...]
    closed: int
    """connections that were closed while they were idle"""
    steady: float
    """the median of the rounds' p99.9 where there was no restart"""
    around: float
    """the same, around restarts"""
    ratio: Spread | None
    """of around to steady, taken within a round; None when a round had no quiet"""
    worst: float
    """the longest answer around any restart"""
    busy: float
    """the largest share of the machine's CPUs that was in use in a round"""
    lag: float
    """the largest p99 of the load's own lag"""
    samples: tuple[Sample, ...]

    @classmethod
    def of(cls, subject: Subject, samples: Sequence[Sample]) -> Row:
        """Sum up the rounds of a server, of which there is at least one."""
        by_kind: collections.Counter[str] = collections.Counter()
        outcomes: collections.Counter[str] = collections.Counter()
        for sample in samples:
            by_kind.update(sample.by_kind)
            outcomes.update(sample.outcomes)
        return cls(
            subject=subject.name,
            ours=subject.ours,
            restarts=sum(sample.restarts for sample in samples),
            sent=sum(sample.sent for sample in samples),
            failed=sum(sample.failed for sample in samples),
            by_kind=dict(by_kind),
            outcomes=dict(outcomes),
            without=subject.without,
            closed=sum(sample.closed for sample in samples),
            steady=1e3 * statistics.median(sample.steady for sample in samples),
            around=1e3 * statistics.median(sample.around for sample in samples),
            ratio=ratios([sample.around for sample in samples], [sample.steady for sample in samples]),
            worst=1e3 * max(sample.worst for sample in samples),
            busy=max(sample.busy for sample in samples),
            lag=1e3 * max(sample.lag for sample in samples),
            samples=tuple(samples),
        )

    @property
    def bar(self) -> Bar:
        """What is drawn of it."""
        return Bar(self.subject, 1e4 * self.failed / max(1, self.sent), self.worst, self.ours)


@dataclass(frozen=True)
class Run:
    """What has to be known of a run to read its table."""

    rounds: int
    seconds: float
    versions: Mapping[str, str]
    missed: Mapping[str, str] = field(default_factory=dict)
    """who has no row, and why"""


def table(rows: Sequence[Row]) -> str:
    """Return the table."""
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        "| server | restarts | requests | failed | of them | closed idle "
        "| p99.9 steady | around restarts | ratio | worst |"
    )
    yield "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|"
    for row in rows:
        kinds = [f"{count} {kind}" for kind, count in row.by_kind.items() if count]
        kinds += [f"no {kind} sent" for kind in row.without]
        if stayed := sum(sample.stayed for sample in row.samples):
            kinds.append(f"{stayed} of before never left")
        counts = f"{row.restarts} | {row.sent:,} | {row.failed:,} | {', '.join(kinds)} | {row.closed:,}"
        times = f"{row.steady:.1f} ms | {row.around:.1f} ms | {_ratio(row.ratio)} | {row.worst:.1f} ms"
        yield f"| {row.subject} | {counts} | {times} |"


def _ratio(ratio: Spread | None) -> str:
    if ratio is None:
        return ""
    if ratio.count == 1:
        return f"{ratio.median:.2f}"
    return f"{ratio.median:.2f} ({ratio.least:.2f}…{ratio.most:.2f})"


def document(rows: Sequence[Row], run: Run) -> str:
    """Return the table with what has to be known of its run; `{machine}` in it stands for the machine."""
    busy = [100 * row.busy for row in rows]
    lag = max(row.lag for row in rows)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    told = [
        f"One run of {run.seconds:.0f} s on {python}: {run.rounds} rounds in turns.",
        "Each restart brought a new generation; who is left alone was not restarted.",
        f"CPUs in use, by whomever: in the fullest round of each {min(busy):.0f} to {max(busy):.0f} %.",
        f"The load's own lag, p99: at most {lag:.1f} ms.",
        *(f"No row has {name}: {why}." for name, why in run.missed.items()),
    ]
    slow = [row.subject for row in rows if row.busy > SATURATED or row.lag > 1e3 * LATE]
    if slow:
        told.append(f"The machine was saturated, and the times tell of that: {'; '.join(slow)}.")
    software = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    above, below = (textwrap.fill(text, WIDTH) for text in (" ".join(told), f"{software}; {{machine}}"))
    return f"{above}\n\n{table(rows)}\n\n{below}"


def as_data(rows: Sequence[Row], run: Run) -> dict[str, Any]:
    """Return the same as JSON can write it, with every round."""
    return {
        "rounds": run.rounds,
        "seconds": round(run.seconds, 1),
        "versions": dict(run.versions),
        "missed": dict(run.missed),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
