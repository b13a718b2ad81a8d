"""Time: what overseer adds to a program's start, and to a restart."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from bench.master.running import Running, tiny, web
from bench.master.samples import Table, in_turns, table

if TYPE_CHECKING:
    from collections.abc import Callable

BARE: Final = "bare"
IMPORTS: Final = "bare, but it imports overseer"
UNDER: Final = "under overseer"
SLOW: Final = 1.0
"""Seconds that the imports of the slow program take."""


def first_answer(start: Callable[[], Running]) -> float:
    """Return the seconds from the exec of a program to its first answer."""
    with start() as running:
        return running.answers() - running.born


def first_line(start: Callable[[], Running]) -> float:
    """Return the seconds from the exec of a program until it says that it serves."""
    with start() as running:
        return running.said(1) - running.born


def measure_start(rounds: int) -> list[Table]:
    """Time the start of the same program, bare and under overseer: a tiny one, and one on asyncio."""
    modes = {BARE: "bare", IMPORTS: "imports", UNDER: "overseer"}
    subjects = {name: partial(first_answer, partial(tiny, mode)) for name, mode in modes.items()}
    small = in_turns(subjects, rounds, baseline=BARE)
    on_asyncio = {BARE: partial(first_line, partial(web, "bare"))}
    on_asyncio[UNDER] = partial(first_line, partial(web, "overseer"))
    real = in_turns(on_asyncio, rounds, baseline=BARE)
    notes = ["Under overseer the interpreter starts three times: as launcher, as master, as program."]
    title = "Start of {}: exec to {}"
    return [
        table(
            "start",
            title.format("a tiny program", "first answer"),
            "ms",
            small,
            baseline=BARE,
            scale=1e3,
            notes=notes,
        ),
        table(
            "start-asyncio",
            title.format("an asyncio program", "serving"),
            "ms",
            real,
            baseline=BARE,
            scale=1e3,
        ),
    ]


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
