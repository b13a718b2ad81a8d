"""Release upon release under load, many of them bad: no request fails, the right one serves after each."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench.load import Fresh, Late, LoadProcess, Plan

from tests.process.faults import FAULTS, PADDING, Fate, Fault, build_of
from tests.process.service import Service, until

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = 5
"""Releases on disk, at most, when it is quiet: the current one, two to go back to, two that failed since."""

SLOW = 45.0
"""Seconds that the slowest fault may take: it waits for the time limit of a check."""

GROWTH = 256 << 10
"""Bytes that the master's own memory may grow by over all that happens.

Before 3.13 every `case Class(...)` of CPython leaves the name `__match_args__` in its cache of attributes,
which has 4,096 places of 64 bytes: a master grows by about one kilobyte a generation until these are full.
"""


class Storm:
    """A service under load, the releases it was offered, and what is expected of it."""

    def __init__(self, folder: Path, load: LoadProcess, app: Service, build: str, digest: str) -> None:
        self.folder, self.load, self.app = folder, load, app
        self.build, self.digest = build, digest
        self.told: list[tuple[str, str]] = []  # what the history has to say
        self.held: dict[str, Fault] = {}
        self.may_serve = {build}

    @property
    def store(self) -> Path:
        """Where its releases are."""
        return self.folder / ".app.py.overseer"

    @property
    def ledger(self) -> dict[str, Any]:
        """What the store says of itself."""
        found: dict[str, Any] = json.loads((self.store / "state.json").read_text())
        return found

    def offer(self, content: bytes) -> str:
        """Put a release where the fetcher looks; return its digest."""
        fresh = self.folder / "next.tmp"
        fresh.write_bytes(content)
        fresh.replace(self.folder / "next.py")
        return hashlib.sha256(content).hexdigest()

    def take(self, build: str, content: bytes) -> None:
        """Offer a good release and wait until it is current."""
        digest = self.offer(content)
        until(lambda: self.ledger["current"] == digest, f"build {build} is current", SLOW)
        self.told += [("staged", digest), ("promoted", digest)]
        self.build, self.digest = build, digest
        self.may_serve.add(build)
        self.load.wait_generation(build)

    def refuse(self, build: str, content: bytes, fault: Fault) -> None:
        """Offer a bad one and wait until it was dealt with."""
        heard = len(self.app.log)
        digest = self.offer(content)
        if fault.serves:
            self.may_serve.add(build)
        if fault.fate is Fate.NO_RELEASE:
            until(lambda: re.search(f"updater: .*{fault.why}", self.app.log[heard:]), fault.why, SLOW)
            return
        until(lambda: digest in self.ledger["held"], f"a release that {fault.name} is held", SLOW)
        self.held[digest] = fault
        started = fault.fate is Fate.HELD_BACK
        self.told += [("staged", digest), ("rejected", digest)] if started else [("held", digest)]

    def is_well(self) -> None:
        """Wait until the right release serves, and see that it is in every place."""
        until(lambda: self.serving() == [self.digest], f"build {self.build} serves alone", SLOW)
        answer = urllib.request.urlopen(f"http://127.0.0.1:{self.app.port}/", timeout=20)
        with answer:
            assert answer.headers["X-Generation"] == self.build
        assert self.ledger["current"] == self.digest
        until(lambda: self.public() == self.digest, "it is the public file")
        assert (self.store / "current").resolve().name.endswith(self.digest[:12])
        assert not self.load.failures, self.load.failures

    def public(self) -> str:
        """Return the digest of the public file."""
        return hashlib.sha256(self.app.app.read_bytes()).hexdigest()

    def serving(self) -> list[str]:
        """Return the releases of all generations that start or serve."""
        generations = self.app.status()["generations"]
        return [g["release"] for g in generations if g["phase"] != "draining"]

    def quiet(self) -> dict[str, int]:
        """Wait until only one generation and the updater are left; return what the master then costs."""
        until(lambda: len(self.app.status()["generations"]) == 1, "only one generation is left", SLOW)
        until(lambda: len(self.app.tree()) == 2, "one program and one updater are left", SLOW)
        with self.app.call() as caller:  # the harness's own last connection has gone when this one is served
            caller.sendall(b'{"type":"status"}\n')
            caller.recv(1)
            descriptors = len(os.listdir(f"/proc/{self.app.pid}/fd"))
        return {"descriptors": descriptors, "memory": _own_memory(self.app.pid), "disk": _size(self.store)}


def _own_memory(pid: int) -> int:
    """Return the bytes of a process that are no file's: who else has a page of a library is chance."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) << 10 for kib in re.findall(r"^Anonymous: +(\d+) kB", rollup, re.MULTILINE))


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


@pytest.fixture
def storm(tmp_path: Path) -> Iterator[Storm]:
    """Start build 1 and the load on it."""
    first = build_of("1")
    with Service(tmp_path, first.decode()) as app:
        app.serves()
        plan = Plan(kinds=(Fresh(rate=80), Late(rate=20, wait=0.05)), seconds=None, timeout=30)
        with LoadProcess(f"http://127.0.0.1:{app.port}", plan) as load:
            load.wait_started()
            yield Storm(tmp_path, load, app, "1", hashlib.sha256(first).hexdigest())


@pytest.mark.skipif(sys.platform != "linux", reason="what a master costs is read from /proc")
@pytest.mark.long
@pytest.mark.parametrize(("releases", "every"), [(10, 2), (100, 5)], ids=["ten", "hundred"])
def test_a_storm_of_releases_is_a_non_event(storm: Storm, releases: int, every: int) -> None:
    """No request fails, the right release serves after each, and neither disk nor master grows."""
    faults = itertools.cycle(FAULTS)
    costs: list[dict[str, int]] = []
    for number in range(2, releases + 2):
        build = str(number)
        if (number - 1) % every:
            storm.take(build, build_of(build))
        elif (fault := next(faults)).fate is Fate.CURRENT:
            storm.take(build, fault.make(build))
        else:
            storm.refuse(build, fault.make(build), fault)
        storm.is_well()
        assert len(storm.app.tree()) <= 12
        if number % (releases // 5) == 0:
            costs.append(storm.quiet())
    print(f"{releases} releases, {len(storm.held)} held: {costs}")
    before, after = costs[1], costs[-1]  # the allocator has warmed up by then
    report = storm.load.stop()
    assert report.failed == 0, report
    assert set(report.generations) <= storm.may_serve
    fewest = min(cost["descriptors"] for cost in costs)
    until(lambda: storm.quiet()["descriptors"] <= fewest, "no descriptor is left over")
    assert after["memory"] <= before["memory"] + GROWTH
    assert after["disk"] <= KEPT * (PADDING + 8192) + (64 << 10)
    _tells_the_story(storm)


@pytest.mark.long
def test_bad_releases_in_a_row_do_not_fill_the_disk(storm: Storm) -> None:
    """Nothing good comes between them that would make room; only the last that failed are still there."""
    fault = next(fault for fault in FAULTS if fault.name == "exits at its start")
    for number in range(2, 7):
        storm.refuse(str(number), fault.make(str(number)), fault)
        storm.is_well()
    assert len(list((storm.store / "versions").iterdir())) <= 1 + 2
    assert storm.load.stop().failed == 0
    _tells_the_story(storm)


def _tells_the_story(storm: Storm) -> None:
    """The ledger holds what failed, each with its reason, and the history has everything in its order."""
    held = storm.ledger["held"]
    assert set(held) == set(storm.held)
    for digest, fault in storm.held.items():
        assert re.search(fault.why, held[digest]), (fault.name, held[digest])
    lines = [json.loads(line) for line in (storm.store / "history").read_text().splitlines()]
    told = [(line["what"], line["release"]) for line in lines if line["what"] not in ("adopted", "removed")]
    assert told == storm.told
    for line in lines:
        if line["what"] in ("held", "rejected"):
            assert re.search(storm.held[line["release"]].why, line["why"])
    orphans = storm.folder / "orphans"
    for pid in orphans.read_text().split() if orphans.exists() else ():
        assert not Path(f"/proc/{pid}").exists(), f"process {pid}, forked by a bad release, is left"
