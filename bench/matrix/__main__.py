"""Real servers below `overseer run`, without a line of theirs changed: restarts under load, failures counted.

    python -m bench.matrix [--restarts N] [--only NAME ...] [--out FOLDER]

Clients come anew, keep their connections, send late, and upload slowly. What fails is told by kind: a restart
is not noticed by a client that comes anew below any server; what a server does to connections that it has
accepted is its own affair.
"""

from __future__ import annotations

import argparse
import collections
import os
import shutil
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
from bench.written import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE.parent / "results"
BIN: Final = os.path.dirname(sys.executable)
PATIENCE: Final = 60.0
KINDS: Final = (
    Fresh(rate=80),
    Kept(rate=80, connections=10, pause=(0.0, 0.5)),
    Late(rate=20),
    Upload(rate=3, size=20_000, over=1.0),
)


@dataclass(frozen=True)
class Server:
    """A server, and how it is started below `overseer run`."""

    name: str
    needs: str
    """the program that has to be installed"""
    command: Callable[[Path, int], list[str]]
    """given a folder of its own and the port"""
    options: tuple[str, ...] = ("--ready-url", "http://127.0.0.1:{port}/")
    finishes: bool = False
    """whether it answers all that it has accepted; others close connections on which nothing has come yet"""


def _python(program: str, app: str, *words: str) -> Callable[[Path, int], list[str]]:
    return lambda _folder, _port: [f"{BIN}/{program}", *words, f"bench.matrix.app:{app}"]


def _built(folder: Path, _port: int) -> list[str]:
    program = str(folder / "server")
    subprocess.run(["gcc", "-O2", "-pthread", "-o", program, str(HERE / "server.c")], check=True)
    return [program]


def _nginx(folder: Path, port: int) -> list[str]:
    """With NGINX= it takes descriptors that it inherits, as it does in an upgrade of its own."""
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; daemon off;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};\n"
        f"fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
        f'server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello\\n"; }} }} }}\n'
    )
    return ["env", "NGINX=3;", shutil.which("nginx") or "nginx", "-c", str(folder / "nginx.conf")]


_SAYS_SO: Final = ("--ready", "notify")
_GTHREAD: Final = ("-k", "gthread", "--threads", "16")

SERVERS: Final = (
    Server("gunicorn gthread", "gunicorn", _python("gunicorn", "wsgi", *_GTHREAD), _SAYS_SO, finishes=True),
    Server("gunicorn sync", "gunicorn", _python("gunicorn", "wsgi", "-w", "4"), _SAYS_SO, finishes=True),
    Server("hypercorn", "hypercorn", _python("hypercorn", "asgi", "-b", "fd://{fd}")),
    Server("uvicorn", "uvicorn", _python("uvicorn", "asgi", "--log-level", "warning", "--fd", "{fd}")),
    Server("node", "node", lambda _folder, _port: ["node", str(HERE / "server.js")]),
    Server("C, threads", "gcc", _built, finishes=True),
    Server("nginx", "nginx", _nginx, ("--ready-url", "http://127.0.0.1:{port}/", "--drain-signal", "QUIT")),
)


@dataclass
class Row:
    """What one server showed."""

    server: str
    version: str
    restarts: int
    sent: int
    failed: int
    by_kind: dict[str, int] = field(default_factory=dict)
    saw: dict[str, int] = field(default_factory=dict)
    """failures as clients saw them"""
    status: int = 0
    """of `overseer run` after SIGTERM"""


def missing(server: Server) -> str:
    """Say what is not installed; empty when all is there."""
    found = shutil.which(server.needs, path=f"{BIN}:{os.environ['PATH']}")
    return "" if found else f"{server.needs} is not installed"


def measure(server: Server, restarts: int) -> Row:
    """Run one server through restarts under load."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        log = (folder / "log").open("wb")
        options = ["--address", f"127.0.0.1:{port}", *server.options, "--terminate-timeout", "20"]
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
        return Row(
            server.name, version(server.needs), restarts, report.sent, report.failed, kinds, dict(saw), status
        )


def _under_load(folder: Path, port: int, restarts: int) -> Any:
    control = str(folder / "overseer.sock")
    end = time.monotonic() + PATIENCE
    while not os.path.exists(control):
        if time.monotonic() > end:
            raise TimeoutError(f"no control socket within {PATIENCE:g} s")
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


def table(rows: Sequence[Row]) -> str:
    """Return the table for people."""
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    yield "| server | version | restarts | requests | failed | of them | as clients saw it |"
    yield "|---|---|--:|--:|--:|---|---|"
    for row in rows:
        kinds = ", ".join(f"{count} {kind}" for kind, count in row.by_kind.items() if count)
        saw = ", ".join(f"{count} {outcome}" for outcome, count in row.saw.items())
        numbers = f"{row.restarts} | {row.sent:,} | {row.failed}"
        yield f"| {row.server} | {row.version} | {numbers} | {kinds} | {saw} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write down."""
    parser = argparse.ArgumentParser(prog="python -m bench.matrix", description="Real servers, unchanged.")
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--out", default=str(RESULTS), metavar="FOLDER")
    options = parser.parse_args(arguments)
    rows = []
    for server in SERVERS:
        if options.only and server.name not in options.only:
            continue
        if why := missing(server):
            print(f"{server.name}: not measured, {why}", file=sys.stderr)
            continue
        rows.append(measure(server, options.restarts))
        print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows))
    found = {"rows": [vars(row) for row in rows]}
    written.write(
        Path(options.out), "matrix", "Real servers below `overseer run`", table(rows) + "\n\n{machine}", found
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
