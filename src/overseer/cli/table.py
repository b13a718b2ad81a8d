"""What `status` and `history` show to people. Text in, text out; colours are added on a terminal only."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from overseer.store.history import Entry

_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


def release(digest: str) -> str:
    """Return a release as people see it."""
    return digest[:12]


def lasting(seconds: float) -> str:
    """Return a time that has gone by, in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def memory_of(pid: int) -> int | None:
    """Return the bytes of a process that only it has (smaps_rollup, proc(5)), where we may know."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            text = file.read()
    except OSError:
        return None
    return sum(
        int(kib) << 10 for kib in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", text, re.MULTILINE)
    )


def memory(status: dict[str, Any]) -> dict[str, int]:
    """Return the bytes of the processes of a service that only they have, by role, where we may know."""
    processes = [("master", status["pid"])]
    processes += [("updater", status["updater"])] if status["updater"] else []
    processes += [("workers", worker["pid"]) for g in status["generations"] for worker in g["workers"]]
    found: dict[str, int] = {}
    for role, pid in processes:
        if (known := memory_of(pid)) is not None:
            found[role] = found.get(role, 0) + known
    return found


def size(count: int | None) -> str:
    """Return bytes for people."""
    return "?" if count is None else f"{count / (1 << 20):.1f} MiB"


def headline(status: dict[str, Any]) -> str:
    """Tell the master in one line."""
    age = lasting(max(0.0, time.time() - status["began"]))
    return (
        f"{status['name']}: {status['life']}, master {status['pid']} (overseer {status['overseer']}), "
        f"{age} old, {size(memory_of(status['pid']))}"
    )


def workers(status: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Tell every worker, in the order of HEADS; `connections` is there where it is known."""
    for generation in status["generations"]:
        for worker in generation["workers"]:
            yield (
                str(generation["number"]),
                generation["phase"],
                release(generation["release"]),
                generation["version"] or "-",
                str(worker["number"]),
                str(worker["pid"]),
                worker["stage"],
                lasting(worker["age"]),
                size(memory_of(worker["pid"])),
                str(worker.get("connections", "?")),
                printable(worker["says"]),
            )


HEADS = (
    "gen",
    "phase",
    "release",
    "version",
    "worker",
    "pid",
    "stage",
    "age",
    "memory",
    "connections",
    "says",
)


def printable(text: str) -> str:
    """Return a program's words in one line, as in the log, without what would move a terminal's cursor."""
    text = text.replace("\n", " | ")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


INDENT = 13
"""Columns of what a fact is about."""


def facts(status: dict[str, Any], held_: dict[str, str], pinned: str) -> Iterator[str]:
    """Tell what is not about workers, one line each; what is as it should be is short."""
    yield f"listens on   {', '.join(status['sockets']) or 'nothing'}"
    current, wanted = status["current"], status["wanted"]
    note = "" if current == wanted else f"; {release(wanted)} is on its way, or on probation"
    yield f"current      {release(current)}{note}"
    if pinned:
        yield f"pinned       {printable(pinned)}: no other release is taken"
    for held, reason in held_.items():
        yield f"held         {release(held)}: {printable(reason)}"
    yield f"updater      {status['updater'] or 'none'}{going_on(status)}"
    if status["trouble"]:
        yield f"TROUBLE      {printable(status['trouble'])}"
    if status["stored"]:
        yield f"stored       {status['stored']} descriptors"


def going_on(status: dict[str, Any]) -> str:
    """Tell what the updater does with a release, and how much of it is here; nothing where it does none."""
    going: dict[str, Any] | None = status.get("progress")  # an older master tells none
    if not going:
        return ""
    here = f"{going['arrived'] / 1e6:.1f}"
    if going["size"] is not None:
        here += f" of {going['size'] / 1e6:.1f}"
    told = f" {printable(going['name'])}" if going["name"] else ""
    return f": {going['step']}{told}" + (f", {here} MB" if going["step"] == "fetching" else "")


def fitting(rows: list[tuple[str, ...]], width: int | None) -> list[tuple[str, ...]]:
    """Leave out columns of a table below HEADS until it fits a width: first those that tell nothing here."""
    shown = list(zip(*rows, strict=True))
    nothing = [head for head, empty in _NOTHING.items() if {*shown[HEADS.index(head)][1:]} <= {empty}]
    for head in (*nothing, *_LEAST):
        if width is None or sum(max(map(len, cells)) + 2 for cells in shown) - 2 <= width:
            break
        shown = [cells for cells in shown if cells[0] != head]
    return list(zip(*shown, strict=True))


_NOTHING = {"says": "", "worker": "1", "version": "-", "connections": "?"}
"""What a cell says that says nothing."""

_LEAST = ("release", "memory", "age", "version", "says")


def columns(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Set rows in columns."""
    table = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def told(entry: Entry) -> tuple[str, ...]:
    """Tell one line of history."""
    return (entry.at, entry.what, release(entry.release), entry.version or "-", printable(entry.why))


def store_of(status: dict[str, Any]) -> str:
    """Return the folder of the service's releases; nothing for one that has no upgrades."""
    return str(status["store"] and os.path.join(status["store"], ""))
