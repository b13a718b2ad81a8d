"""S3 as a source, against a server that speaks its protocol.

The server is moto's, started here, or the one that OVERSEER_TEST_S3 names (http://access:secret@host:port),
where a bucket is made for each test: Ceph RGW, MinIO, Amazon's.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from tests.contract.hostile import Hostile, reply

from overseer.errors import ConfigError, FetchError
from overseer.fetcher import S3, Offer, Partial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RELEASE = bytes(range(256)) * 4000
PART = 5 * 1024 * 1024


@dataclass
class Store:
    """A store, a bucket in it, and a client to fill it with."""

    url: str
    access: str
    secret: str
    bucket: str
    client: Any

    def put(self, content: bytes, key: str = "app.pyz", **more: Any) -> dict[str, Any]:
        """Put an object."""
        return dict(self.client.put_object(Bucket=self.bucket, Key=key, Body=content, **more))

    def must_keep(self, content: bytes, **wanted: str) -> None:
        """Skip what a store cannot show: Ceph RGW without a cluster sends wrong ranges, and drips parts."""
        told = self.client.get_object(Bucket=self.bucket, Key="app.pyz", **wanted)
        kept, deadline = b"", time.monotonic() + 10
        while time.monotonic() < deadline and (more := told["Body"].read(10_000)):
            kept += more
        if kept != content:
            pytest.skip(f"{self.url} does not give back what it was given: {wanted}")

    def source(self, **options: Any) -> S3:
        """Look at an object of the bucket."""
        told = {"access": self.access, "secret": self.secret, "region": "us-east-1", "key": "app.pyz"}
        return S3(bucket=self.bucket, endpoint_url=self.url, **(told | options))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Say the address of a store, with its credentials."""
    if named := os.environ.get("OVERSEER_TEST_S3"):
        yield named
        return
    code = (
        "from moto.server import DomainDispatcherApplication, create_backend_app;"
        "from werkzeug.serving import make_server;"
        "application = DomainDispatcherApplication(create_backend_app);"
        "server = make_server('127.0.0.1', 0, application, threaded=True);"
        "print(server.server_port, flush=True); server.serve_forever()"
    )
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://access:secret@127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Make an empty bucket, and forget what the environment knows of S3."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    parts = urlsplit(server)
    url = f"{parts.scheme}://{parts.hostname}:{parts.port}"
    access, secret = parts.username or "", parts.password or ""
    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(read_timeout=10, retries={"total_max_attempts": 1}),
    )
    bucket = f"releases-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    return Store(url, access, secret, bucket, client)


def look(fetcher: S3, seen: Mapping[str, str] | None = None) -> Offer:
    """Look, and insist on news."""
    offer = fetcher.latest(seen)
    assert offer is not None
    return offer


def read(offer: Offer, partial: Partial | None = None) -> bytes:
    """Read an offer to its end."""
    return b"".join(offer.open(partial).chunks)


def test_an_object_is_taken_once(store: Store) -> None:
    """Until another one is put in its place."""
    store.put(RELEASE, key="builds/app.pyz")
    fetcher = store.source(key="builds/app.pyz")
    offer = look(fetcher)
    assert (offer.name, offer.size, read(offer)) == ("app.pyz", len(RELEASE), RELEASE)
    assert fetcher.latest(offer.seen) is None
    store.put(b"new", key="builds/app.pyz")
    assert read(look(fetcher, offer.seen)) == b"new"


def test_what_was_seen_of_another_object_is_no_condition(store: Store) -> None:
    """The same bytes under another key are another source."""
    store.put(RELEASE)
    store.put(RELEASE, key="other")
    seen = look(store.source()).seen
    assert store.source(key="other").latest(seen) is not None


def test_a_cut_download_goes_on(store: Store) -> None:
    """On the ETag, which is strong in S3."""
    store.put(RELEASE)
    store.must_keep(RELEASE[300_000:], Range="bytes=300000-")
    offer = look(store.source())
    download = offer.open(Partial(300_000, offer.seen))
    assert (download.start, b"".join(download.chunks)) == (300_000, RELEASE[300_000:])
    whole = offer.open(Partial(len(RELEASE), offer.seen))
    assert (whole.start, list(whole.chunks)) == (len(RELEASE), [])


def test_a_partial_of_another_object_is_not_resumed(store: Store) -> None:
    """Its ETag is another one."""
    store.put(RELEASE)
    old = look(store.source())
    store.put(RELEASE[::-1])
    assert read(look(store.source()), Partial(300_000, old.seen)) == RELEASE[::-1]


def test_an_object_replaced_between_look_and_download_is_refused(store: Store) -> None:
    """If-Match says so; what is remembered must be what was downloaded."""
    store.put(RELEASE)
    offer = look(store.source())
    store.put(b"new")
    with pytest.raises(FetchError, match="412"):
        offer.open(None)


def test_the_version_that_was_offered_is_downloaded(store: Store) -> None:
    """In a bucket with versions, a newer one does not come in between, and one can be pinned."""
    store.client.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"})
    first = store.put(RELEASE)
    offer = look(store.source())
    store.put(b"new")
    assert offer.seen["version"] == first["VersionId"]
    assert read(offer) == RELEASE
    assert read(look(store.source(version_id=first["VersionId"]))) == RELEASE
    assert read(look(store.source(), offer.seen)) == b"new"


def test_the_etag_of_an_object_of_parts_is_taken_for_nothing_else(store: Store) -> None:
    """It is not the MD5 of the object, and no digest is made of it."""
    content = b"x" * PART + b"the end"
    upload = store.client.create_multipart_upload(Bucket=store.bucket, Key="app.pyz")["UploadId"]
    named = {"Bucket": store.bucket, "Key": "app.pyz", "UploadId": upload}
    parts = [
        {"PartNumber": n, "ETag": store.client.upload_part(**named, PartNumber=n, Body=body)["ETag"]}
        for n, body in ((1, content[:PART]), (2, content[PART:]))
    ]
    store.client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    store.must_keep(content)
    offer = look(store.source())
    assert re.fullmatch(r'"[0-9a-f]{32}-2"', offer.seen["etag"])
    assert offer.digest is None
    assert read(offer) == content
    assert read(offer, Partial(PART, offer.seen)) == b"the end"


def test_a_sum_that_the_store_keeps_is_offered_as_the_digest(store: Store) -> None:
    """SHA-256 of the whole object, in hexadecimal; a store that keeps none says nothing."""
    store.put(RELEASE, ChecksumAlgorithm="SHA256")
    kept = store.client.head_object(Bucket=store.bucket, Key="app.pyz", ChecksumMode="ENABLED")
    if "ChecksumSHA256" not in kept:
        pytest.skip("this store keeps no sums")
    offer = look(store.source())
    assert offer.digest == hashlib.sha256(RELEASE).hexdigest()
    assert read(offer) == RELEASE
    store.must_keep(RELEASE[1000:], Range="bytes=1000-")
    assert read(offer, Partial(1000, offer.seen)) == RELEASE[1000:]


def test_ambient_credentials_are_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the environment, when none are given; none at all is an error that says so."""
    store.put(RELEASE)
    with pytest.raises(FetchError, match="no credentials"):
        store.source(access="", secret="").latest(None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.access)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret)
    assert read(look(store.source(access="", secret=""))) == RELEASE


def test_what_is_missing_or_empty_is_an_error(store: Store) -> None:
    """And no release."""
    with pytest.raises(FetchError, match="404"):
        store.source(key="none").latest(None)
    store.put(b"")
    with pytest.raises(FetchError, match="empty"):
        store.source().latest(None)


def test_an_object_that_is_too_big_is_not_begun(store: Store) -> None:
    """The same object would fail again."""
    store.put(RELEASE)
    with pytest.raises(FetchError, match="max_size") as caught:
        store.source(max_size=len(RELEASE) - 1).latest(None)
    assert caught.value.permanent


# --- what a real store never says ---


def rude(answers: list[bytes]) -> Hostile:
    """Serve these answers, one after the other."""
    return Hostile(lambda _, wire: wire.say(answers.pop(0)))


@pytest.mark.parametrize("length", [1, 500, 999])
def test_a_cut_download_is_an_error(length: int, store: Store) -> None:
    """Whatever came, it is not the object."""
    body = b"x" * 1000
    head = reply(b"", content_length="1000", etag='"one"')
    whole = reply(body, etag='"one"')
    with rude([head, whole[: length - len(body)]]) as server:
        offer = look(S3(store.access, store.secret, bucket="b", key="k", endpoint_url=server.url))
        with pytest.raises(FetchError):
            read(offer)


def test_a_store_says_how_long_to_leave_it_alone(store: Store) -> None:
    """Retry-After goes with the error, and the store is asked once."""
    with rude([reply(b"", "503 Slow Down", retry_after="40")]) as server:
        with pytest.raises(FetchError, match="503") as caught:
            S3(store.access, store.secret, bucket="b", key="k", endpoint_url=server.url).latest(None)
        assert caught.value.retry_after == 40
        assert len(server.asked) == 1


def test_silence_is_an_error(store: Store) -> None:
    """`head_timeout` bounds it."""
    with Hostile(lambda _, wire: wire.hold()) as server, pytest.raises(FetchError, match="could not be read"):
        S3(store.access, store.secret, bucket="b", key="k", endpoint_url=server.url, head_timeout=0.2).latest(
            None
        )


def test_options_that_can_never_work_are_refused() -> None:
    """When the source is made, not at its first look."""
    for bucket, key, access in (("b", "", ""), ("", "k", ""), ("b", "k", "a")):
        with pytest.raises(ConfigError):
            S3(bucket=bucket, key=key, access=access)
    assert "hush" not in repr(S3("a", "hush", bucket="b", key="k"))
