"""An update as a patch against the same update as a whole: bytes, time and memory, in one run.

    python -m bench.patch [--rate MBIT] [--rounds N] [--out FILE]

The releases are zip archives of real packages, those that are installed here, built twice: every file
compressed by itself, as most builders do, and only stored. Between two builds either one line of the program
changes or a whole package does. Each update is brought in by the updater's own code, in a process of its own,
over a line of `--rate` Mbit/s (made by waiting); the release is not started. Memory is the peak of that
process, less its peak before it downloads anything.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overseer.fetcher import Download, Offer
from overseer.fetcher.offer import PatchOffer
from overseer.publish.compress import compress
from overseer.store import Store
from overseer.updater import zstd
from overseer.updater.stage import Staged, Terms, stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGES = {
    "small": ("click", "rich", "urllib3", "pygments", "markdown-it-py", "mdurl"),
    "large": ("click", "rich", "urllib3", "pygments", "markdown-it-py", "mdurl", "botocore"),
}
INSTEAD = ("urllib3", "httpx")
"""In the change of a dependency, the first of these is replaced by the second."""

_PIECE = 64 << 10


def build(packages: Sequence[str], version: str, how: int) -> bytes:
    """Build a zipapp of installed packages, the same to the bit each time; `how` is zipfile's method."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", how, compresslevel=9 if how else None) as archive:
        for package in packages:
            for file in sorted(metadata.files(package) or (), key=str):
                path = file.locate()
                if ".." not in file.parts and "__pycache__" not in file.parts and os.path.isfile(path):
                    entry = zipfile.ZipInfo(str(file), (1980, 1, 1, 0, 0, 0))
                    archive.writestr(entry, Path(path).read_bytes(), how)
        archive.writestr(
            zipfile.ZipInfo("__main__.py", (1980, 1, 1, 0, 0, 0)), f"VERSION = '{version}'\n", how
        )
    return b"#!/usr/bin/env python3\n" + target.getvalue()


# -- one update, in a process of its own ---------------------------------------------------------------------


def child(folder: str, how: str, rate: float) -> None:
    """Bring the release `new` of a folder in, over `old`; print what it took."""
    old, new = (os.path.join(folder, name) for name in ("old", "new"))
    received = 0

    def drip(path: str) -> Iterator[bytes]:
        nonlocal received
        begun = time.monotonic()
        with open(path, "rb") as file:
            sent = 0
            while piece := file.read(_PIECE):
                sent += len(piece)
                time.sleep(max(0.0, begun + sent * 8 / (rate * 1e6) - time.monotonic()))
                received += len(piece)
                yield piece

    with tempfile.TemporaryDirectory(dir=folder) as place:
        binary = os.path.join(place, "app")
        Path(binary).write_bytes(Path(old).read_bytes())
        os.chmod(binary, 0o755)
        with Store.open(binary, {}) as store:
            store.boot(version="1.0")
            zstd.module()
            patch = os.path.join(folder, "patch")
            told = PatchOffer(
                base=_digest(old), digest=_digest(patch), size=os.path.getsize(patch),
                open=lambda: Download(0, drip(patch)),
            )  # fmt: skip
            offer = Offer(
                seen={}, open=lambda _: Download(0, drip(new)),
                digest=_digest(new), size=os.path.getsize(new),
                patches=(told,) if how == "patch" else (),
            )  # fmt: skip
            before, begun = _peak(), time.perf_counter()
            outcome = stage(offer, store=store, terms=Terms(check=False))
            seconds = time.perf_counter() - begun
            assert isinstance(outcome, Staged), outcome
    print(json.dumps({"seconds": seconds, "memory": _peak() - before, "received": received}))


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _peak() -> int:
    """Return the most memory this process ever had; getrusage would count its parent's before the exec."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


# -- all of them ---------------------------------------------------------------------------------------------


def measure(old: bytes, new: bytes, rate: float, rounds: int) -> dict[str, Any]:
    """Update from one build to the other both ways, in turns; return the medians."""
    found: dict[str, list[dict[str, float]]] = {"whole": [], "patch": []}
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        patch = compress(old, new)
        made = time.perf_counter() - begun
        for name, content in (("old", old), ("new", new), ("patch", patch)):
            Path(folder, name).write_bytes(content)
        for _ in range(rounds):
            for how, runs in found.items():
                command = [sys.executable, "-m", "bench.patch", "--child", folder, how, "--rate", str(rate)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                runs.append(json.loads(done.stdout))
    figures = {
        how: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for how, runs in found.items()
    }
    return {"size": len(new), "seconds_to_make": made, **figures}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table; write the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=float, default=50.0, help="Mbit a second of the line (50)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", help="write the figures here")
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "HOW"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        child(options.child[0], options.child[1], options.rate)
        return 0
    figures = {}
    print(f"over {options.rate:g} Mbit/s; bytes received, seconds, and MiB of memory on top: whole | patch")
    for size, packages in PACKAGES.items():
        swapped = [INSTEAD[1] if each == INSTEAD[0] else each for each in packages]
        for method, how in (("compressed", zipfile.ZIP_DEFLATED), ("stored", zipfile.ZIP_STORED)):
            old = build(packages, "1.0", how)
            for change, new in (
                ("one line", build(packages, "1.1", how)),
                ("a package", build(swapped, "1.1", how)),
            ):
                found = measure(old, new, options.rate, options.rounds)
                name = f"{size}, {method}, {change}"
                figures[name] = found
                print(f"{name:32} {_shown(found['whole'])} | {_shown(found['patch'])}"
                      f"   made in {found['seconds_to_make']:.1f} s", flush=True)  # fmt: skip
    if options.out:
        Path(options.out).write_text(json.dumps({"rate": options.rate, "figures": figures}, indent=1) + "\n")
    return 0


def _shown(run: dict[str, float]) -> str:
    return f"{run['received']:>12,.0f} B {run['seconds']:6.2f} s {run['memory'] / (1 << 20):6.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
