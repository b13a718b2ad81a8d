"""Signed releases in a bucket, and as a release on GitHub: one question a poll, the rest as elsewhere."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from tests.contract.fake_github import FakeGitHub
from tests.contract.hostile import Hostile
from tests.contract.publishing import repository
from tests.contract.site import HERE, Site
from tests.contract.test_fetcher_github import bare_environment  # noqa: F401 - a fixture
from tests.contract.test_fetcher_s3 import server  # noqa: F401 - a fixture

from overseer.errors import FetchError
from overseer.fetcher import S3, GitHub, Partial
from overseer.publish.places import place_of
from overseer.trust.source import SignedReleases
from overseer.trust.tuf import TUF

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.hostile import Asked, Wire

    from overseer.fetcher import Offer


def client(site: Site, fetcher: Any) -> SignedReleases:
    """Return a client, as a new process has it."""
    return SignedReleases(TUF(site.root), fetcher, site.trusted, lambda: HERE)


def taken(offer: Offer | None, version: str, content: bytes) -> Offer:
    """See that an offer is this version, and that its bytes come, whole and from the middle."""
    assert offer
    assert offer.version == version
    assert b"".join(offer.open(None).chunks) == content
    rest = offer.open(Partial(1000, offer.seen))
    assert (rest.start, b"".join(rest.chunks)) == (1000, content[1000:])
    return offer


# -- S3 ------------------------------------------------------------------------------------------------------


class Between:
    """Passes connections on to a store."""

    def __init__(self, url: str) -> None:
        self.port = urlsplit(url).port or 80

    def answer(self, asked: Asked, wire: Wire) -> None:
        """Ask the store the same, and hand its answer on as it comes."""
        with socket.create_connection(("127.0.0.1", self.port)) as far:
            head = {**asked.headers, "connection": "close"}
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            far.sendall(f"{asked.method} {asked.target} HTTP/1.1\r\n{lines}\r\n".encode())
            while data := far.recv(65536):
                wire.say(data)


@pytest.fixture
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Make a bucket that the environment has the key to; return the store's address and the bucket."""
    url = urlsplit(request.getfixturevalue("server"))
    address = f"{url.scheme}://{url.hostname}:{url.port}"
    for name, value in (
        ("AWS_ENDPOINT_URL", address),
        ("AWS_ACCESS_KEY_ID", url.username or ""),
        ("AWS_SECRET_ACCESS_KEY", url.password or ""),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    made = f"b{uuid.uuid4()}"
    boto3.client("s3", config=Config(s3={"addressing_style": "path"})).create_bucket(Bucket=made)
    return address, made


@pytest.mark.parametrize("prefix", ["apps/one/", "/"])
def test_a_bucket_is_a_source_of_signed_releases(site: Site, bucket: tuple[str, str], prefix: str) -> None:
    """As it is published; a poll is one conditional request, and a download goes on where it was."""
    address, name = bucket
    place = place_of(f"s3://{name}/{prefix.strip('/')}", str(site.folder))
    root = (site.public / "1.root.json").read_bytes()
    place.create("1.root.json", root)
    for path in sorted(site.public.iterdir(), key=lambda path: path.name == "timestamp.json"):
        if path.suffix != ".json":
            place.upload(path.name, str(path), lambda _: None)
        elif path.name == "timestamp.json":
            place.replace(path.read_bytes(), None)
        elif path.name != "1.root.json":
            place.create(path.name, path.read_bytes())
    with Hostile(Between(address).answer) as between:
        source = client(site, S3(bucket=name, key=prefix, endpoint_url=between.url, interval=1))
        offer = taken(source.latest(None), "2.0", (site.folder / "2.0-app.py").read_bytes())
        between.asked.clear()
        assert source.latest(offer.seen) is None
        (poll,) = between.asked
        assert (poll.method, "if-none-match" in poll.headers) == ("GET", True)
        assert urlsplit(poll.target).path.endswith("/timestamp.json")
        repository(site.home, place=place, signers=site.signers).renew()
        assert source.latest(offer.seen) is None
        assert len(between.asked) > 2  # that was looked into


def test_a_bucket_without_a_repository_is_told(site: Site, bucket: tuple[str, str]) -> None:
    """By the name that is missing."""
    address, name = bucket
    source = client(site, S3(bucket=name, key="apps/", endpoint_url=address, interval=1))
    with pytest.raises(FetchError, match=rf"timestamp.json is not in s3://{name}/apps/"):
        source.latest(None)


def test_a_bucket_that_falls_silent_is_given_up_as_soon_as_at_any_look(site: Site) -> None:
    """Not after the patience of a download, which would be five minutes."""
    with Hostile(lambda _, wire: wire.hold()) as silent:
        fetcher = S3("access", "secret", bucket="b", key="/", endpoint_url=silent.url, head_timeout=0.2)
        with pytest.raises(FetchError, match="fell silent"):
            client(site, fetcher).latest(None)


# -- GitHub --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["", "secret"], ids=["public", "private"])
def github(request: pytest.FixtureRequest) -> Iterator[FakeGitHub]:
    """Have a repository on GitHub without a release."""
    with FakeGitHub(token=request.param) as fake:
        yield fake


def upload(fake: FakeGitHub, site: Site, tag: str = "updates") -> None:
    """Upload the folder as it is, into the release of a tag; what was there already stays what it is."""
    files = {path.name: path.read_bytes() for path in site.public.iterdir() if path.name[0] != "."}
    release = fake.tagged(tag)
    if release is None:
        fake.publish(tag, files)
        return
    kept = {one["name"]: one for one in release["assets"]}
    for name, content in files.items():
        if name not in kept or name == "timestamp.json":
            kept[name] = fake.asset(tag, name, content, "2024-06-01T10:00:00Z")
    release["assets"] = list(kept.values())


@pytest.mark.parametrize("tag", ["updates", ""])
def test_a_release_on_github_is_a_source_of_signed_releases(site: Site, github: FakeGitHub, tag: str) -> None:
    """Of a tag, or the latest one; a poll is one conditional request, which costs nothing of the limit."""
    upload(github, site)
    fetcher = GitHub("ann", "app", base_url=github.url, token=github.token, tag=tag, interval=1)
    source = client(site, fetcher)
    offer = taken(source.latest(None), "2.0", (site.folder / "2.0-app.py").read_bytes())
    assert not [a for a in github.asked if "2.root.json" in a.target]  # it is not in the list
    github.asked.clear()
    left = github.limit
    assert source.latest(offer.seen) is None
    (poll,) = github.asked
    assert poll.headers["if-none-match"]
    assert github.limit == left
    site.publish("3.0")
    upload(github, site)
    taken(source.latest(offer.seen), "3.0", (site.folder / "3.0-app.py").read_bytes())


def test_an_answer_that_only_counts_downloads_is_one_question(site: Site, github: FakeGitHub) -> None:
    """The API's answer changes with them; `timestamp.json` does not."""
    upload(github, site)
    source = client(site, GitHub("ann", "app", base_url=github.url, token=github.token, interval=1))
    offer = source.latest(None)
    assert offer
    github.releases[0]["assets"][0]["download_count"] += 1
    github.asked.clear()
    assert source.latest(offer.seen) is None
    assert len(github.asked) == 1


def test_a_timestamp_that_is_just_being_replaced_is_an_alarm_until_it_is_there(
    site: Site, github: FakeGitHub
) -> None:
    """GitHub knows no replacing: an asset is removed, and uploaded anew."""
    upload(github, site)
    source = client(site, GitHub("ann", "app", base_url=github.url, token=github.token, interval=1))
    offer = source.latest(None)
    assert offer
    assets = github.releases[0]["assets"]
    github.releases[0]["assets"] = [one for one in assets if one["name"] != "timestamp.json"]
    with pytest.raises(FetchError, match=r"timestamp.json is not in the release of ann/app"):
        source.latest(offer.seen)
    github.releases[0]["assets"] = assets
    assert source.latest(offer.seen) is None


GH = """#!/bin/sh -e
# A stand-in for GitHub's own tool, as far as the script on the page uses it: assets are files of a folder.
[ "$1 $3" = "release updates" ]
case $2 in
view) ls assets ;;
upload)
    name=$(basename "$4")
    [ "$5" = --clobber ] || [ ! -e "assets/$name" ]
    cp "$4" "assets/$name"
    echo "$name" >> uploaded ;;
esac
"""


def test_the_script_for_github_uploads_what_is_new_and_the_timestamp_last(site: Site) -> None:
    """As it stands on the page; every file once, but for the timestamp."""
    page = (Path(__file__).parents[2] / "docs" / "howto" / "publish.md").read_text()
    (script,) = re.findall(r"<!-- test: file=upload.sh -->\n```sh\n(.*?)```", page, re.DOTALL)
    work = site.folder / "work"
    (work / "assets").mkdir(parents=True)
    (work / "overseer-repo").mkdir()
    (work / "overseer-repo" / "public").symlink_to(site.public)
    (work / "bin").mkdir()
    (work / "bin" / "gh").write_text(GH)
    (work / "bin" / "gh").chmod(0o755)
    environ = {**os.environ, "PATH": f"{work / 'bin'}:{os.environ['PATH']}"}
    uploaded = set[str]()
    for version in ("", "3.0"):
        if version:
            site.publish(version)
        (work / "uploaded").write_text("")
        subprocess.run(["sh", "-ec", script], cwd=work, env=environ, check=True, timeout=60)
        names = (work / "uploaded").read_text().split()
        there = {path.name for path in site.public.iterdir() if path.name[0] != "."}
        assert names[-1] == "timestamp.json"
        assert set(names) == there - uploaded | {"timestamp.json"}
        uploaded = there
    shown = {path.name: path.read_bytes() for path in (work / "assets").iterdir()}
    assert shown == {name: (site.public / name).read_bytes() for name in uploaded}
