"""The command line: `python -m bench.master [--quick] [--only NAME,NAME] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import compileall
import importlib.util
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.master import endurance, growth, idle, report, start, traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.master.samples import Table

RESULTS: Final = Path(__file__).parents[1] / "results"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: rounds, seconds and counts of each measurement."""

    starts: int = 15
    slow: int = 7
    weighed: int = 3
    idle: float = 60.0
    traffic: int = 6
    traffic_seconds: float = 5.0
    growth: int = 3
    listeners: tuple[int, ...] = (1, 10, 100, 1000)
    workers: tuple[int, ...] = (1, 4, 16, 64)
    batches: int = 5
    restarts: int = 200
    reexecs: int = 20


FULL: Final = Size()
QUICK: Final = Size(
    starts=3,
    slow=1,
    weighed=1,
    idle=10.0,
    traffic=1,
    traffic_seconds=3.0,
    growth=1,
    listeners=(1, 10, 100),
    workers=(1, 4, 8),
    batches=1,
    restarts=20,
    reexecs=5,
)

MEASUREMENTS: Final[dict[str, Callable[[Size], list[Table]]]] = {
    "start": lambda size: start.measure_start(size.starts, size.slow),
    "handover": lambda size: start.measure_handover(size.starts, size.slow),
    "memory": lambda size: idle.measure_memory(size.weighed),
    "idle": lambda size: idle.measure_idle(size.idle),
    "traffic": lambda size: traffic.measure_traffic(size.traffic, size.traffic_seconds),
    "listeners": lambda size: growth.measure_growth("listeners", size.listeners, size.growth),
    "workers": lambda size: growth.measure_growth("workers", size.workers, size.growth),
    "restarts": lambda size: endurance.measure_restarts(size.batches, size.restarts),
    "reexec": lambda size: endurance.measure_reexec(size.reexecs),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results; partial runs are only printed unless told where to write."""
    parser = argparse.ArgumentParser(prog="python -m bench.master", description="The figures of the master.")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller samples: less than 90 s")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"some of {','.join(MEASUREMENTS)}")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write master.md and master.json there")
    parser.add_argument("--restarts", type=int, metavar="N", help="restarts until memory is weighed last")
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else list(MEASUREMENTS)
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        parser.error(f"--only: {', '.join(unknown)}: there are {', '.join(MEASUREMENTS)}")
    if not sys.platform.startswith("linux"):
        parser.error("the figures are read from /proc as Linux has it")
    _compile()
    size = QUICK if options.quick else FULL
    if options.restarts:
        size = replace(size, restarts=options.restarts)
    about, began = report.machine(), time.monotonic()
    print("\n".join(f"{name}: {text}" for name, text in about.items()))
    tables: list[Table] = []
    for name in names:
        at = time.monotonic()
        found = MEASUREMENTS[name](size)
        tables += found
        print("\n".join(report.on_terminal(table) for table in found))
        print(f"    ({name}: {time.monotonic() - at:.0f} s)", flush=True)
    if report.source() != about["overseer's source"]:
        print("overseer was edited during this run, so it measured more than one: nothing is written")
        return 1
    # The committed results are those of a full run.
    folder = options.out or (RESULTS if not options.quick and not options.only else None)
    if folder:
        command = " ".join(["python -m bench.master", *(sys.argv[1:] if arguments is None else arguments)])
        lasted = time.monotonic() - began
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "master.md").write_text(report.document(tables, about, command=command, seconds=lasted))
        data = report.as_data(tables, about, command=command, seconds=lasted)
        (folder / "master.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
        print(f"\nwritten: {folder / 'master.md'} and .json")
    return 0


def _compile() -> None:
    """Have the bytecode of all subjects on disk, as an installation leaves it."""
    for package in ("overseer", "gunicorn", "uvicorn", "circus", "bench.master.programs"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            compileall.compile_dir(folder, quiet=2)


if __name__ == "__main__":
    sys.exit(main())
