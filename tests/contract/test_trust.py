"""A client of signed releases and a repository that does not mean well: nothing is taken, and it is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from tests.contract.hostile import Asked, Hostile, Wire, reply
from tests.contract.publishing import (
    candidate,
    make_template,
    opened_keys,
    repository,
    terms,
)
from tests.contract.publishing import rotate as rotate_online
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from overseer.errors import ConfigError, FetchError
from overseer.fetcher import HTTP, File, Func, Partial
from overseer.publish.home import load
from overseer.publish.publisher import publish
from overseer.store import durable
from overseer.trust import client
from overseer.trust.choose import Here
from overseer.trust.files import Folder, Web, files_of
from overseer.trust.source import SignedReleases
from overseer.trust.tuf import TUF

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from securesystemslib.signer import Signer

    from overseer.fetcher import Offer

HERE = Here(platform="linux-x86_64-gnu", version="1.0", highest="1.0", digest="0" * 64)


class Site:
    """A publisher, what he serves, and a client of it with a memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = load(str(folder))
        self.public = folder / "public"
        self.signers: Mapping[str, Signer] = opened_keys(self.home)
        self.root = (folder / "root.json").read_bytes()
        self.here = HERE
        self.trusted = str(folder / "trusted")

    def source(self, **more: Any) -> SignedReleases:
        """Return a client, as a new process has it."""
        return SignedReleases(
            TUF(self.root, **more), File(self.public, interval=1), self.trusted, lambda: self.here
        )

    def look(self, **more: Any) -> Offer | None:
        """Look once, as a new process does."""
        return self.source(**more).latest(None)

    def publish(self, version: str, **more: Any) -> None:
        """Publish another release."""
        work = repository(self.home, signers=self.signers)
        publish(
            work,
            candidate(self.folder, version, more=b"#" + os.urandom(2000).hex().encode()),
            terms(version, **more),
        )

    def read(self, kind: type, name: str) -> tuple[Path, Metadata[Any]]:
        """Return the newest metadata of a role, and where it is."""
        found = [p for p in self.public.iterdir() if p.name.endswith(f"{name}.json")]
        path = max(found, key=lambda p: int("0" + p.name.partition(".")[0].replace(name, "")))
        metadata: Metadata[Any] = Metadata.from_file(str(path))
        assert isinstance(metadata.signed, kind)
        return path, metadata

    def sign(self, role: str, metadata: Metadata[Any], path: Path) -> None:
        """Sign as somebody does who has this role's keys."""
        metadata.signatures.clear()
        for keyid in Metadata.from_bytes(self.root).signed.roles[role].keyids:
            metadata.sign(self.signers[keyid], append=True)
        metadata.to_file(str(path))

    def forge(self, targets: bytes) -> None:
        """Have a thief of the online key serve other targets: he signs what leads to them."""
        _, snapshot = self.read(Snapshot, "snapshot")
        number = snapshot.signed.meta["targets.json"].version + 1
        (self.public / f"{number}.targets.json").write_bytes(targets)
        snapshot.signed.meta["targets.json"].version = number
        snapshot.signed.meta["targets.json"].length = None
        snapshot.signed.meta["targets.json"].hashes = None
        snapshot.signed.version += 1
        self.sign("snapshot", snapshot, self.public / f"{snapshot.signed.version}.snapshot.json")
        path, stamp = self.read(Timestamp, "timestamp")
        stamp.signed.version += 1
        stamp.signed.snapshot_meta.version = snapshot.signed.version
        stamp.signed.snapshot_meta.length = None
        stamp.signed.snapshot_meta.hashes = None
        self.sign("timestamp", stamp, path)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Publish version 1.0, once for all tests."""
    return make_template(str(tmp_path_factory.mktemp("site")))


@pytest.fixture
def site(template: str, tmp_path: Path) -> Site:
    """Have a site of one's own, with version 2.0 in it."""
    shutil.copytree(os.path.join(template, "one"), tmp_path / "site")
    made = Site(tmp_path / "site")
    made.publish("2.0", notes="it is better")
    return made


def bytes_of(offer: Offer | None) -> bytes:
    """Download."""
    assert offer
    return b"".join(offer.open(None).chunks)


def test_the_highest_release_is_offered_as_it_is_signed(site: Site) -> None:
    """With its version, size, digest and a patch from the one before; once seen, there is nothing new."""
    source = site.source()
    offer = source.latest(None)
    assert offer
    assert (offer.version, offer.name, offer.size) == ("2.0", "app-2.0-any.py", len(bytes_of(offer)))
    assert offer.digest == durable.digest_of_path(str(site.folder / "2.0-app.py"))
    assert [patch.base for patch in offer.patches] == [durable.digest_of_path(_first(site))]
    assert source.latest(offer.seen) is None


def _first(site: Site) -> str:
    (found,) = (p for p in site.public.iterdir() if p.name.endswith(".app-1.0-any.py"))
    return str(found)


def test_a_look_at_what_has_not_changed_is_one_question(site: Site) -> None:
    """The machinery is not even loaded for it; and an answer 304 has no body."""
    source = site.source()
    offer = source.latest(None)
    assert offer
    for path in site.public.iterdir():
        if path.name != "timestamp.json":
            path.unlink()
    assert source.latest(offer.seen) is None


def test_what_runs_is_not_offered_again(site: Site) -> None:
    """By its digest, and no version that is lower than one that has run."""
    digest = durable.digest_of_path(str(site.folder / "2.0-app.py"))
    site.here = Here(platform="any", version="2.0", highest="2.0", digest=digest)
    assert site.look() is None
    site.here = Here(platform="any", version="2.5", highest="2.5", digest="1" * 64)
    assert site.look() is None


def test_a_release_may_want_another_before_it(site: Site) -> None:
    """It is enforced by who takes it; until then the highest that may follow is taken."""
    site.publish("3.0", min_from="2.0")
    first = site.look()
    assert first
    assert first.version == "2.0"
    site.here = Here(platform="any", version="2.0", highest="2.0", digest=str(first.digest))
    second = site.look()
    assert second
    assert second.version == "3.0"
    site.here = Here(platform="any")  # what runs has no version: nobody can tell
    found = site.look()
    assert found
    assert found.version == "2.0"


def test_releases_of_other_machines_and_programs_are_not_taken(site: Site) -> None:
    """However high their versions are."""
    site.publish("9.0", platform="plan9-vax")
    offer = site.look(name="app")
    assert offer
    assert offer.version == "2.0"
    assert site.look(name="other") is None


def refused(site: Site, words: str) -> None:
    """See that nothing is offered, and why; and that what was trusted before still is."""
    with pytest.raises(FetchError, match=words):
        site.look()


def test_metadata_that_nobody_signed_is_refused(site: Site) -> None:
    """The one who owns the server has another file in the place of the targets, of the right form."""
    path, targets = site.read(Targets, "targets")
    assert path.name == "3.targets.json"
    targets.signed.version += 1
    site.forge(targets.to_bytes())
    refused(site, "not signed by those we trust")


def test_a_thief_of_the_online_key_cannot_make_a_release(site: Site) -> None:
    """He can sign a snapshot, but no targets: neither with his key nor with another one."""
    _, targets = site.read(Targets, "targets")
    targets.signed.version += 1
    targets.signatures.clear()
    root: Any = Metadata.from_bytes(site.root)
    (online,) = root.signed.roles["timestamp"].keyids
    targets.sign(site.signers[online])
    site.forge(targets.to_bytes())
    refused(site, "not signed by those we trust")


def test_a_state_of_the_past_is_refused(site: Site) -> None:
    """Also by somebody who has lost what he trusted, but for the floor."""
    old = {path.name: path.read_bytes() for path in site.public.iterdir()}
    assert site.look()
    site.publish("3.0")
    assert site.look()
    for name, content in old.items():
        (site.public / name).write_bytes(content)
    refused(site, "older state")
    for path in Path(site.trusted).glob("*.json"):
        if path.name != "floor.json":
            path.unlink()
    refused(site, "older state is refused")


def test_a_version_that_a_thief_drove_up_is_forgotten_with_his_key(site: Site) -> None:
    """Fast-forward: after the online key was replaced, updates go on."""
    path, stamp = site.read(Timestamp, "timestamp")
    before = path.read_bytes()
    stamp.signed.version = 2**31
    site.sign("timestamp", stamp, path)
    assert site.look()
    path.write_bytes(before)
    refused(site, "older state")
    site.signers = opened_keys(site.home)
    rotate_online(repository(site.home, signers=site.signers), str(site.folder))
    assert site.look()


def test_a_frozen_repository_is_noticed(site: Site) -> None:
    """When a signature has run out nothing is taken, and that is said; also when nothing has changed."""
    source = site.source()
    offer = source.latest(None)
    assert offer
    path, stamp = site.read(Timestamp, "timestamp")
    stamp.signed.version += 1
    stamp.signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    site.sign("timestamp", stamp, path)
    for _ in range(2):
        with pytest.raises(FetchError, match="have expired"):
            source.latest(offer.seen)


def test_states_are_not_mixed(site: Site) -> None:
    """The targets of one state with the snapshot of another are refused."""
    old = (site.public / "2.targets.json").read_bytes()
    newest, _ = site.read(Targets, "targets")
    newest.write_bytes(old)
    refused(site, "refused")


def test_a_file_is_taken_by_its_digest_only(site: Site) -> None:
    """An old release that was signed once, under the name of the new one, has the wrong bytes."""
    offer = site.look()
    assert offer
    (target,) = (p for p in site.public.iterdir() if p.name.endswith(".app-2.0-any.py"))
    shutil.copyfile(_first(site), target)
    assert durable.digest_of_path(str(target)) != offer.digest


def test_a_root_is_only_followed_by_one_that_it_has_signed(site: Site) -> None:
    """The chain begins at what is embedded."""
    forged: Any = Metadata.from_bytes(site.root)
    forged.signed.version = 2
    forged.signatures.clear()
    forged.to_file(str(site.public / "2.root.json"))
    refused(site, "not signed by those we trust")


# -- over the web --------------------------------------------------------------------------------------------


class Served:
    """A site behind a server that can do worse: `worse` is asked first, for each file."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.sent = 0
        self.worse: Callable[[str, Wire], bool] = lambda _name, _wire: False

    def answer(self, asked: Asked, wire: Wire) -> None:
        """Serve a file, or 304 where it has not changed, or do worse."""
        name = unquote(asked.target.rpartition("/")[2])
        file = self.site.public / name
        if self.worse(name, wire):
            return
        if not file.is_file():
            wire.say(reply(b"not here", "404 Not Found"))
            return
        content = file.read_bytes()
        etag = f'"{durable.digest_of_path(str(file))[:16]}"'
        same = asked.headers.get("if-none-match") == etag
        answer = reply(b"", "304 Not Modified", etag=etag) if same else reply(content, etag=etag)
        self.sent += len(answer)
        wire.say(answer)


@pytest.fixture
def served(site: Site) -> Served:
    """Have one."""
    return Served(site)


def over_the_web(served: Served, server: Hostile, **options: Any) -> SignedReleases:
    """Return a client of it."""
    source = HTTP(f"{server.url}/releases/", interval=1, min_rate=0, **options)
    return SignedReleases(TUF(served.site.root), source, served.site.trusted, lambda: HERE)


def test_a_poll_is_one_conditional_request(served: Served) -> None:
    """Of a few hundred bytes, in which nothing but a date has to be believed."""
    with Hostile(served.answer) as server:
        source = over_the_web(served, server)
        offer = source.latest(None)
        assert bytes_of(offer) == (served.site.folder / "2.0-app.py").read_bytes()
        assert offer
        server.asked.clear()
        served.sent = 0
        assert source.latest(offer.seen) is None
    assert [(a.target, a.method) for a in server.asked] == [("/releases/timestamp.json", "GET")]
    assert served.sent < 300


def test_an_interrupted_download_goes_on(served: Served) -> None:
    """From where it was, since the digest of the whole is signed; of another release nothing is taken up."""
    with Hostile(served.answer) as server:
        offer = over_the_web(served, server).latest(None)
        assert offer
        server.asked.clear()
        offer.open(Partial(1000, offer.seen)).chunks.close()  # type: ignore[attr-defined]
        offer.open(Partial(1000, {**offer.seen, "sha256": "0" * 64})).chunks.close()  # type: ignore[attr-defined]
    assert [a.headers.get("range") for a in server.asked] == ["bytes=1000-", None]


def test_endless_metadata_is_cut_off(served: Served) -> None:
    """At the length that it may have."""

    def endless(name: str, wire: Wire) -> bool:
        if name == "timestamp.json":
            wire.say("HTTP/1.1 200 OK\r\n\r\n")
            while wire.say(b"{" * 65536):
                pass
        return name == "timestamp.json"

    served.worse = endless
    with Hostile(served.answer) as server, pytest.raises(FetchError, match=r"cannot be had.*exceeding"):
        over_the_web(served, server, require_length=False).latest(None)


def test_slow_metadata_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte at a time is enough for every timeout but the one of the whole."""
    monkeypatch.setattr(client, "DEADLINE", 0.3)

    def drip(name: str, wire: Wire) -> bool:
        if name == "timestamp.json":
            wire.say("HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n")
            wire.drip(b"{ ", 0.01)
        return name == "timestamp.json"

    served.worse = drip
    with Hostile(served.answer) as server, pytest.raises(FetchError, match="takes too long"):
        over_the_web(served, server).latest(None)


def test_a_server_that_is_gone_is_told(served: Served) -> None:
    """As any source that cannot be asked."""
    with Hostile(served.answer) as server:
        pass
    with pytest.raises(FetchError):
        over_the_web(served, server).latest(None)


# -- what can be asked for -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "words"),
    [(b"{}", "no root metadata"), (b"\0", "no root metadata"), ("nowhere.json", "cannot be read")],
)
def test_a_root_that_cannot_be_one_is_told_at_once(root: bytes | str, words: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigError, match=words):
        TUF(root)


def test_a_source_without_files_by_name_is_refused() -> None:
    """It could not have a repository behind it."""
    with pytest.raises(ConfigError, match="files by their names"):
        files_of(Func(lambda: None))
    with pytest.raises(ConfigError, match="ends in /"):
        files_of(HTTP("http://127.0.0.1/app"))
    assert isinstance(files_of(HTTP("http://127.0.0.1/")), Web)


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    """A target is called by whoever signs it; still it is a name and no path."""
    with pytest.raises(FetchError, match="no name of a file"):
        list(Folder(str(tmp_path)).read("../secret"))


def test_cryptography_is_not_needed(site: Site) -> None:
    """Ed25519 in pure Python is enough for a client."""
    code = f"""
import sys
class Never:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Never())
from overseer.trust.client import refresh
from overseer.trust.files import Folder
root = open({str(site.folder / "root.json")!r}, "rb").read()
view = refresh(Folder({str(site.public)!r}), {site.trusted!r}, root)
print(sorted(each.path for each in view.targets if each.terms.patch is None))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "['app-1.0-any.py', 'app-2.0-any.py']\n", done.stderr
