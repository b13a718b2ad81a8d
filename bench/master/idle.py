"""Idleness: the memory of masters, and how often they wake up when there is nothing to do."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from bench.master import proc
from bench.master.peers import FLOOR, OURS, PARTS, floor, installed, parts
from bench.master.samples import Table, in_turns, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.master.running import Running

SETTLE: Final = 3.0
"""Seconds after the first answer before idleness is measured: what a start leaves behind is over by then."""
AGAIN: Final = "overseer, a second one"

_MIB: Final = 1 << 20


def weigh(start: Callable[[], Running]) -> proc.Memory:
    """Return the memory of a master that has just begun to be idle."""
    with start() as running:
        return proc.memory(running.pid)


def measure_memory(rounds: int) -> list[Table]:
    """Weigh every master with one idle worker, anew in each round."""
    subjects: dict[str, Callable[[], Running]] = {FLOOR: floor, PARTS: parts, **installed()}
    taken = in_turns(
        {name: partial(weigh, start) for name, start in subjects.items()}, rounds, baseline=FLOOR
    )
    titles = {
        "private": "Memory that only the master has (Private_* of smaps_rollup)",
        "pss": "Its share of all memory (Pss)",
        "rss": "All memory that is mapped in (Rss)",
    }
    notes = ("Each idle, with one worker; uvicorn has a parent only from two workers on.",)
    return [
        table(
            f"memory-{kind}",
            title,
            "MiB",
            {name: [getattr(memory, kind) / _MIB for memory in found] for name, found in taken.items()},
            baseline=FLOOR,
            notes=notes,
        )
        for kind, title in titles.items()
    ]


def measure_idle(seconds: float) -> list[Table]:
    """Count wake-ups and CPU of all masters over the same time, and of the program that overseer runs."""
    starts = installed()
    with ExitStack() as stack:
        running = {name: stack.enter_context(start()) for name, start in starts.items()}
        running[AGAIN] = stack.enter_context(starts[OURS]())
        pids = {name: each.pid for name, each in running.items()}
        pids["the tiny program under overseer"] = proc.children(running[OURS].pid)[0]
        time.sleep(SETTLE)
        before = {name: (proc.wakeups(pid), proc.cpu(pid)) for name, pid in pids.items()}
        began = time.monotonic()
        time.sleep(seconds)
        lasted = time.monotonic() - began
        wakeups, cpu = {}, {}
        for name, pid in pids.items():
            woken, used = before[name]
            wakeups[name] = [float(proc.wakeups(pid) - woken)]
            cpu[name] = [(proc.cpu(pid) - used) * 1e3]
    notes = (f"All of them at once, over the same {lasted:.0f} s.",)
    title = f"in {seconds:g} s of idleness"
    ground = "gunicorn" if "gunicorn" in pids else OURS
    return [
        table("idle-wakeups", f"Wake-ups {title}", "wake-ups", wakeups, baseline=ground, notes=notes),
        table("idle-cpu", f"CPU used {title}", "ms", cpu, baseline=ground, notes=notes),
    ]
