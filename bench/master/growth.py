"""Growth: what becomes of start, restart and memory with many listeners, and with many workers."""

from __future__ import annotations

import math
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from bench.master import proc
from bench.master.running import Running, free_port, tiny
from bench.master.samples import AGAIN, Row, Spread, Table, in_turns, ratios

if TYPE_CHECKING:
    from collections.abc import Sequence


_GROUND: Final = {
    "listeners": "the start of a bare program with as many listeners",
    "workers": "the start of as many bare programs at once",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One start and one restart. Seconds, but for the memory."""

    start: float
    restart: float = 0.0
    cpu: float = 0.0  # of the master, for the restart
    private: float = 0.0  # bytes of the master, with both behind it


def bare(listeners: int, workers: int) -> Seen:
    """Start as many bare programs at once as there are workers; the last one decides."""
    port = free_port()
    command = [sys.executable, "tiny.py", "bare", str(port), str(listeners)]
    with ExitStack() as stack:
        began = time.monotonic()
        running = [stack.enter_context(Running(command, port=port)) for _ in range(workers)]
        return Seen(max(each.said(1) for each in running) - began)


def under_overseer(listeners: int, workers: int) -> Seen:
    """Start under overseer, and restart."""
    with tiny("overseer", listeners=listeners, workers=workers) as running:
        start = running.said(workers) - running.born
        before, asked = proc.cpu(running.pid), time.monotonic()
        running.restart()
        restart = time.monotonic() - asked
        cpu = proc.cpu(running.pid) - before
        running.alone(workers)
        return Seen(start, restart, cpu, float(proc.memory(running.pid).private))


def exponents(sizes: Sequence[int], values: Sequence[float]) -> list[float]:
    """Return, for each step from one size to the next, the power of the size that the value grows with.

    0 is constant, 1 is in proportion, 2 is quadratic.
    """
    steps = zip(sizes, sizes[1:], values, values[1:], strict=False)
    return [math.log(after / before) / math.log(large / small) for small, large, before, after in steps]


def measure_growth(what: str, sizes: Sequence[int], rounds: int) -> list[Table]:
    """Measure with each number of `what`, which is "listeners" or "workers"."""
    ours: list[list[Seen]] = []
    ground: list[list[float]] = []
    noise: list[float] = []
    for size in sizes:
        listeners, workers = (size, 1) if what == "listeners" else (1, size)
        subjects = {
            "bare": partial(bare, listeners, workers),
            "ours": partial(under_overseer, listeners, workers),
        }
        taken = in_turns(subjects, rounds, baseline="bare")
        pairs = list(zip(taken["bare"], taken["bare" + AGAIN], strict=True))
        ours.append(taken["ours"])
        ground.append([(one.start + other.start) / 2 for one, other in pairs])
        noise += [other.start / one.start for one, other in pairs]
    said = f"with many {what}"
    quantities = {
        "start": (f"Start {said}: exec until all serve", "ms", 1e3, True),
        "restart": (f"Restart {said}: request until all of the next generation serve", "ms", 1e3, True),
        "cpu": (f"CPU of the master for one restart {said}", "ms", 1e3, False),
        "private": (f"Memory that only the master has, {said}", "MiB", 1 / (1 << 20), False),
    }
    tables = []
    for name, (title, unit, scale, against_bare) in quantities.items():
        values = [[getattr(seen, name) * scale for seen in at_size] for at_size in ours]
        base = [[seconds * 1e3 for seconds in each] for each in ground] if against_bare else []
        key, spread = f"{what}-{name}", Spread.of(noise) if against_bare else None
        tables.append(_table(key, title, unit, what, sizes, values, base, spread))
    return tables


def _table(  # noqa: PLR0917 - one caller, just above
    key: str,
    title: str,
    unit: str,
    what: str,
    sizes: Sequence[int],
    values: Sequence[Sequence[float]],
    ground: Sequence[Sequence[float]],
    noise: Spread | None,
) -> Table:
    rows = []
    for at, size in enumerate(sizes):
        base = ground[at] if ground else [Spread.of(values[0]).median] * len(values[at])
        ratio = ratios(values[at], base) if ground or at else None
        rows.append(Row(f"{size:,} {what if size > 1 else what[:-1]}", Spread.of(values[at]), ratio))
    found = exponents(sizes, [row.value.median for row in rows])
    powers = ", ".join(f"{size:,}: {power:.2f}" for size, power in zip(sizes[1:], found, strict=True))
    baseline = _GROUND[what] if ground else rows[0].name
    return Table(
        key=key,
        title=title,
        unit=unit,
        baseline=baseline,
        rows=tuple(rows),
        noise=noise,
        notes=(f"Exponent of the step up to {powers}.",),
    )
