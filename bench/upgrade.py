"""How fast a release comes in, and what memory that takes, against `curl -o` and `sha256sum` in one run.

    python -m bench.upgrade [--quick] [--size MIB] [--rounds N] [--out FOLDER]

All of them get the same file from the same server on the loopback interface, in turns. Ours is the updater's
whole way in: the HTTP fetcher, the digest on the way, the store, everything made durable. The release is not
started: what its check takes is the program's time. `curl` and `sha256sum` make nothing durable, so they are
measured a second time with `sync` for the file, which is what they would have to do for the same promise.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIB: Final = 1 << 20
RESULTS: Final = Path(__file__).parent / "results"
SIZES: Final = (64, 256)
"""MiB, besides the whole: memory must not grow with the release."""

OURS, CURL, DURABLE = "overseer", "curl; sha256sum", "curl; sha256sum; sync"


@dataclass
class Run:
    """What one download of each kind took: seconds by size in MiB, and peak bytes of our process."""

    seconds: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    peak: dict[int, list[int]] = field(default_factory=dict)
    before: list[int] = field(default_factory=list)
    """bytes of our process at its peak before it downloads anything"""

    def add(self, who: str, size: int, seconds: float) -> None:
        """Note how long one took."""
        self.seconds.setdefault(who, {}).setdefault(size, []).append(seconds)

    def median(self, who: str, size: int) -> float:
        """Return the middle of what it took."""
        return statistics.median(self.seconds[who][size])


# -- the server --------------------------------------------------------------------------------------------


def serve(folder: str) -> None:
    """Serve files of a folder with sendfile(2) until standard input ends; print the port first."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                _answer(connection, folder)


def _answer(connection: socket.socket, folder: str) -> None:
    with connection.makefile("rb") as lines:
        name = os.path.basename(lines.readline().split()[1].decode())
        while lines.readline().strip():
            pass
    with open(os.path.join(folder, name), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = f'HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: "{name}"\r\nConnection: close\r\n\r\n'
        connection.sendall(head.encode())
        connection.sendfile(file)


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.upgrade", "--serve", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


# -- ours --------------------------------------------------------------------------------------------------


def bring_in(url: str, folder: str) -> None:
    """Be an updater that takes one release, and print what that took."""
    from overseer.fetcher import HTTP  # noqa: PLC0415 - not what the other roles of this file are made of
    from overseer.store import Store  # noqa: PLC0415
    from overseer.updater.attention import Attention  # noqa: PLC0415
    from overseer.updater.stage import Staged, Terms, stage  # noqa: PLC0415

    binary = os.path.join(folder, "app")
    with open(binary, "w") as file:
        file.write("#!/bin/sh\nexit 0\n")
    os.chmod(binary, 0o755)
    master, ours = socket.socketpair()
    with Store.open(binary, tell=lambda *_: None) as store, Attention(ours) as attention, master:
        store.boot()
        fetcher = HTTP(url, max_size=1 << 40)
        before, begin = _peak(), time.monotonic()
        offer = fetcher.latest(None)
        assert offer
        terms = Terms(check=False, max_size=1 << 40, max_unpacked=1 << 40)
        staged = stage(offer, store=store, terms=terms, attention=attention)
        seconds = time.monotonic() - begin
        assert isinstance(staged, Staged), staged
        told = {"seconds": seconds, "before": before, "peak": _peak(), "release": staged.release}
        print(json.dumps(told))


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("the kernel tells no VmHWM")


# -- the run -----------------------------------------------------------------------------------------------


def measure(sizes: Sequence[int], rounds: int) -> Run:
    """Take turns, `rounds` times, for each size in MiB."""
    run = Run()
    with tempfile.TemporaryDirectory(prefix="bench-upgrade-") as name:
        folder = Path(name)
        digests = {size: _make(folder / f"{size}", size) for size in sizes}
        with _serving(folder) as url:
            for _ in range(rounds):
                for size in sizes:
                    _turn(run, folder, f"{url}/{size}", size, digests[size])
    return run


def _make(path: Path, size: int) -> str:
    """Write a release of `size` MiB, and leave it in the page cache; return its SHA-256."""
    block = os.urandom(MIB)
    with path.open("wb") as file:
        file.write(b"#!/bin/sh\nexit 0\n".ljust(MIB, b"\n"))
        for number in range(size - 1):
            file.write(number.to_bytes(8, "big") + block[8:])
    os.sync()
    return _sha256sum(path)


def _sha256sum(path: Path) -> str:
    return subprocess.run(["sha256sum", path], capture_output=True, check=True, text=True).stdout.split()[0]


def _turn(run: Run, folder: Path, url: str, size: int, digest: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = [sys.executable, "-m", "bench.upgrade", "--bring-in", url, place]
        told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert told["release"] == digest
        run.add(OURS, size, told["seconds"])
        run.peak.setdefault(size, []).append(told["peak"])
        run.before.append(told["before"])
    for who in (CURL, DURABLE):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            target = Path(place) / "release"
            begin = time.monotonic()
            subprocess.run(["curl", "-sS", "-o", target, url], check=True)
            assert _sha256sum(target) == digest
            if who == DURABLE:
                subprocess.run(["sync", target], check=True)
            run.add(who, size, time.monotonic() - begin)


def table(run: Run) -> str:
    """Write the figures as Markdown."""
    lines = [
        f"| release | {OURS} | {CURL} | {DURABLE} | ratio | ratio, durable | peak memory | of it ours |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size in sorted(run.peak):
        ours, curl, durable = (run.median(who, size) for who in (OURS, CURL, DURABLE))
        peak, base = statistics.median(run.peak[size]) / MIB, statistics.median(run.before) / MIB
        lines.append(
            f"| {size} MiB | {ours:.2f} s | {curl:.2f} s | {durable:.2f} s | {ours / curl:.2f} "
            f"| {ours / durable:.2f} | {peak:.1f} MiB | {peak - base:.1f} MiB |"
        )
    return "\n".join(lines)


def write(run: Run, rounds: int, folder: Path) -> None:
    """Write upgrade.md and upgrade.json."""
    notes = (
        f"Medians of {rounds} rounds in turns, from a server on the loopback interface ({{machine}}).\n"
        "*Peak memory* is VmHWM of the updater's process, *of it ours* what the download added to it.\n"
        "Our time is that of the look and the whole way in, without the start of the interpreter (an\n"
        "updater runs already) and without the check; theirs is that of the commands.\n"
    )
    found = {"rounds": rounds, **asdict(run)}
    written.write(folder, "upgrade", "A release comes in", f"{notes}\n{table(run)}", found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results down."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.upgrade", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="of the release (1024)")
    parser.add_argument("--quick", action="store_true", help="128 MiB, and nothing is written down")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--bring-in", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve)
    elif options.bring_in:
        bring_in(*options.bring_in)
    else:
        whole = 128 if options.quick else options.size
        run = measure([*(size for size in SIZES if size < whole), whole], options.rounds)
        print(table(run))
        if not options.quick:
            write(run, options.rounds, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
