"""The power is cut under a whole service that upgrades itself: it comes up again, on a whole release."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from overseer.store.durable import digest_of_path
from tests.process.faults import build_of
from tests.process.service import Service, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.long.volume import Volume

pytestmark = [pytest.mark.long, pytest.mark.very_long]

CUTS = 8
"""Of each file system."""


class Again(Service):
    """A service that is started as it stands on the disk."""

    def write(self, source: str, **changed: Any) -> None:
        """Write nothing: the file is there."""


class Source:
    """Where the service looks for releases: a file beyond the volume, whose power stays on."""

    def __init__(self, folder: Path) -> None:
        """Begin with build 1."""
        self.path = folder / "next.py"
        self.builds: dict[str, str] = {}
        self.numbers = itertools.count(1)

    def next(self) -> bytes:
        """Make the next build."""
        number = str(next(self.numbers))
        content = build_of(number).replace(b'"next.py"', repr(str(self.path)).encode())
        self.builds[hashlib.sha256(content).hexdigest()] = number
        return content

    def offer(self) -> str:
        """Offer the next build; return its digest."""
        content = self.next()
        fresh = self.path.with_suffix(".tmp")
        fresh.write_bytes(content)
        fresh.replace(self.path)
        return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("volume", [("xfs", ()), ("ext4", ("noauto_da_alloc",))], indirect=True,
                         ids=["xfs", "ext4-noauto_da_alloc"])  # fmt: skip
def test_a_service_comes_up_after_a_power_cut(volume: Volume, tmp_path: Path) -> None:
    """At any moment of upgrade upon upgrade; what was published before the cut is not lost."""
    chance, source = random.Random(volume.kind), Source(tmp_path)
    (volume.path / "app.py").write_bytes(source.next())
    volume.sync()
    upgrades, served = 0, "1"
    for _ in range(CUTS):
        app = Again(volume.path)
        try:
            app.serves()
            answer = urllib.request.urlopen(f"http://127.0.0.1:{app.port}/", timeout=20)
            with answer:
                assert answer.headers["X-Generation"] in source.builds.values()
                assert int(answer.headers["X-Generation"]) >= int(served)
            for _ in range(chance.randrange(3)):
                digest = source.offer()
                _wait_published(app, digest)
                upgrades, served = upgrades + 1, source.builds[digest]
            source.offer()  # the cut finds it on its way
            with contextlib.suppress(Exception):
                app.process.wait(chance.uniform(0, 1.5))
            volume.cut()
        finally:
            _end(app)
        volume.power_up()
        public = source.builds[digest_of_path(str(app.app))]
        assert int(public) >= int(served), "what was published before the cut is the public file"
    print(f"{volume.kind} {','.join(volume.options)}: {CUTS} cuts under a service, {upgrades} upgrades")


def _wait_published(app: Service, digest: str) -> None:
    """Wait until it is written down that a release is the public file."""
    path = app.folder / ".app.py.overseer" / "state.json"

    def published() -> bool:
        state = json.loads(path.read_text())
        return bool(not state["publishing"] and state["published"]["release"] == digest)

    until(published, f"{digest[:12]} is published")


def _end(app: Service) -> None:
    """Kill everything at once, as a power cut does."""
    for pid in (app.pid, *app.tree()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    app.process.wait()
