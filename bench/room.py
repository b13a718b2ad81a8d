"""What it costs a process with threads that its table of descriptors grows, and what room beforehand costs.

    python -m bench.room [--rounds N]

In turns, N fresh processes of each sort take 300 descriptors one by one, as a server takes connections, with
a thread beside them that waits. Printed are the longest step of each, and what making the room took.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

TAKING: Final = """
import json, os, sys, threading, time
from overseer.master.children import _make_room

def steps(calls):
    for call in calls:
        began = time.perf_counter()
        call()
        yield time.perf_counter() - began

making = 0.0
if sys.argv[1] == "room":
    making = max(steps([lambda: _make_room(0)]))
if sys.argv[2] == "threads":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
longest = max(steps([lambda: os.dup(0)] * 300))
print(json.dumps([1e3 * making, 1e3 * longest]), flush=True)
os._exit(0)
"""
SORTS: Final = (("as it is", "one thread"), ("as it is", "threads"), ("room", "threads"))


def once(sort: tuple[str, str]) -> tuple[float, float]:
    """Return the milliseconds that making room took, and those of the longest step."""
    words = [sys.executable, "-c", TAKING, *sort]
    making, longest = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return making, longest


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.room", description="Room for descriptors.")
    parser.add_argument("--rounds", type=int, default=40, metavar="N", help="processes of each sort (40)")
    rounds = parser.parse_args(arguments).rounds
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {sort: [] for sort in SORTS}
    for _ in range(rounds):
        for sort in SORTS:
            taken[sort].append(once(sort))
    print("| table | process | longest step, median | worst | making room, median |")
    print("|---|---|--:|--:|--:|")
    for (table, process), found in taken.items():
        longest = [each for _, each in found]
        making = statistics.median(each for each, _ in found)
        middle = statistics.median(longest)
        print(f"| {table} | {process} | {middle:.2f} ms | {max(longest):.2f} ms | {making:.3f} ms |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
