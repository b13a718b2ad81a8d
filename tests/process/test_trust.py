"""Signed releases, live: a service that takes what is signed, and has nothing to do with what is not."""

from __future__ import annotations

import hashlib
import os
import shutil
import textwrap
from typing import TYPE_CHECKING

import pytest

from overseer.publish.candidate import examine
from overseer.publish.publisher import publish
from tests.contract.publishing import new_home, opened_keys, repository, terms
from tests.process.releases import PROGRAM
from tests.process.service import Service, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIGNED = PROGRAM.replace(
    'fetcher=fetcher.File("next.py"), trust=overseer.Unsigned()',
    'fetcher=fetcher.File("served", interval=0.1), trust=overseer.TUF(root="root.json")',
)


class Trusting(Service):
    """A service; the publisher of its releases in the same folder; and, between them, whoever serves them."""

    def __init__(self, folder: Path) -> None:
        self.publisher = new_home(str(folder))
        self.keys = opened_keys(self.publisher)
        repository(self.publisher, signers=self.keys).begin()
        shutil.copytree(folder / "public", folder / "served")
        super().__init__(folder, SIGNED.replace("BUILD_NUMBER", "1"), probation=0.2)

    def publish(self, build: str, here: str = "pass", *, instead: bytes = b"", notes: str = "") -> str:
        """Publish and serve a build; return its digest. `instead` is what the server has in its place."""
        text = textwrap.dedent(SIGNED).replace("BUILD_NUMBER", build).replace("# HERE", here)
        path = self.folder / f"{build}.py"
        path.write_text(text.replace("**OPTIONS", f"**{self.options!r}"))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        wanted = terms(build, notes=notes)
        publish(repository(self.publisher, signers=self.keys), examine(str(path), run=False), wanted)
        public, served = self.folder / "public", self.folder / "served"
        for file in sorted(public.iterdir(), key=lambda file: file.name == "timestamp.json"):
            fresh = served / f"{file.name}.tmp"
            content = file.read_bytes()
            if instead and f".app-{build}-" in file.name:
                content = instead.ljust(len(content), b"#")[: len(content)]
            fresh.write_bytes(content)
            fresh.replace(served / file.name)
        return digest

    @property
    def current(self) -> str:
        """The release that is current."""
        return str(self.status()["current"])


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Trusting]:
    """Serve build 1, which nobody has signed: it was installed."""
    with Trusting(tmp_path) as service:
        yield service.serves()


def test_a_signed_release_is_taken(app: Trusting) -> None:
    """Of a service that serves on, with what its publisher says of it; and the next one as a patch."""
    digest = app.publish("2", notes="it is\n\x1b[2Jfaster")
    until(lambda: app.current == digest, "build 2 is current")
    app.logged(r"release \w+ comes with a note: it is  \[2Jfaster")
    digest = app.publish("3")
    until(lambda: app.current == digest, "build 3 is current")
    app.logged(r"app-3-any\.py\.from-\w+\.zst of \d+ bytes made a release")


def test_no_byte_of_what_is_not_signed_is_executed(app: Trusting) -> None:
    """It has not the digest that is signed, and is thrown away; what is signed is taken when it is there."""
    evil = b"open('executed', 'w')\n"
    signed = app.publish("2", instead=evil)
    app.logged("updater: .*the release has the digest")
    assert not (app.folder / "executed").exists()
    store = app.folder / ".app.py.overseer"
    kept = [path for path in store.rglob("*") if path.is_file() and evil in path.read_bytes()]
    assert [path for path in kept if os.access(path, os.X_OK)] == []
    assert app.knock()[0] == 1
    (good,) = (app.folder / "public").glob("*.app-2-any.py")
    shutil.copyfile(good, app.folder / "served" / good.name)
    until(lambda: app.current == signed, "what is signed is current")


def test_what_makes_no_sense_is_an_alarm_and_no_stop(app: Trusting) -> None:
    """The status says why there are no updates, until there may be some again; the service serves on."""
    stamp = app.folder / "served" / "timestamp.json"
    before = stamp.read_bytes()
    stamp.write_bytes(b"{}")
    until(lambda: "refused" in app.status()["trouble"], "the status tells")
    assert app.knock()[0] == 1
    stamp.write_bytes(before)
    until(lambda: app.status()["trouble"] == "", "all is well")
