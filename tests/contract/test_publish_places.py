"""Places to publish to, all by the same stories: a folder, rsync, S3.

The S3 server is moto's, started here, or the one that OVERSEER_TEST_S3 names (http://access:secret@host:port).
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from tests.contract.publishing import (
    Client,
    candidate,
    new_home,
    opened_keys,
    repository,
    secret,
    terms,
)
from tests.contract.test_fetcher_s3 import server  # noqa: F401 - a fixture

from overseer.errors import PublishError
from overseer.publish.audit import audit
from overseer.publish.home import Home
from overseer.publish.places import ConflictError, Folder, Place, place_of
from overseer.publish.publisher import publish, revoke
from overseer.publish.releases import released, whole
from overseer.publish.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from securesystemslib.signer import Signer


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Mapping[str, Signer]]:
    """Have a publisher's folder and its keys, opened once: bcrypt is slow by design."""
    folder = str(tmp_path_factory.mktemp("kept") / "home")
    home = new_home(folder)
    return folder, opened_keys(home)


@pytest.fixture(params=["folder", "rsync", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a place that is empty."""
    match request.param:
        case "folder":
            return "public"
        case "rsync":
            if not shutil.which("rsync"):
                pytest.skip("LOUD SKIP: there is no rsync here")
            (tmp_path / "there").mkdir()
            return f"rsync:{tmp_path / 'there'}"
        case _:
            url = urlsplit(request.getfixturevalue("server"))
            for name, value in (
                ("AWS_ENDPOINT_URL", f"{url.scheme}://{url.hostname}:{url.port}"),
                ("AWS_ACCESS_KEY_ID", url.username or ""),
                ("AWS_SECRET_ACCESS_KEY", url.password or ""),
                ("AWS_DEFAULT_REGION", "us-east-1"),
            ):
                monkeypatch.setenv(name, value)
            bucket = f"b{uuid.uuid4()}"
            boto3.client("s3", config=Config(s3={"addressing_style": "path"})).create_bucket(Bucket=bucket)
            return f"s3://{bucket}/apps/one"


@pytest.fixture
def publisher(
    where: str, kept: tuple[str, Mapping[str, Signer]], tmp_path: Path
) -> Callable[[str], Repository]:
    """Make publishers of the same repository, each on a machine of its own."""

    def make(name: str) -> Repository:
        folder = str(tmp_path / name)
        shutil.copytree(kept[0], folder)
        shared = str(tmp_path / "shared") if where == "public" else where
        keys = {
            keyid: f"file:keys/{key}.key" for keyid, key in zip(kept[1], ("offline", "online"), strict=True)
        }
        return repository(Home(folder=folder, name="app", place=shared, keys=keys), signers=kept[1])

    return make


def versions(work: Repository) -> list[str]:
    """Return the versions that are published, the newest first."""
    return [each.terms.version for each in whole(released(work.look().targets))]


def client_of(work: Repository, tmp_path: Path) -> Client:
    """Make a client of a repository."""
    root = work.home.root
    assert root
    return Client(str(tmp_path / "client"), work.place, root)


def test_a_release_is_published_and_seen(publisher: Callable[[str], Repository], tmp_path: Path) -> None:
    """Begun once, published once: doing it again does nothing, and a client finds it whole."""
    work = publisher("one")
    assert work.begin()
    assert not work.begin()
    made = candidate(tmp_path, "1.0")
    assert publish(work, made, terms("1.0")).done
    stamp = work.place.read("timestamp.json")
    assert not publish(work, made, terms("1.0")).done
    assert work.place.read("timestamp.json") == stamp
    assert client_of(work, tmp_path).refresh() == {"1.0"}
    assert work.home.root
    assert not audit(work.place, work.home.root, within=1, deep=True).problems
    assert {name.partition(".")[2] for name in work.place.names()} >= {"app-1.0-any.py", "root.json"}


def test_another_machine_goes_on(publisher: Callable[[str], Repository], tmp_path: Path) -> None:
    """What a publisher needs to know is in the place; its folder is only keys and a name."""
    one, other = publisher("one"), publisher("other")
    one.begin()
    publish(one, candidate(tmp_path, "1.0"), terms("1.0"))
    publish(other, candidate(tmp_path, "1.1"), terms("1.1"))
    publish(one, candidate(tmp_path, "1.2"), terms("1.2"))
    assert versions(other) == versions(one) == ["1.2", "1.1", "1.0"]
    revoke(other, "1.2")
    assert versions(one) == ["1.1", "1.0"]
    assert client_of(one, tmp_path).refresh() == {"1.0", "1.1"}


@pytest.mark.parametrize("where", ["folder", "s3"], indirect=True)  # rsync can neither lock nor compare
def test_two_publishers_at_once_both_arrive(publisher: Callable[[str], Repository], tmp_path: Path) -> None:
    """Each waits for the other, or begins again with what the other published; nothing is lost."""
    one, other = publisher("one"), publisher("other")
    one.begin()
    made = {name: candidate(tmp_path, "1.0", more=name.encode(), name=f"{name}.py") for name in ("a", "b")}
    start, trouble = threading.Barrier(2), list[BaseException]()

    def work(who: Repository, platform: str) -> None:
        try:
            start.wait()
            publish(who, made[platform], terms("1.0", platform=platform))
        except Exception as error:  # noqa: BLE001 - told by the test
            trouble.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in ((one, "a"), (other, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not trouble
    assert {each.terms.platform for each in released(one.look().targets)} == {"a", "b"}
    assert client_of(one, tmp_path).refresh() == {"1.0"}


def test_whoever_read_before_another_published_does_not_write(
    publisher: Callable[[str], Repository], tmp_path: Path
) -> None:
    """The timestamp is written only over the one that was read."""
    one, other = publisher("one"), publisher("other")
    one.begin()
    with one.place.lock():
        was = one.place.read("timestamp.json")
    publish(other, candidate(tmp_path, "1.0"), terms("1.0"))
    with one.place.lock(), pytest.raises(ConflictError, match="another"):
        one.place.replace(b"{}", was)
    with one.place.lock(), pytest.raises(ConflictError):
        one.place.create("2.targets.json", b"{}")
    assert client_of(other, tmp_path).refresh() == {"1.0"}


def test_what_was_put_back_is_not_published_to(
    publisher: Callable[[str], Repository], tmp_path: Path
) -> None:
    """A place restored from an old copy has versions that clients have gone beyond."""
    work = publisher("one")
    work.begin()
    old = work.place.read("timestamp.json")
    publish(work, candidate(tmp_path, "1.0"), terms("1.0"))
    with work.place.lock():
        assert old
        work.place.replace(old, work.place.read("timestamp.json"))
    with pytest.raises(PublishError, match="went backwards"):
        publish(work, candidate(tmp_path, "1.1"), terms("1.1"))


def test_a_timestamp_that_has_expired_is_told_and_renewed(
    publisher: Callable[[str], Repository], tmp_path: Path
) -> None:
    """With the online key alone: a machine that only renews needs no other."""
    work = publisher("one")
    late = Repository(
        work.home, secret, place=work.place, clock=lambda: datetime.now(UTC) - timedelta(days=40)
    )
    late.ring._signers.update(work.ring._signers)
    late.begin()
    assert work.home.root
    found = audit(work.place, work.home.root, within=7)
    assert [problem for problem in found.problems if "a client cannot take it" in problem]
    assert [problem for problem in found.problems if problem.startswith("timestamp expired")]
    offline = work.look().root.roles["targets"].keyids[0]
    del work.ring._signers[offline], work.ring._uris[offline]
    view = work.renew()
    assert view.snapshot.version == 2
    assert not audit(work.place, work.home.root, within=7).problems
    with pytest.raises(PublishError, match="targets wants 1 signatures and there are keys here for 0"):
        publish(work, candidate(tmp_path, "1.0"), terms("1.0"))


def test_a_file_that_is_missing_or_changed_is_a_problem(
    publisher: Callable[[str], Repository], tmp_path: Path
) -> None:
    """It is what `verify` is for."""
    work = publisher("one")
    work.begin()
    release = publish(work, candidate(tmp_path, "1.0"), terms("1.0")).release
    work.place.remove(release.file)
    assert work.home.root
    problems = audit(work.place, work.home.root, within=1).problems
    assert problems == [f"{release.file} has 0 bytes and {release.length} are signed"]


def test_a_folder_that_cannot_be_written_is_told() -> None:
    """In one sentence that names it."""
    place: Place = Folder("/proc/nothing/here")
    with pytest.raises(PublishError, match="/proc/nothing/here cannot be written"), place.lock():
        pass


def test_a_place_is_told_by_its_name(tmp_path: Path) -> None:
    """Relative folders are in the publisher's."""
    assert str(place_of("public", str(tmp_path))) == str(tmp_path / "public")
    assert str(place_of("rsync:web:/srv/app", os.fspath(tmp_path))) == "rsync:web:/srv/app/"


class Cut(BaseException):
    """The publisher is gone; like a kill, nothing catches it."""


class Cutting:
    """A place whose publisher is gone at one of the steps, before it or just after it."""

    def __init__(self, place: Place, at: int, *, after: bool) -> None:
        self.place = place
        self.left = at
        self.after = after

    def __getattr__(self, name: str) -> Any:
        """Return the place's own, which may be cut."""
        real = getattr(self.place, name)
        if name not in ("create", "upload", "replace"):
            return real

        def step(*arguments: Any) -> Any:
            self.left -= 1
            if not self.left and not self.after:
                raise Cut
            done = real(*arguments)
            if not self.left:
                raise Cut
            return done

        return step


@pytest.mark.parametrize(
    "where",
    ["folder", pytest.param("s3", marks=pytest.mark.long), pytest.param("rsync", marks=pytest.mark.long)],
    indirect=True,
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_publisher_that_is_gone_at_any_step_is_not_noticed(
    publisher: Callable[[str], Repository], tmp_path: Path, when: str
) -> None:
    """In a bucket and behind rsync as in a folder: the old state or the new, and the same again arrives."""
    work = publisher("one")
    work.begin()
    place, client, there = work.place, client_of(work, tmp_path), set[str]()
    for at in range(1, 20):
        version = f"1.{at}"
        made = candidate(tmp_path, version)
        work.place = cast("Place", Cutting(place, at, after=when == "after"))
        try:
            publish(work, made, terms(version))
        except Cut:
            work.place = place
        else:
            break
        assert client.refresh() in (there, there | {version})
        publish(work, made, terms(version))
        there.add(version)
        assert client.refresh() == there
    assert at >= 5  # the release, targets, snapshot, timestamp; and patches


@pytest.mark.long
def test_steps_are_cut_where_they_are_said_to_be(tmp_path: Path) -> None:
    """What cuts is tested as well: a test that could not fail would be none."""
    (tmp_path / "p").mkdir()
    place = Folder(str(tmp_path / "p"))
    with pytest.raises(Cut):
        Cutting(place, 1, after=False).create("1.root.json", b"{}")
    assert place.names() == []
    with pytest.raises(Cut):
        Cutting(place, 1, after=True).create("1.root.json", b"{}")
    assert place.names() == ["1.root.json"]
