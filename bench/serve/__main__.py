"""Restarts under load: `overseer.serve` against what servers do by themselves, in one run.

    python -m bench.serve [--restarts N] [--only NAME ...] [--out FOLDER]

Every Python program takes a second to import, as real ones do. Clients come anew, keep their connections,
send late, send byte by byte, upload slowly, and send several requests at once. The table and the plot tell
what failed, and how long an answer took around a restart.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import written
from bench.load import Drip, Fresh, Kept, Late, LoadProcess, Pipeline, Plan, Upload
from bench.serve import plot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.load.report import Report

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = ROOT / "bench" / "results"
BIN: Final = os.path.dirname(sys.executable)
PATIENCE: Final = 60.0
WINDOW: Final = 2.5
"""Seconds around a restart: an import, and what comes after it."""
BETWEEN: Final = 1.0
"""Seconds of quiet between two windows."""
KINDS: Final = (
    Fresh(rate=80),
    Kept(rate=80, connections=20, pause=(0.0, 1.0)),
    Late(rate=20, wait=0.1),
    Drip(rate=5, over=0.5),
    Upload(rate=5, size=20_000, over=0.5),
    Pipeline(rate=5),
)


class Running:
    """One server, started; `pid` is whom an operator would signal."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        """Start it, with what it says in a log."""
        self.folder = folder
        self.log = folder / "log"
        environ = {**os.environ, "RUNTIME_DIRECTORY": str(folder), "PYTHONPATH": str(ROOT)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environ, "IMPORT_SECONDS": "1"},
                start_new_session=True,
            )
        self.pid = self.process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        os.kill(self.pid, number)

    def end(self) -> None:
        """End it, and whoever it has left behind in its session."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while _is_there(self.process.pid) and time.monotonic() < deadline:
            self.process.poll()
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _by_overseer(running: Running) -> None:
    command = [f"{BIN}/overseer", "restart", "--control", str(running.folder / "overseer.sock")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _by_hup(running: Running) -> None:
    running.signal(signal.SIGHUP)


def _by_usr2(running: Running) -> None:
    """As gunicorn's manual has it: another master beside this one, and when it serves, TERM for this one."""
    file = running.folder / "pid.2"
    running.signal(signal.SIGUSR2)
    before = running.log.read_text().count("Booting worker")
    deadline = time.monotonic() + PATIENCE
    while not (file.exists() and running.log.read_text().count("Booting worker") > before):
        if time.monotonic() > deadline:
            raise TimeoutError("gunicorn started no other master")
        time.sleep(0.02)
    time.sleep(1.2)  # its worker imports now, and says nothing when it has
    old, running.pid = running.pid, int(file.read_text())
    os.kill(old, signal.SIGTERM)
    while file.exists() and time.monotonic() < deadline:  # it takes the first one's name
        time.sleep(0.02)


@dataclass(frozen=True)
class Subject:
    """A server: how it is started, and how its operator restarts it."""

    name: str
    needs: str
    command: Callable[[Path, int], list[str]]
    restart: Callable[[Running], None] = _by_hup
    ours: bool = False


def _ours(adapter: str) -> Callable[[Path, int], list[str]]:
    return lambda _folder, port: [
        sys.executable,
        str(ROOT / "bench" / "serve" / "program.py"),
        adapter,
        str(port),
    ]


def _gunicorn(folder: Path, port: int) -> list[str]:
    words = ["-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "16", "-p", str(folder / "pid")]
    return [f"{BIN}/gunicorn", *words, "bench.matrix.app:wsgi"]


def _uvicorn(_folder: Path, port: int) -> list[str]:
    words = ["--workers", "2", "--port", str(port), "--log-level", "warning"]
    return [f"{BIN}/uvicorn", *words, "bench.matrix.app:asgi"]


def _hypercorn(_folder: Path, port: int) -> list[str]:
    return [f"{BIN}/hypercorn", "-w", "2", "-b", f"127.0.0.1:{port}", "bench.matrix.app:asgi"]


def _granian(_folder: Path, port: int) -> list[str]:
    words = ["--interface", "asgi", "--workers", "2", "--port", str(port), "--log-level", "warning"]
    return [f"{BIN}/granian", *words, "bench.matrix.app:asgi"]


def _nginx(folder: Path, port: int) -> list[str]:
    temp = "".join(
        f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; daemon off; events {{}}\n"
        f"http {{ access_log off; {temp} server {{ listen 127.0.0.1:{port};\n"
        'location / { return 200 "hello\\n"; } } }\n'
    )
    return [shutil.which("nginx") or "nginx", "-c", str(folder / "nginx.conf")]


SUBJECTS: Final = (
    Subject("overseer.serve.asgi", "uvicorn", _ours("asgi"), _by_overseer, ours=True),
    Subject("overseer.serve.wsgi", "overseer", _ours("wsgi"), _by_overseer, ours=True),
    Subject("overseer.serve.aiohttp", "overseer", _ours("aiohttp"), _by_overseer, ours=True),
    Subject("gunicorn gthread, USR2 and TERM", "gunicorn", _gunicorn, _by_usr2),
    Subject("gunicorn gthread, HUP", "gunicorn", _gunicorn),
    Subject("uvicorn --workers 2, HUP", "uvicorn", _uvicorn),
    Subject("hypercorn -w 2, HUP", "hypercorn", _hypercorn),
    Subject("granian, 2 workers, HUP", "granian", _granian),
    Subject("nginx reload", "nginx", _nginx),
)


@dataclass
class Row:
    """What clients of one server saw. Times are milliseconds."""

    subject: str
    ours: bool
    restarts: int
    sent: int
    failed: int
    steady: float
    """99.9 of 100 answers took no longer, where there was no restart"""
    around: float
    """the same, around restarts"""
    worst: float
    """the longest, around restarts"""
    by_kind: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)


def measure(subject: Subject, restarts: int) -> Row:
    """Run one through its restarts under load."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        running = Running(folder, subject.command(folder, port))
        try:
            report = _under_load(subject, running, port, restarts)
        except BaseException:
            sys.stderr.write(running.log.read_text()[-2000:])
            raise
        finally:
            running.end()
    inside, outside = report.total.inside, report.total.outside
    return Row(
        subject.name,
        subject.ours,
        restarts,
        report.sent,
        report.failed,
        outside.p999 * 1e3,
        inside.p999 * 1e3,
        inside.most * 1e3,
        {kind: split.all.failed for kind, split in report.kinds.items()},
        {str(name): count for name, count in report.total.outcomes.items() if name != "ok"},
    )


def _under_load(subject: Subject, running: Running, port: int, restarts: int) -> Report:
    deadline = time.monotonic() + PATIENCE
    while not _answers(port):
        if time.monotonic() > deadline or running.process.poll() is not None:
            raise TimeoutError(f"{subject.name} does not answer")
        time.sleep(0.05)
    with LoadProcess(f"http://127.0.0.1:{port}", Plan(kinds=KINDS, seconds=None, timeout=30)) as load:
        load.wait_started(PATIENCE)
        time.sleep(3 * BETWEEN)
        for _ in range(restarts):
            begun = time.monotonic()
            with load.mark("restart"):
                subject.restart(running)
                time.sleep(max(0.0, begun + WINDOW - time.monotonic()))
            time.sleep(BETWEEN)
        return load.stop()


def _answers(port: int) -> bool:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        client.request("GET", "/")
        return client.getresponse().status == 200  # OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()


def table(rows: Sequence[Row]) -> str:
    """Return the table for people."""
    lines = [
        "| server | restarts | requests | failed | of them | p99.9 steady | around restarts | worst |",
        "|---|--:|--:|--:|---|--:|--:|--:|",
    ]
    for row in rows:
        kinds = ", ".join(f"{count} {kind}" for kind, count in row.by_kind.items() if count)
        times = " | ".join(f"{each:.1f} ms" for each in (row.steady, row.around, row.worst))
        lines.append(f"| {row.subject} | {row.restarts} | {row.sent:,} | {row.failed} | {kinds} | {times} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write down."""
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description="Restarts under load.")
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--out", default=str(RESULTS), metavar="FOLDER")
    options = parser.parse_args(arguments)
    rows = []
    for subject in SUBJECTS:
        if options.only and subject.name not in options.only:
            continue
        if subject.needs != "overseer" and not shutil.which(
            subject.needs, path=f"{BIN}:{os.environ['PATH']}"
        ):
            print(f"{subject.name}: not measured, {subject.needs} is not installed", file=sys.stderr)
            continue
        rows.append(measure(subject, options.restarts))
        print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows))
    out = Path(options.out)
    text = table(rows) + "\n\n{machine}"
    written.write(out, "serve", "Restarts of servers under load", text, {"rows": [vars(row) for row in rows]})
    bars = [plot.Bar(row.subject, 1e4 * row.failed / max(1, row.sent), row.worst, row.ours) for row in rows]
    (out / "serve.svg").write_text(plot.draw(bars))
    return 0


if __name__ == "__main__":
    sys.exit(main())
