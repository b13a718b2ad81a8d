"""What signatures cost: a poll with nothing new, a release of 20 MB, and the same as a patch, in one run.

    python -m bench.trust [--quick] [--size MB] [--rounds N] [--polls N] [--out FOLDER]

A publisher makes two releases that differ in one line and are random else, so that nothing can be packed. A
server on the loopback interface counts requests and bytes, header fields included, in both directions. Each
update is brought in by the updater's own code in a process of its own, which has not loaded python-tuf yet:
the metadata is refreshed, the release downloaded, verified, and made durable in the store. It is not started.
`curl -o` and `sha256sum` get the same file in turns with ours, a second time with `sync`, as their result is
not durable without it; they verify no signature.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RESULTS: Final = Path(__file__).parent / "results"
MB: Final = 1_000_000
MIB: Final = 1 << 20
COUNTS: Final = "counts"

CURL, DURABLE = "curl; sha256sum", "curl; sha256sum; sync"
_REST = f"to {DURABLE} | requests | bytes received | peak memory | of it ours |"
WHOLE, PATCH = "whole", "patch"


# -- the server --------------------------------------------------------------------------------------------


def serve(folder: str) -> None:
    """Serve files of a folder until standard input ends; print the port first, and tell counts when asked."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    counts = {"requests": 0, "received": 0, "sent": 0}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                _answer(connection, folder, counts)


def _answer(connection: socket.socket, folder: str, counts: dict[str, int]) -> None:
    asked = b""
    while b"\r\n\r\n" not in asked:
        if not (more := connection.recv(65536)):
            return
        asked += more
    name = os.path.basename(asked.split()[1].decode())
    if name == COUNTS:
        told = json.dumps(counts).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
        counts.update(dict.fromkeys(counts, 0))
        return
    counts["requests"] += 1
    counts["received"] += len(asked)
    try:
        file = open(os.path.join(folder, name), "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        connection.sendall(head)
        counts["sent"] += len(head)
        return
    with file:
        there = os.fstat(file.fileno())
        etag = f'"{there.st_mtime_ns:x}-{there.st_size:x}"'
        same = f"if-none-match: {etag}".encode() in asked.replace(b"If-None-Match", b"if-none-match")
        first = "304 Not Modified" if same else "200 OK"
        length = "" if same else f"Content-Length: {there.st_size}\r\n"
        head = f"HTTP/1.1 {first}\r\n{length}ETag: {etag}\r\nConnection: close\r\n\r\n".encode()
        connection.sendall(head)
        counts["sent"] += len(head) + (0 if same else connection.sendfile(file))


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.trust", "--serve", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/"
        process.stdin.close()


def _counts(url: str) -> dict[str, int]:
    """Return what was counted since the last time."""
    with urllib.request.urlopen(f"{url}{COUNTS}") as answer:
        found: dict[str, int] = json.load(answer)
        return found


# -- ours --------------------------------------------------------------------------------------------------


def bring_in(url: str, folder: str, root: str, polls: int) -> None:
    """Be an updater that takes what is signed, then polls; print what that took."""
    from overseer.fetcher import HTTP  # noqa: PLC0415 - not what the other roles of this file are made of
    from overseer.store import Store  # noqa: PLC0415
    from overseer.trust.choose import Here  # noqa: PLC0415
    from overseer.trust.source import SignedReleases  # noqa: PLC0415
    from overseer.trust.tuf import TUF  # noqa: PLC0415
    from overseer.updater.stage import Staged, Terms, stage  # noqa: PLC0415

    with Store.open(os.path.join(folder, "app"), {}, tell=lambda *_: None) as store:
        store.boot(version="1.0")
        here = Here(platform="any", version="1.0", highest="1.0", digest=store.ledger.current)
        trusted = os.path.join(store.layout.root, "trusted")
        source = SignedReleases(TUF(root), HTTP(url), trusted, lambda: here)
        before, begin = _peak(), time.perf_counter()
        offer = source.latest(None)
        refreshed = time.perf_counter() - begin
        assert offer
        staged = stage(offer, store=store, terms=Terms(check=False))
        seconds = time.perf_counter() - begin
        assert isinstance(staged, Staged), staged
        told = {"seconds": seconds, "refresh": refreshed, "before": before, "peak": _peak()}
        told |= {f"taken_{name}": number for name, number in _counts(url).items()}
        begin, used = time.perf_counter(), time.process_time()
        for _ in range(polls):
            assert source.latest(offer.seen) is None
        if polls:
            told |= {"poll": (time.perf_counter() - begin) / polls}
            told |= {"poll_cpu": (time.process_time() - used) / polls}
            told |= {f"poll_{name}": number / polls for name, number in _counts(url).items()}
    print(json.dumps(told))


def _peak() -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, "the kernel tells no VmHWM"
    return int(found[1]) << 10


# -- the publisher -----------------------------------------------------------------------------------------


def _publisher(folder: Path, size: int, *, patches: int) -> Path:
    """Publish two releases of `size` bytes, with a patch from the first to the second or without.

    Returns the publisher's folder: `1.0` and `2.0` are the releases, `public` is what is served.
    """
    from overseer.publish.candidate import examine  # noqa: PLC0415 - slow to import
    from overseer.publish.founding import found  # noqa: PLC0415
    from overseer.publish.home import Home  # noqa: PLC0415
    from overseer.publish.publisher import publish  # noqa: PLC0415
    from overseer.publish.repository import Repository  # noqa: PLC0415
    from overseer.trust.terms import Terms  # noqa: PLC0415

    folder.mkdir()
    home = Home(folder=str(folder), name="app", place="public", patches=patches)
    home = found(home, "file:offline.key", "file:online.key", lambda _: "benchmark", now=datetime.now(UTC))
    repository = Repository(home, lambda _: "benchmark")
    repository.begin()
    body = os.urandom(size)
    for version in ("1.0", "2.0"):
        head = f"#!/bin/sh\n# {version}\nexit 0\n".encode()
        path = folder / version
        path.write_bytes(head + body[len(head) :])
        publish(repository, examine(str(path), run=False), Terms(name="app", version=version))
    return folder


# -- the run -----------------------------------------------------------------------------------------------


def measure(size: int, rounds: int, polls: int) -> dict[str, Any]:
    """Take turns, `rounds` times; return the medians, and what they are the medians of."""
    runs: dict[str, list[dict[str, float]]] = {who: [] for who in (WHOLE, PATCH, CURL, DURABLE)}
    with tempfile.TemporaryDirectory(prefix="bench-trust-") as name:
        folder = Path(name)
        without = _publisher(folder / "without", size, patches=0)
        with_ = _publisher(folder / "with", size, patches=3)
        with _serving(without / "public") as plain, _serving(with_ / "public") as patched:
            for _ in range(rounds):
                runs[WHOLE].append(_ours(folder, without, plain, polls))
                runs[PATCH].append(_ours(folder, with_, patched, 0))
                for who in (CURL, DURABLE):
                    runs[who].append(_theirs(folder, without, plain, durable=who == DURABLE))
    medians = {
        who: {each: statistics.median(run[each] for run in found) for each in found[0]}
        for who, found in runs.items()
    }
    return {"medians": medians, "runs": runs}


def _ours(folder: Path, publisher: Path, url: str, polls: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        binary = Path(place) / "app"
        binary.write_bytes((publisher / "1.0").read_bytes())
        binary.chmod(0o755)
        _counts(url)
        command = [
            sys.executable,
            "-m",
            "bench.trust",
            "--bring-in",
            url,
            place,
            str(publisher / "root.json"),
        ]
        done = subprocess.run([*command, "--polls", str(polls)], capture_output=True, check=True, text=True)
        found: dict[str, float] = json.loads(done.stdout)
        return found


def _theirs(folder: Path, publisher: Path, url: str, *, durable: bool) -> dict[str, float]:
    (name,) = (path.name for path in (publisher / "public").iterdir() if ".app-2.0-" in path.name)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        target = Path(place) / "release"
        _counts(url)
        begin = time.perf_counter()
        got = subprocess.run(["curl", "-sS", "-o", target, url + name], check=False, capture_output=True)
        assert got.returncode == 0, got.stderr
        done = subprocess.run(["sha256sum", target], capture_output=True, check=True, text=True)
        assert name.startswith(done.stdout.split()[0])
        if durable:
            subprocess.run(["sync", target], check=True)
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, **{f"taken_{name}": number for name, number in _counts(url).items()}}


def tables(found: dict[str, Any], size: int) -> str:
    """Write the figures as Markdown."""
    medians = found["medians"]
    poll, curl, durable = medians[WHOLE], medians[CURL]["seconds"], medians[DURABLE]["seconds"]
    lines = [
        "| a poll with nothing new | |",
        "|---|--:|",
        f"| requests | {poll['poll_requests']:g} |",
        f"| bytes sent to the server, header fields and all | {poll['poll_received']:.0f} |",
        f"| bytes that came back | {poll['poll_sent']:.0f} |",
        f"| CPU of the updater | {poll['poll_cpu'] * 1e3:.2f} ms |",
        "",
        f"| an update of {size / MB:g} MB | seconds | of it metadata | to {CURL} | {_REST}",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for who, what in ((WHOLE, "overseer, the whole release"), (PATCH, "overseer, a patch")):
        run = medians[who]
        lines.append(
            f"| {what} | {run['seconds']:.2f} | {run['refresh']:.2f} | {run['seconds'] / curl:.2f}x "
            f"| {run['seconds'] / durable:.2f}x | {run['taken_requests']:g} | {run['taken_sent']:,.0f} "
            f"| {run['peak'] / MIB:.1f} MiB | {(run['peak'] - run['before']) / MIB:.1f} MiB |"
        )
    for who, ratios in ((CURL, "1 | "), (DURABLE, " | 1")):
        run = medians[who]
        taken = f"{run['taken_requests']:g} | {run['taken_sent']:,.0f}"
        lines.append(f"| {who} | {run['seconds']:.2f} | | {ratios} | {taken} | | |")
    return "\n".join(lines)


def write(found: dict[str, Any], size: int, rounds: int, folder: Path) -> None:
    """Write trust.md and trust.json."""
    notes = (
        f"Medians of {rounds} rounds in turns, from a server on the loopback interface ({{machine}}).\n"
        "*Peak memory* is VmHWM of the updater's process, *of it ours* what the update added to it, with\n"
        "python-tuf, which is loaded at the first look. Our seconds are those of the look and the whole way\n"
        "in, without the start of the interpreter (an updater runs already) and without the check.\n"
    )
    whole = {"rounds": rounds, "size": size, **found}
    written.write(folder, "trust", "What signatures cost", f"{notes}\n{tables(found, size)}", whole)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results down."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.trust", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--size", type=float, default=20, metavar="MB", help="of the release (20)")
    parser.add_argument("--quick", action="store_true", help="one round of 2 MB; nothing is written down")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--polls", type=int, default=50, help="in each round (50)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--bring-in", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve)
    elif options.bring_in:
        url, folder, root = options.bring_in
        bring_in(url, folder, root, options.polls)
    else:
        size = int((2 if options.quick else options.size) * MB)
        rounds = 1 if options.quick else options.rounds
        found = measure(size, rounds, options.polls)
        print(tables(found, size))
        if not options.quick:
            write(found, size, rounds, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
