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
from tests.contract.publishing import opened_keys, repository
from tests.contract.publishing import rotate as rotate_online
from tests.contract.site import HERE, Site
from tests.contract.stand_in import installed, opened
from tuf.api.metadata import Metadata, Targets, Timestamp

from overseer.errors import ConfigError, FetchError
from overseer.fetcher import HTTP, S3, Func, GitHub, Partial
from overseer.store import durable
from overseer.trust import client
from overseer.trust.choose import Here
from overseer.trust.files import Folder, files_of
from overseer.trust.source import SignedReleases
from overseer.trust.tuf import TUF
from overseer.trust.web import Web
from overseer.updater.stage import Refused, Staged, stage
from overseer.updater.stage import Terms as Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from overseer.fetcher import Offer


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


def test_a_release_is_held_to_the_version_that_was_signed(site: Site) -> None:
    """What was published without its check may be another one; the bytes themselves are not to blame."""
    site.publish("9.0", told="2.1")
    with opened(installed(site.folder)) as store:
        offer = site.look()
        assert offer
        outcome = stage(offer, store=store, terms=Wanted())
        assert isinstance(outcome, Refused)
        assert "it says that it is version 2.1 and was signed as 9.0" in outcome.reason
        assert (store.ledger.held, store.ledger.trial) == ({}, None)
        assert len(os.listdir(store.layout.versions)) == 1
        assert site.look(seen=store.ledger.seen) is None
        site.revoke("9.0")
        good = site.look(seen=store.ledger.seen)
        assert good
        assert isinstance(stage(good, store=store, terms=Wanted()), Staged)


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


def version_of(offer: Offer | None) -> str | None:
    """Return the version that is offered."""
    assert offer
    return offer.version


def test_a_thief_of_the_online_key_can_hide_a_release_until_the_key_is_replaced(site: Site) -> None:
    """He signs the old state anew as often as he likes; what he hides comes to light with the new key."""
    thief = site.thief()
    for _ in range(2):
        thief.hide(2)
        assert version_of(site.look()) == "1.0"
    site.rotate("online")
    thief.take()
    assert version_of(site.look()) == "2.0"
    thief.hide(2)
    refused(site, "not signed by those we trust")


def test_a_thief_of_the_key_of_releases_is_nobody_once_it_is_replaced(site: Site) -> None:
    """Until then he is the publisher, here with the online key and the server as well; then nothing counts.

    Whoever has taken his release takes a higher one of the publisher.
    """
    site.part_root()
    thief = site.thief()
    thief.release("6.6")
    assert version_of(site.look()) == "6.6"
    site.rotate("offline")
    thief.take()
    thief.release("7.7")
    refused(site, "not signed by those we trust")
    shutil.rmtree(site.trusted)
    refused(site, "not signed by those we trust")  # nor by one who was not there before
    site.rotate("online")
    site.publish("8.0")
    site.shown = site.public
    assert version_of(site.look()) == "8.0"


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
    with pytest.raises(ConfigError, match="ends in /"):
        files_of(S3(bucket="releases", key="app.pyz"))
    with pytest.raises(ConfigError, match="version_id"):
        files_of(S3(bucket="releases", key="app/", version_id="7"))
    with pytest.raises(ConfigError, match="leave asset out"):
        files_of(GitHub("ann", "app", asset="app"))
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
