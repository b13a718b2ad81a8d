"""Traffic: the program under overseer against the same program bare, at the same load."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from bench.load import Fresh, Kept, LoadProcess, Plan
from bench.master import proc
from bench.master.running import BenchError, Running, web
from bench.master.samples import Table, in_turns, table
from bench.master.start import BARE, UNDER

if TYPE_CHECKING:
    from bench.load import Report

KEPT: Final = 600.0
FRESH: Final = 300.0
"""Requests per second of each kind: far from saturation, where a ratio of latencies would be chance."""

ALLOCATOR: Final = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 22)}
"""The same for both subjects, or the allocator is measured instead of overseer.

asyncio reads into 256 KiB. Until a block of that size has been freed once, glibc maps and unmaps it anew for
each read (mallopt(3), M_MMAP_THRESHOLD), and a bare program has freed none: without this, the program under
overseer looks 1.2 times as fast as itself, and a bare one that frees such a block first looks the same.
"""

_QUANTITIES: Final = {
    "capacity": ("Requests per second of CPU that the program uses", "1/s"),
    "kept-p50": ("Latency on kept connections, median", "ms"),
    "kept-p99": ("Latency on kept connections, 99 of 100", "ms"),
    "fresh-p50": ("Latency on fresh connections, median", "ms"),
    "fresh-p99": ("Latency on fresh connections, 99 of 100", "ms"),
}


def one_run(running: Running, seconds: float) -> dict[str, float]:
    """Load a program that serves; return what `_QUANTITIES` names. Raises `BenchError` if one fails."""
    program = next(iter(proc.children(running.pid)), running.pid)
    plan = Plan(kinds=(Kept(rate=KEPT, connections=20), Fresh(rate=FRESH)), seconds=seconds)
    before = proc.cpu(program)
    with LoadProcess(f"http://127.0.0.1:{running.port}", plan) as load:
        report: Report = load.wait()
    if report.failed:
        raise BenchError(f"{report.failed} requests failed\n{report}\n{running.log}")
    found = {"capacity": report.ok / (proc.cpu(program) - before)}
    for kind, split in report.kinds.items():
        found[f"{kind}-p50"] = split.all.p50 * 1e3
        found[f"{kind}-p99"] = split.all.p99 * 1e3
    return found


def measure_traffic(rounds: int, seconds: float) -> list[Table]:
    """Put the same load on the program, bare and under overseer, in turns."""

    def run(mode: str) -> dict[str, float]:
        with web(mode, environ=ALLOCATOR) as running:
            running.said(1)
            return one_run(running, seconds)

    series = in_turns({BARE: partial(run, "bare"), UNDER: partial(run, "overseer")}, rounds, baseline=BARE)
    load = f"{KEPT:g}/s on 20 kept connections and {FRESH:g}/s on fresh ones"
    note = f"An asyncio program; open loop, {load}; the allocator of both is pinned."
    return [
        table(
            f"traffic-{key}",
            title,
            unit,
            {name: [run[key] for run in runs] for name, runs in series.items()},
            baseline=BARE,
            notes=(note,),
        )
        for key, (title, unit) in _QUANTITIES.items()
    ]
