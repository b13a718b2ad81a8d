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
        with web(mode) as running:
            running.said(1)
            return one_run(running, seconds)

    series = in_turns({BARE: partial(run, "bare"), UNDER: partial(run, "overseer")}, rounds, baseline=BARE)
    note = f"An asyncio program; open loop, {KEPT:g}/s on 20 kept connections and {FRESH:g}/s on fresh ones."
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
