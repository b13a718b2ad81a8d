"""A service under load that takes signed releases, its publisher, and a hostile server between them.

Whatever an attacker would like to have executed leaves a mark when it is, and has a word in it by which it is
found on disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from bench.load import Fresh, Kept, Late, LoadProcess, Plan

from overseer.publish.candidate import examine
from overseer.publish.publisher import publish
from tests.contract.hostile import Asked, Hostile, Wire, reply
from tests.contract.publishing import new_home, opened_keys, repository, terms
from tests.contract.site import Site
from tests.process.faults import build_of
from tests.process.service import Service, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVIL = b"NOT-YOURS"
"""Is in every byte string that must not be executed."""

PATIENCE = 60.0
"""Seconds until a refusal that does not come is a failure; nothing is measured against it."""

_SOURCE = 'fetcher=fetcher.File("next.py", interval=0.05), trust=overseer.Unsigned()'
_SIGNED = (
    'fetcher=fetcher.HTTP("URL", interval=0.2, read_timeout=1, min_rate=1000), '
    'trust=overseer.TUF(root="root.json", name="app")'
)


class Stage:
    """A service under load, its publisher, and the server between them, which does what an attack wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown = folder / "shown"
        self.worse: Callable[[str, Wire], bool] = lambda _name, _wire: False
        self.asked: list[str] = []
        self.signed = ""  # the digest of the release that runs
        self.number = 1
        self._open = ExitStack()

    def __enter__(self) -> Self:
        try:
            return self._begin()
        except BaseException:
            self._open.close()
            raise

    def _begin(self) -> Self:
        home = replace(new_home(str(self.folder / "publisher")), patches=0)
        home.save()
        repository(home, signers=opened_keys(home)).begin()
        self.site = Site(self.folder / "publisher")
        self.site.part_root()
        (self.folder / "root.json").write_bytes(self.site.root)
        self.server = self._open.enter_context(Hostile(self._answer))
        self.honest()
        self.app = self._open.enter_context(Service(self.folder, self.build("1").decode()))
        self.app.serves()
        kinds = (Fresh(rate=100), Late(rate=20, wait=0.05), Kept(rate=30, connections=10))
        plan = Plan(kinds=kinds, seconds=None, timeout=30)
        self.load = self._open.enter_context(LoadProcess(f"http://127.0.0.1:{self.app.port}", plan))
        self.load.wait_started()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # -- the server ----------------------------------------------------------------------------------------

    def _answer(self, asked: Asked, wire: Wire) -> None:
        name = unquote(asked.target.rpartition("/")[2])
        self.asked.append(name)
        if self.worse(name, wire):
            return
        try:
            content = (self.shown / name).read_bytes()
        except OSError:
            wire.say(reply(b"not here", "404 Not Found"))
            return
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        same = asked.headers.get("if-none-match") == etag
        wire.say(reply(b"", "304 Not Modified", etag=etag) if same else reply(content, etag=etag))

    def honest(self) -> None:
        """Serve what the publisher has published."""
        self.worse = lambda _name, _wire: False
        self.show(self.site.public)

    def show(self, folder: Path) -> None:
        """Serve a folder, all of it at one moment."""
        fresh = Path(tempfile.mkdtemp(dir=self.folder)) / "shown"
        shutil.copytree(folder, fresh, ignore=shutil.ignore_patterns(".*"))
        self.shown = fresh

    # -- the publisher -------------------------------------------------------------------------------------

    def build(self, number: str, *, evil: bool = False) -> bytes:
        """Make a build of the service; an evil one leaves a mark wherever it is executed."""
        top = f"open({str(self.folder / 'executed')!r}, 'a').write('executed') # {EVIL.decode()}"
        text = build_of(number, top=top if evil else "").decode()
        return text.replace(_SOURCE, _SIGNED.replace("URL", f"{self.server.url}/releases/")).encode()

    def publish(self, content: bytes, version: str, **more: Any) -> str:
        """Publish a release; nobody sees it yet. Returns its digest."""
        path = self.folder / f"{version}.py"
        path.write_bytes(content)
        wanted = replace(terms(version), **more)
        publish(self.site.repository(), examine(str(path), run=False), wanted)
        return hashlib.sha256(content).hexdigest()

    def next(self) -> str:
        """Publish the next build, which the service wants as soon as it is shown; return its digest."""
        self.number += 1
        return self.publish(self.build(str(self.number)), str(self.number))

    # -- the service ---------------------------------------------------------------------------------------

    def look(self) -> dict[str, Any]:
        """Have the updater look now, and return what came of it."""
        return self.app.ask("fetch", PATIENCE)

    def refused(self, words: str) -> str:
        """Wait until the status says these words, also after another look, and the log; return them."""

        def told() -> str:
            trouble = str(self.app.status()["trouble"])
            return trouble if re.search(words, trouble) else ""

        self._until(told, words)
        self.look()
        self.app.logged(words)
        return str(self._until(told, words))

    def held(self, digest: str, words: str) -> str:
        """Wait until the store says that a release is held, and why; return the reason."""

        def told() -> str:
            reason = str(self.ledger["held"].get(digest, ""))
            return reason if re.search(words, reason) else ""

        return str(self._until(told, words))

    @property
    def ledger(self) -> dict[str, Any]:
        """What the store says of itself."""
        found: dict[str, Any] = json.loads((self.folder / ".app.py.overseer" / "state.json").read_text())
        return found

    def well(self) -> None:
        """Serve what is right, and wait until the service has nothing to complain of."""
        self.honest()
        self.looks()

    def looks(self) -> str:
        """Wait until a look has gone well, and return what came of it; a slow machine may want several."""

        def fine() -> str:
            told = self.look()
            well = told["outcome"] == "done" and not self.app.status()["trouble"]
            return str(told["detail"]) if well else ""

        return str(self._until(fine, "a look that goes well"))

    def takes(self, digest: str) -> None:
        """Wait until a release is current and nothing is in trouble: the way is open again."""
        self._until(lambda: self.app.status()["current"] == digest, f"{digest[:12]} is current")
        self.signed = digest

    def _until(self, fact: Callable[[], Any], what: str) -> Any:
        try:
            return until(fact, what, PATIENCE)
        except AssertionError as error:
            trouble = self.app.status()["trouble"]
            raise AssertionError(f"{error}; but: {trouble}\n--- log\n{self.app.log}") from None

    def withstands(self, words: str, *, then: str = "") -> str:
        """See these words said, and all well once the server is honest: the release `then` is taken."""
        said = self.refused(words)
        self.well()
        if then:
            self.takes(then)
        return said

    def executed(self) -> bool:
        """Whether something evil was executed, or lies there so that it could be."""
        return (self.folder / "executed").exists() or any(
            os.access(path, os.X_OK) and EVIL in content for path, content in self._stored()
        )

    def _stored(self) -> Iterator[tuple[str, bytes]]:
        """Yield every file in the store, which may clear away old ones meanwhile."""
        for folder, _, names in os.walk(self.folder / ".app.py.overseer"):
            for name in names:
                with suppress(FileNotFoundError):
                    path = os.path.join(folder, name)
                    yield path, Path(path).read_bytes()

    # -- thieves -------------------------------------------------------------------------------------------

    @contextmanager
    def theft(self) -> Iterator[Any]:
        """Have every key but the root's stolen, and the server with them; in the end they are replaced."""
        thief = self.site.thief()
        shutil.rmtree(thief.folder)
        thief.take()
        yield thief
        self.site.rotate("offline")
        self.site.rotate("online")
