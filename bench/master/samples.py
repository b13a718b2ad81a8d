"""Samples, taken in turns, and what they say: medians, quartiles, paired ratios and the noise. It is pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

AGAIN = " (again)"
"""What the name of the baseline's second series ends with."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some samples, and the quartiles and ends around it."""

    median: float
    low: float  # the first quartile
    high: float  # the third
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Summarise samples, of which there is at least one."""
        low, high = samples[0], samples[0]
        if len(samples) > 1:
            low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(statistics.median(samples), low, high, min(samples), max(samples), len(samples))


@dataclass(frozen=True, slots=True)
class Row:
    """One subject of a table; `ratio` is to the baseline of the same round, None where it makes no sense."""

    name: str
    value: Spread
    ratio: Spread | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One question and its answer, in numbers."""

    key: str
    title: str
    unit: str
    baseline: str
    rows: tuple[Row, ...]
    noise: Spread | None = None
    """the baseline against itself, as ratios: what lies within is no finding"""
    notes: tuple[str, ...] = field(default=())

    def row(self, name: str) -> Row:
        """Return the row of a subject. Raises `KeyError`."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)


def in_turns(
    subjects: Mapping[str, Callable[[], T]], rounds: int, *, baseline: str | None = None
) -> dict[str, list[T]]:
    """Sample every subject once a round, in an order that is turned round each time (A B B A).

    The baseline is sampled twice a round, first and last: its second series is named with `AGAIN`.
    """
    turns = [(name, name) for name in subjects]
    if baseline is not None:
        turns = [turn for turn in turns if turn[0] != baseline]
        turns = [(baseline, baseline), *turns, (baseline + AGAIN, baseline)]
    taken: dict[str, list[T]] = {name: [] for name, _ in turns}
    for number in range(rounds):
        for name, subject in turns if number % 2 == 0 else reversed(turns):
            taken[name].append(subjects[subject]())
    return taken


def ratios(samples: Sequence[float], baseline: Sequence[float]) -> Spread | None:
    """Divide sample by sample; None where there is nothing to divide by."""
    if len(samples) != len(baseline) or not all(baseline):
        return None
    return Spread.of([sample / base for sample, base in zip(samples, baseline, strict=True)])


def table(
    key: str,
    title: str,
    unit: str,
    taken: Mapping[str, Sequence[float]],
    *,
    baseline: str,
    scale: float = 1.0,
    notes: Sequence[str] = (),
) -> Table:
    """Make a table of what `in_turns` took.

    Where the baseline was sampled twice, ratios are to the mean of both, and the noise is one to the other.
    Samples times `scale` are in `unit`.
    """
    base, again = taken.get(baseline, []), taken.get(baseline + AGAIN)
    ground = [(a + b) / 2 for a, b in zip(base, again, strict=True)] if again else base
    rows = tuple(
        Row(
            name,
            Spread.of([each * scale for each in samples]),
            None if name == baseline else ratios(samples, ground),
        )
        for name, samples in taken.items()
        if samples and not name.endswith(AGAIN)
    )
    noise = ratios(again, base) if again else None
    return Table(
        key=key, title=title, unit=unit, baseline=baseline, rows=rows, noise=noise, notes=tuple(notes)
    )
