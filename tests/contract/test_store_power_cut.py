"""A power cut at a random moment of continuous upgrades, on real file systems.

A file system in a file is mounted, upgraded on, and shut down by its own ioctl, without its log being
flushed: what was not made durable is lost, as when the power fails. Then it is mounted again.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.contract.stand_in import PATIENCE, Told, digest, program

from overseer.fetcher import Download, Offer
from overseer.store import Store
from overseer.store.durable import digest_of_path
from overseer.updater.stage import Terms, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.long

ROOT = str(Path(__file__).parents[2])
GOING_DOWN = 0x8004587D  # XFS_IOC_GOINGDOWN, the same number as EXT4_IOC_SHUTDOWN
WITHOUT_LOG = struct.pack("I", 2)  # XFS_FSOP_GOING_FLAGS_NOLOGFLUSH
CUTS = int(os.environ.get("OVERSEER_POWER_CUTS", "25"))

FILE_SYSTEMS = {
    "ext4": (["mkfs.ext4", "-q", "-F"], "rw"),
    "ext4 noauto_da_alloc": (["mkfs.ext4", "-q", "-F"], "rw,noauto_da_alloc"),
    "xfs": (["mkfs.xfs", "-q", "-f"], "rw"),
}


def release(number: int) -> bytes:
    """Make release `number`; its size is not a multiple of anything."""
    return program(f"{number}.0") + b"#" * (70_001 + 977 * number % 50_000) + b"\n"


def upgrade_for_ever(binary: str) -> None:
    """Upgrade again and again, and say so each time; end when the disk has gone."""
    with Store.open(binary, {}, tell=Told()) as store:
        number = int(store.boot(version="0.0").current.version.partition(".")[0])
        while True:
            number += 1
            content = release(number)
            offer = Offer(
                seen={"n": str(number)},
                open=lambda _, content=content: Download(0, iter([content])),  # type: ignore[misc]
            )
            stage(offer, store=store, terms=Terms(check=False))
            store.name(store.find(digest(content)), f"{number}.0")  # type: ignore[arg-type]
            store.promote(digest(content), highest=f"{number}.0")
            store.collect()
            os.write(1, f"{number}\n".encode())


class Disk:
    """A file system in a file."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.make, self.options = FILE_SYSTEMS[kind]
        self.image, self.mounted = str(folder / "image"), str(folder / "disk")
        os.mkdir(self.mounted)
        with open(self.image, "wb") as file:
            file.truncate(400 << 20)
        subprocess.run([*self.make, self.image], check=True)

    def mount(self) -> None:
        """Mount it; the log is replayed."""
        command = ["mount", "-o", f"loop,{self.options}", self.image, self.mounted]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(
                f"LOUD SKIP: no power cut was tried, nothing can be mounted here: {done.stderr.strip()}"
            )

    def cut(self) -> None:
        """Cut the power."""
        fd = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, GOING_DOWN, WITHOUT_LOG)
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Take it away."""
        subprocess.run(["umount", self.mounted], check=True)


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """Have one, mounted, with a program on it."""
    if os.geteuid() != 0:
        pytest.skip("LOUD SKIP: no power cut was tried, only root may mount")
    kind = request.param
    if not shutil.which(FILE_SYSTEMS[kind][0][0]):
        pytest.skip(f"LOUD SKIP: no power cut was tried on {kind}, there is no {FILE_SYSTEMS[kind][0][0]}")
    made = Disk(tmp_path, kind)
    made.mount()
    yield made
    made.unmount()


@pytest.mark.parametrize("disk", FILE_SYSTEMS, indirect=True)
def test_a_power_cut_leaves_a_whole_release_and_every_upgrade_that_was_acknowledged(disk: Disk) -> None:
    """The public file and what is started: complete, verified, and never older than what was acknowledged."""
    binary = f"{disk.mounted}/app"
    with open(binary, "wb") as file:
        file.write(release(0))
        os.fchmod(file.fileno(), 0o755)
        os.fsync(file.fileno())
    known = {digest(release(number)): number for number in range(5000)}
    dice = random.Random(os.environ.get("OVERSEER_SEED", "power"))
    acknowledged, torn = 0, 0
    for cut in range(CUTS):
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.test_store_power_cut", binary],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        assert writer.stdout is not None
        ready, _, _ = select.select([writer.stdout], [], [], PATIENCE)
        assert ready, "no upgrade was made"
        select.select([], [], [], dice.random() * 0.5)
        disk.cut()
        said = writer.communicate(timeout=PATIENCE)[0].split()
        acknowledged = max(acknowledged, int(said[-1]))
        disk.unmount()
        disk.mount()
        public = known[digest_of_path(binary)]
        assert os.stat(binary).st_mode & 0o777 == 0o755
        assert public >= acknowledged, f"cut {cut}: the public file is release {public} < {acknowledged}"
        with Store.open(binary, {}, tell=Told()) as store:
            boot = store.boot(version="0.0")
            found = digest_of_path(boot.start.path)
            assert found == boot.start.release
            assert os.access(boot.start.path, os.X_OK)
            assert known[boot.current.release] >= acknowledged, f"cut {cut}: {store.ledger}"
            torn += known[boot.current.release] > acknowledged or boot.on_trial
    print(f"{CUTS} power cuts, {acknowledged} upgrades acknowledged, {torn} cuts inside of an upgrade")


if __name__ == "__main__":
    upgrade_for_ever(sys.argv[1])
