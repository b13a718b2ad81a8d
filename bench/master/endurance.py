"""Endurance: what a restart costs the master, what hundreds leave behind, and the pause of its re-exec."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from bench.master import proc
from bench.master.peers import GUNICORN, OURS, gunicorn, installed
from bench.master.running import BenchError, Running, ask, exchange, tiny
from bench.master.samples import Table, in_turns, table
from bench.master.start import first_line

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH: Final = 10
"""Restarts between two readings of the CPU: a single one is too short to be timed well."""
READINGS: Final = 5
"""Readings of the memory on the way: only their course tells a leak from what settles."""
_SETTLES: Final = "It settles late; what it settles at is shown by --only restarts --restarts 1000."
BARE: Final = "bare interpreter (-I -S), started twice"
REEXEC: Final = "overseer's master"
RELOAD: Final = "gunicorn (HUP)"

_KIB: Final = 1 << 10


def restarts(running: Running, count: int) -> float:
    """Restart so often; return the CPU of the master for each, in seconds."""
    before = proc.cpu(running.pid)
    for _ in range(count):
        running.restart()
        running.alone()
    return (proc.cpu(running.pid) - before) / count


def reloads(running: Running, count: int) -> float:
    """Have gunicorn reload so often; return the CPU of its arbiter for each, in seconds."""
    before = proc.cpu(running.pid)
    for _ in range(count):
        old = ask(running.port)
        os.kill(running.pid, signal.SIGHUP)
        running.answers(other_than=old)
        running.alone()
    return (proc.cpu(running.pid) - before) / count


def measure_restarts(batches: int, many: int) -> list[Table]:
    """Measure the CPU of restarts in batches, then the memory that `many` restarts leave behind."""
    with tiny("overseer") as ours:
        ours.answers()
        restarts(ours, 1)
        weights = {"after 1": [proc.memory(ours.pid).private / _KIB]}
        with ExitStack() as stack:
            subjects: dict[str, Callable[[], float]] = {OURS: partial(restarts, ours, BATCH)}
            if GUNICORN in installed():
                subjects[RELOAD] = partial(reloads, stack.enter_context(gunicorn()), BATCH)
            taken = in_turns(subjects, batches)
        done = 1 + batches * BATCH
        for goal in [many * part // READINGS for part in range(1, READINGS + 1)]:
            if goal > done:
                restarts(ours, goal - done)
                done = goal
            weights[f"after {done:,}"] = [proc.memory(ours.pid).private / _KIB]
        descriptors = len(os.listdir(f"/proc/{ours.pid}/fd"))
    first = next(iter(weights))
    title = f"CPU of the master for one restart (batches of {BATCH})"
    notes = (f"Open descriptors of the master at the end: {descriptors}.", _SETTLES)
    return [
        table("restart-cpu", title, "ms", taken, baseline=RELOAD if RELOAD in taken else OURS, scale=1e3),
        table(
            "restart-memory",
            "Memory that only the master has, after restarts",
            "KiB",
            weights,
            baseline=first,
            notes=notes,
        ),
    ]


def pause(running: Running) -> float:
    """Have the master replace itself; return the seconds until it answers again. Raises `BenchError`."""
    began = time.monotonic()
    with running.call() as caller:
        answer = exchange(caller, "reexec")
    if answer.get("outcome") != "done":
        raise BenchError(f"the master stays as it is: {answer}\n{running.log}")
    with running.call() as caller:
        exchange(caller, "status")
    return time.monotonic() - began


def interpreter_twice() -> float:
    """Return the seconds that a bare interpreter takes to say a line, twice: a trial and the real one."""
    command = ["-I", "-S", "-c", "print('serves', flush=True)"]
    return sum(first_line(partial(Running, [sys.executable, *command])) for _ in range(2))


def measure_reexec(rounds: int) -> list[Table]:
    """Time the pause in which a master that replaces itself does not answer; weigh it before and after."""
    with tiny("overseer") as ours:
        ours.answers()
        before = proc.memory(ours.pid).private / _KIB
        subjects: dict[str, Callable[[], float]] = {BARE: interpreter_twice, REEXEC: partial(pause, ours)}
        taken = in_turns(subjects, rounds, baseline=BARE)
        after = proc.memory(ours.pid).private / _KIB
    weights = {"before": [before], f"after {rounds} re-execs": [after]}
    title = "Re-exec of the master: how long its control socket is silent"
    return [
        table("reexec", title, "ms", taken, baseline=BARE, scale=1e3),
        table(
            "reexec-memory",
            "Memory that only the master has, after re-execs",
            "KiB",
            weights,
            baseline="before",
        ),
    ]
