"""The power is cut in the middle of upgrades: what is there then is whole, and what was promised is kept."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from overseer.store import Store, ledger, releases
from overseer.store.durable import digest_of_path
from tests.long.upgrades import content_of, digest_of
from tests.process.service import until

if TYPE_CHECKING:
    from tests.long.volume import Volume

pytestmark = [pytest.mark.long, pytest.mark.very_long]

CUTS = 30
"""Of each file system."""

ROOT = Path(__file__).resolve().parents[2]

FILE_SYSTEMS = [
    pytest.param("ext4", (), id="ext4"),
    pytest.param("ext4", ("noauto_da_alloc",), id="ext4-noauto_da_alloc"),
    pytest.param("xfs", (), id="xfs"),
]


class Expected:
    """What may be found after a cut: what was promised last, or what was under way."""

    def __init__(self) -> None:
        """Begin with release 0, which was there before there was a store."""
        self.current = {0}
        self.public = {0}
        self.rejected: set[int] = set()
        self.next = 1
        self.heard: Counter[str] = Counter()
        self.last: list[str] = []

    def hear(self, line: str) -> None:
        """Take in what was promised, or begun."""
        self.last = [*self.last[-20:], line]
        word, *rest = line.split()
        self.heard[word] += 1
        if word == "ready":
            current, public = (self.number_of(digest) for digest in rest)
            assert current in self.current, self
            assert public in self.public, self
            self.current, self.public = {current}, {public}
            return
        number, *fate = int(rest[0]), *rest[1:]
        match word:
            case "begins":
                self.next = number  # the same one again after a cut, which may find half of it
                if fate == ["reject"]:
                    self.public |= self.current
                else:
                    self.public |= {number}
                    self.current |= {number}
            case "installed":
                self.public = {number}
            case "promoted":
                self.current, self.public = {number}, {number}
                self.next = number + 1
            case "rejected" | "held":
                self.rejected.add(number)
                self.public = set(self.current)
                self.next = number + 1

    def number_of(self, digest: str) -> int:
        """Return the number of the release that is meant by `digest`, -1 for one that cannot be meant."""
        numbers = range(max(0, self.next - 20), self.next + 2)
        return next((number for number in numbers if digest_of(number) == digest), -1)

    def __repr__(self) -> str:
        said = "; ".join(self.last)
        return f"current {self.current}, public {self.public}, next {self.next}, after {said}"


class Machine:
    """A binary with a store on a volume, and a process that upgrades it."""

    def __init__(self, volume: Volume, *careless: str) -> None:
        """Install release 0."""
        self.volume = volume
        self.careless = careless
        self.binary = volume.path / "bin" / "app"
        self.store = volume.path / "bin" / ".app.overseer"
        self.binary.parent.mkdir()
        self.binary.write_bytes(content_of(0))
        self.binary.chmod(0o755)
        volume.sync()
        self.expected = Expected()

    def run_until_cut(self, chance: random.Random) -> None:
        """Upgrade, cut the power some time later, take in what was said until then, and power up."""
        command = [sys.executable, "-m", "tests.long.upgrades", str(self.binary), str(chance.random())]
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*command, str(self.expected.next), *self.careless],
                cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
            assert process.stdout
            # Whoever starts may find that the one on trial has had all its attempts.
            self.expected.public |= self.expected.current
            # Soon after something was said, for most happens there; seldom while the store is opened.
            said = [process.stdout.readline() for _ in range(chance.choice([0, *range(1, 20)]))]
            try:
                process.wait(chance.uniform(0, 0.05))
            except subprocess.TimeoutExpired:
                self.volume.cut()
            else:
                errors.seek(0)
                raise AssertionError(errors.read().decode())
            process.kill()
            with process:
                said += process.stdout.readlines()
        for line in b"".join(said).decode().splitlines():
            self.expected.hear(line)
        self.volume.power_up()

    def is_whole(self) -> None:
        """Look at what the cut has left, before anybody tidies it up."""
        expected = self.expected
        public = expected.number_of(digest_of_path(str(self.binary)))
        assert public in expected.public, expected
        assert os.access(self.binary, os.X_OK)
        if not (self.store / "state.json").exists():  # it was cut before it was begun
            assert not expected.heard
            return
        found = ledger.load((self.store / "state.json").read_bytes())
        current = expected.number_of(found.current) if found.current else 0
        assert current in expected.current, expected
        assert {digest_of(number) for number in expected.rejected} <= set(found.held)
        if (self.store / "current").is_symlink():
            release = (self.store / "current" / "app").read_bytes()
            assert release in [content_of(number) for number in expected.current]

    def boots(self) -> None:
        """Open the store as the next master would: what it starts is whole, and everything is in line."""
        expected = self.expected
        with Store.open(str(self.binary), tell=lambda *_: None) as store:
            boot = store.boot()
            started, current = (expected.number_of(each.release) for each in (boot.start, boot.current))
            assert started in expected.current | expected.public | {expected.next}, expected
            assert current in expected.current, expected
            for digest in store.ledger.kept:
                release = store.find(digest)
                assert release, f"{digest} is kept and not there"
                assert releases.is_whole(release, doubt=True), f"{digest} is not whole"
            public = expected.number_of(digest_of_path(str(self.binary)))
            trial = store.ledger.trial
            assert public == (started if trial and trial.installed else current), expected
            assert (self.store / "current").resolve() == Path(boot.current.folder).resolve()
            assert {path.name for path in (self.store / "staging").iterdir()} <= {"partial"}
            assert {path.name for path in self.binary.parent.iterdir()} == {"app", ".app.overseer"}
            assert not list(self.store.glob("*.tmp"))
            list(store.history())
            expected.current, expected.public = {current}, {public}
            if expected.next in expected.public or digest_of(expected.next) in store.ledger.held:
                expected.next += 1


@pytest.mark.parametrize("volume", [param.values for param in FILE_SYSTEMS], indirect=True,
                         ids=[param.id for param in FILE_SYSTEMS])  # fmt: skip
def test_every_promise_outlives_a_power_cut(volume: Volume) -> None:
    """After each cut a complete, verified release is in every place, and what was acknowledged is so."""
    machine, chance = Machine(volume), random.Random(volume.kind)
    for _ in range(CUTS):
        machine.run_until_cut(chance)
        machine.is_whole()
        machine.boots()
    heard = machine.expected.heard
    print(f"{volume.kind} {','.join(volume.options)}: {CUTS} cuts, {dict(heard)}")
    assert heard["promoted"] > CUTS


@pytest.mark.parametrize("volume", [("xfs", ()), ("ext4", ("noauto_da_alloc",))], indirect=True,
                         ids=["xfs", "ext4-noauto_da_alloc"])  # fmt: skip
def test_a_store_that_does_not_sync_would_be_caught(volume: Volume) -> None:
    """The proof has teeth: without fsync a few cuts are enough to find a promise broken."""
    machine, chance = Machine(volume, "careless"), random.Random(volume.kind)

    def breaks() -> bool:
        machine.run_until_cut(chance)
        try:
            machine.is_whole()
            machine.boots()
        except (AssertionError, OSError, ValueError):
            return True
        return False

    until(breaks, "a promise is broken")
