"""Time: what overseer adds to a program's start, and to a restart."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from bench.master import proc
from bench.master.running import Running, tiny, web
from bench.master.samples import Table, in_turns, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BARE: Final = "bare"
IMPORTS: Final = "bare, but it imports overseer"
UNDER: Final = "under overseer"
SLOW: Final = 1.0
"""Seconds that the imports of the slow program take."""


def first_answer(start: Callable[[], Running]) -> float:
    """Return the seconds from the exec of a program to its first answer."""
    with start() as running:
        return running.answers() - running.born


def start_cost(mode: str) -> tuple[float, float]:
    """Start the tiny program; return seconds to its first answer, and of CPU that all of it has had by then.

    CPU is what others on the machine cannot stretch.
    """
    with tiny(mode) as running:
        seconds = running.answers() - running.born
        return seconds, sum(map(proc.cpu, (running.pid, *proc.descendants(running.pid))))


def first_line(start: Callable[[], Running]) -> float:
    """Return the seconds from the exec of a program until it says that it serves."""
    with start() as running:
        return running.said(1) - running.born


def measure_start(rounds: int, slow_rounds: int) -> list[Table]:
    """Time the start of the same program, bare and under overseer: tiny, on asyncio, and slow to import."""
    modes = {BARE: "bare", IMPORTS: "imports", UNDER: "overseer"}
    costs = {name: partial(start_cost, mode) for name, mode in modes.items()}
    small = in_turns(costs, rounds, baseline=BARE)
    took, used = ({name: [cost[at] for cost in series] for name, series in small.items()} for at in (0, 1))
    on_asyncio = {BARE: partial(first_line, partial(web, "bare"))}
    on_asyncio[UNDER] = partial(first_line, partial(web, "overseer"))
    real = in_turns(on_asyncio, rounds, baseline=BARE)
    modes = {BARE: "bare", UNDER: "overseer"}
    subjects = {
        name: partial(first_answer, partial(tiny, mode, imports=SLOW)) for name, mode in modes.items()
    }
    slow = in_turns(subjects, slow_rounds, baseline=BARE)
    thrice = "Under overseer the interpreter starts three times: as launcher, as master, as program."
    twice = "Launcher and program both import the program: only there is its Config known."
    return [
        _start("start", "a tiny program: exec to first answer", took, thrice),
        _start("start-cpu", "a tiny program: CPU of all its processes", used, thrice),
        _start("start-asyncio", "an asyncio program: exec to serving", real, thrice),
        _start("start-slow", f"a program whose imports take {SLOW:g} s: exec to first answer", slow, twice),
    ]


def _start(key: str, title: str, taken: Mapping[str, Sequence[float]], note: str) -> Table:
    return table(key, f"Start of {title}", "ms", taken, baseline=BARE, scale=1e3, notes=[note])


def handover(running: Running) -> float:
    """Restart; return the seconds from the request to the first answer by the new generation.

    A client asks time and again, and is answered by the old one meanwhile.
    """
    before = int(running.control("status")["generations"][-1]["number"])
    with running.call() as caller:
        asked = time.monotonic()
        caller.sendall(b'{"type": "restart"}\n')
        new = running.answers(other_than=str(before)) - asked
        caller.recv(65536)
    running.alone()
    return new


def measure_handover(rounds: int, slow_rounds: int) -> list[Table]:
    """Time restarts of a fast and a slow program against their own bare start in the same rounds."""
    tables = []
    for key, imports, turns in (("handover", 0.0, rounds), ("handover-slow", SLOW, slow_rounds)):
        with tiny("overseer", imports=imports) as running:
            running.answers()
            subjects = {
                BARE: partial(first_answer, partial(tiny, "bare", imports=imports)),
                IMPORTS: partial(first_answer, partial(tiny, "imports", imports=imports)),
                "restart": partial(handover, running),
            }
            taken = in_turns(subjects, turns, baseline=BARE)
        kind = f"a program whose imports take {imports:g} s" if imports else "a tiny program"
        title = f"Restart of {kind}: request to first answer by the next generation"
        tables.append(table(key, title, "ms", taken, baseline=BARE, scale=1e3))
    return tables
