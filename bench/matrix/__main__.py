"""Real servers below `overseer run`, without a line of theirs changed: restarts under load, failures counted.

    python -m bench.matrix [--restarts N] [--only NAME ...] [--out FOLDER] [--write]

Clients come anew, keep their connections, send late, and upload slowly. What fails is told by kind: a restart
is not noticed by a client that comes anew below any server; what a server does to connections that it has
accepted is its own affair.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import written
from bench.load import Fresh, Kept, Late, LoadProcess, Plan, Upload
from bench.matrix.servers import BIN, SERVERS, Server, missing, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE.parent / "results"
PAGE: Final = HERE.parents[1] / "docs" / "howto" / "any-program.md"
BEGIN, END = "<!-- from a run: make matrix -->", "<!-- end of the run -->"
PATIENCE: Final = 60.0
KINDS: Final = (
    Fresh(rate=80),
    Kept(rate=80, connections=10, pause=(0.0, 0.5)),
    Late(rate=20),
    Upload(rate=3, size=20_000, over=1.0),
)


@dataclass
class Row:
    """What one server showed."""

    server: str
    version: str
    restarts: int
    sent: int
    failed: int
    reused: int = 0
    """requests on connections that had given an answer before"""
    by_kind: dict[str, int] = field(default_factory=dict)
    saw: dict[str, int] = field(default_factory=dict)
    """failures as clients saw them"""
    status: int = 0
    """of `overseer run` after SIGTERM"""


def measure(server: Server, restarts: int) -> Row:
    """Run one server through restarts under load."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        log = (folder / "log").open("wb")
        options = [*server.options, "--terminate-timeout", "20"]
        options += [] if server.binds else ["--address", f"127.0.0.1:{port}"]
        options = [word.replace("PORT", str(port)) for word in options]
        service = subprocess.Popen(
            [f"{BIN}/overseer", "run", *options, "--", *server.command(folder, port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "RUNTIME_DIRECTORY": name, "PYTHONPATH": str(HERE.parents[1])},
            start_new_session=True,
        )
        try:
            report = _under_load(folder, port, restarts)
        except BaseException:
            sys.stderr.write((folder / "log").read_text())
            raise
        finally:
            service.terminate()
            status = service.wait(PATIENCE)
            log.close()
        kinds = {kind: split.all.failed for kind, split in report.kinds.items()}
        saw = collections.Counter(str(failure.outcome) for failure in report.failures)
        reused = max(0, report.sent - report.connections["opened"])
        counts = restarts, report.sent, report.failed, reused
        return Row(server.name, version_of(server), *counts, kinds, dict(saw), status)


def _under_load(folder: Path, port: int, restarts: int) -> Any:
    control = str(folder / "overseer.sock")
    end = time.monotonic() + PATIENCE
    while not (os.path.exists(control) and _listens(port)):
        if time.monotonic() > end:
            raise TimeoutError(f"nobody listens within {PATIENCE:g} s")
        time.sleep(0.05)
    plan = Plan(kinds=KINDS, seconds=None, timeout=PATIENCE)
    with LoadProcess(f"http://127.0.0.1:{port}", plan) as load:
        load.wait_started(PATIENCE)
        for _ in range(restarts):
            done = subprocess.run(
                [f"{BIN}/overseer", "restart", "--control", control],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"a restart failed: {done.stdout}{done.stderr}")
            time.sleep(1.0)  # the load goes on meanwhile; nothing is waited for
        return load.stop()


def _listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def table(rows: Sequence[Row]) -> str:
    """Return the table for people."""
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    yield "| server | version | restarts | requests | on kept ones | failed | of them | as clients saw it |"
    yield "|---|---|--:|--:|--:|--:|---|---|"
    for row in rows:
        kinds = ", ".join(f"{count} {kind}" for kind, count in row.by_kind.items() if count)
        saw = ", ".join(f"{count} {outcome}" for outcome, count in row.saw.items())
        kept = f"{row.reused:,}" if row.reused else "ends each"
        numbers = f"{row.restarts} | {row.sent:,} | {kept} | {row.failed}"
        yield f"| {row.server} | {row.version} | {numbers} | {kinds} | {saw} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write down."""
    parser = argparse.ArgumentParser(prog="python -m bench.matrix", description="Real servers, unchanged.")
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="measure these, and keep the other rows"
    )
    parser.add_argument("--out", default=str(RESULTS), metavar="FOLDER")
    parser.add_argument("--write", action="store_true", help="write the table into the docs, too")
    options = parser.parse_args(arguments)
    known = _known(Path(options.out) / "matrix.json") if options.only else {}
    for server in SERVERS:
        if options.only and server.name not in options.only:
            continue
        if why := missing(server):
            print(f"{server.name}: not measured, {why}", file=sys.stderr)
            continue
        known[server.name] = measure(server, options.restarts)
        print(known[server.name], file=sys.stderr, flush=True)
    rows = [known[server.name] for server in SERVERS if server.name in known]
    print(table(rows))
    found = {"rows": [vars(row) for row in rows]}
    written.write(
        Path(options.out), "matrix", "Real servers below `overseer run`", table(rows) + "\n\n{machine}", found
    )
    if options.write:
        write_page(table(rows))
    return 0


def _known(path: Path) -> dict[str, Row]:
    """Return the rows of the last run, in which some are measured anew."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return {row["server"]: Row(**row) for row in rows}


def write_page(text: str) -> None:
    """Put a table into the page where the last one stands."""
    page = PAGE.read_text()
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
