"""Restarts under load: `overseer.serve` against what servers do by themselves, in one run.

    python -m bench.serve [--fast] [--rounds N] [--restarts N] [--only NAME ...] [--out FOLDER]

Every Python program takes a second to import, as real ones do. Clients come anew, keep their connections,
send late, send byte by byte, upload slowly, and send several requests at once. The table and the plot tell
what failed, and how long an answer took around a restart.

Servers take turns, in an order that is turned round each time. A whole run writes its results and puts the
table into the docs; any other only prints, or writes where it is told to. A run is whole without a peer whose
restart brought nobody new, which is told and is the run's exit status, and never without one of ours.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import written
from bench.master import report
from bench.master.running import BenchError
from bench.serve import plot, running, table
from bench.serve.peers import ROOT, SUBJECTS, chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.serve.peers import Subject
    from bench.serve.running import Course, Sample

RESULTS: Final = ROOT / "bench" / "results"
PAGE: Final = ROOT / "docs" / "explanation" / "figures.md"
ROUNDS: Final = 3


def rounds(
    subjects: Sequence[Subject], count: int, course: Course, abreast: int = 1
) -> tuple[dict[str, list[Sample]], dict[str, str]]:
    """Measure all in turns, so many at one time; who fails in a round is left out from then on.

    Returns the rounds of each, and of those who were left out instead what happened.
    """
    taken: dict[str, list[Sample]] = {subject.name: [] for subject in subjects}
    missed: dict[str, str] = {}

    def turn(subject: Subject) -> None:
        try:
            taken[subject.name].append(running.measure(subject, course))
        except BenchError as error:
            del taken[subject.name]
            missed[subject.name] = str(error.__cause__ or error).partition(":")[0]
            print(f"NOT MEASURED: {error}", file=sys.stderr, flush=True)
        else:
            print(f"{subject.name}: {taken[subject.name][-1]}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(abreast) as pool:
        for number in range(count):
            order = subjects if number % 2 == 0 else subjects[::-1]
            list(pool.map(turn, [subject for subject in order if subject.name in taken]))
    return taken, missed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write down what is whole; 1 when somebody could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description="Restarts under load.")
    parser.add_argument("--fast", action="store_true", help="one round, two abreast: no times to be believed")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"of each server ({ROUNDS}; with --fast 1)")
    parser.add_argument("--restarts", type=int, metavar="N", help="of each server in a round (2)")
    parser.add_argument(
        "--only", nargs="+", action="extend", default=[], metavar="NAME", help="or a part of it"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write serve.md, .json and .svg there")
    options = parser.parse_args(arguments)
    course = running.FAST if options.fast else running.FULL
    if options.restarts:
        course = replace(course, restarts=options.restarts)
    count = options.rounds or (1 if options.fast else ROUNDS)
    try:
        wanted = chosen(options.only)
    except ValueError as error:
        parser.error(str(error))
    subjects = [subject for subject in wanted if not subject.missing]
    for subject in wanted:
        if subject.missing:
            print(f"{subject.name}: not measured, {subject.missing}", file=sys.stderr)

    source, began = report.source(), time.monotonic()
    taken, missed = rounds(subjects, count, course, 2 if options.fast else 1)
    seconds = time.monotonic() - began
    rows = [table.Row.of(subject, taken[subject.name]) for subject in subjects if subject.name in taken]
    print(table.table(rows))
    if report.source() != source:
        print("overseer was edited during this run, so it measured more than one: nothing is written")
        return 1
    full = not options.fast and course.restarts >= running.FULL.restarts and count >= ROUNDS
    ours = all(subject.name in taken for subject in SUBJECTS if subject.ours)
    whole = full and len(subjects) == len(SUBJECTS) and ours
    folder = place(options.out, whole=whole)
    if folder and rows:
        names = dict.fromkeys(subject.software or subject.needs for subject in subjects)
        versions = {name: written.version(name) for name in names}
        run = table.Run(rounds=count, seconds=seconds, versions=versions, missed=missed)
        text, found = table.document(rows, run), table.as_data(rows, run)
        written.write(folder, "serve", "Restarts of servers under load", text, found)
        (folder / "serve.svg").write_text(plot.draw([row.bar for row in rows if row.restarts]))
        if folder == RESULTS:
            written.into_page(PAGE, "make bench-serve", text)
        print(f"\nwritten: serve.md, .json and .svg in {folder}")
    return 0 if len(rows) == len(subjects) else 1


def place(out: Path | None, *, whole: bool) -> Path | None:
    """Return where a run is written: where it was told to, but over the committed results only if whole."""
    folder = (out or RESULTS).resolve()
    return folder if whole or folder != RESULTS else None


if __name__ == "__main__":
    sys.exit(main())
