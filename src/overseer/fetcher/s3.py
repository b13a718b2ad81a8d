"""An object in S3, or in any store that speaks its protocol, as a source."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from overseer.errors import ConfigError, FetchError
from overseer.fetcher.headers import epoch_of, seconds_of
from overseer.fetcher.offer import Download, Offer, Partial
from overseer.fetcher.options import check_time, need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from overseer.fetcher.answer import Answer
    from overseer.fetcher.web import Web

_SHA256_BYTES = 32
_ADVICE = {
    403: "check the credentials and the bucket's policy",
    404: "there is no such object, or it may not be seen",
    412: "it changed between the look and the download",
}


@dataclass
class S3:
    """Look at the object `key` in `bucket` every `interval` seconds.

    Without `access` and `secret` the credentials are those of the environment: variables, files, the
    machine's role, as boto3 finds them. `endpoint_url` names another store than Amazon's; buckets are then
    part of the path, unless `path_style` is False. A look is a conditional HEAD of at most `head_timeout`
    seconds of silence; `get_timeout` bounds a silence of the download, not the whole of it, which has to
    bring `min_rate` bytes a second (averaged over `get_timeout`; 0: any).
    The ETag tells one object from another and is nothing more: it is the MD5 of some objects and not of
    others. A SHA-256 that the store keeps of the whole object is verified. `version_id` pins one version.
    Raises `ConfigError` for options that can never work, and when boto3 is not installed.
    """

    access: str = ""
    secret: str = field(default="", repr=False)
    region: str = ""
    bucket: str = ""
    key: str = ""
    interval: float = 300.0
    head_timeout: float = 5.0
    get_timeout: float = 300.0
    _: KW_ONLY
    session_token: str = field(default="", repr=False)
    endpoint_url: str = ""
    path_style: bool | None = None
    version_id: str = ""
    name: str = ""
    connect_timeout: float = 10.0
    min_rate: int = 128
    max_size: int = 2 * 1024**3
    ca: str | None = None
    _kept: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        need("boto3", extra="s3")
        for name in ("bucket", "key"):
            if not getattr(self, name):
                raise ConfigError(name, "is empty; name the object to look at")
        if bool(self.access) != bool(self.secret):
            raise ConfigError(
                "secret", "access and secret go together; leave both out for ambient credentials"
            )
        for name in ("interval", "head_timeout", "get_timeout", "connect_timeout"):
            check_time(name, getattr(self, name))

    def latest(self, seen: Mapping[str, str] | None) -> Offer | None:
        """Ask for the object's metadata once; offer the object if it is another one than `seen`."""
        source = self._source()
        known = seen if seen and seen.get("source") == source else {}
        conditions = {"IfNoneMatch": known["etag"]} if known.get("etag") else {}
        with _explained(str(self)):
            told = _unless_known(
                self._client().head_object, **self._object(), **conditions, ChecksumMode="ENABLED"
            )
        if told is None or told.get("ETag", "") == known.get("etag"):
            return None
        size = int(told.get("ContentLength", 0))
        if size > self.max_size:
            raise FetchError(f"{self} is larger than max_size ({self.max_size} bytes)", permanent=True)
        if not size or not told.get("ETag"):
            raise FetchError(f"{self} is empty, or has no ETag; it is no release")
        identity = {"source": source, "etag": told["ETag"], "version": told.get("VersionId", "")}
        return Offer(
            seen=identity,
            open=lambda partial: self._open(partial, identity, size),
            name=self.name or self.key.rpartition("/")[2],
            digest=digest_of(told),
            size=size,
        )

    def __str__(self) -> str:
        """Show the object as people write it."""
        return f"s3://{self.bucket}/{self.key}"

    def _source(self) -> str:
        question = (self.endpoint_url, self.region, self.bucket, self.key, self.version_id)
        return hashlib.sha256(repr(question).encode()).hexdigest()[:16]

    def _object(self, version: str = "") -> dict[str, str]:
        named = {"Bucket": self.bucket, "Key": self.key}
        version = version or self.version_id
        return {**named, "VersionId": version} if version and version != "null" else named

    def web(self, silence: float | None = None) -> Web:
        """Return what asks for addresses, with the limits of this source; `silence` (seconds) is another."""
        from overseer.fetcher.answer import Manners  # noqa: PLC0415 - as in _new_client
        from overseer.fetcher.web import Web  # noqa: PLC0415

        return Web(
            Manners(
                connect_timeout=self.connect_timeout,
                read_timeout=silence or self.get_timeout,
                min_rate=self.min_rate,
                max_size=self.max_size,
                ca=self._authorities(),
            )
        )

    def address(self, key: str, version: str = "") -> str:
        """Return a signed address of an object, good for an hour. Raises `FetchError`.

        It takes the place of get_object: a body is read, timed and judged as any other is.
        """
        with _explained(str(self)):
            wanted = {**self._object(version), "Key": key}
            return str(self._client().generate_presigned_url("get_object", Params=wanted))

    def _open(self, partial: Partial | None, identity: Mapping[str, str], size: int) -> Download:
        from overseer.fetcher.transfer import download  # noqa: PLC0415 - as in _new_client

        etag, web = identity["etag"], self.web()

        def ask(headers: Mapping[str, str]) -> Answer:
            url = self.address(self.key, identity["version"])
            return web.ask(url, headers={"If-Match": etag, **headers})

        def check(answer: Answer) -> None:
            if answer.status != 200:
                raise answer.refusal(_ADVICE.get(answer.status, ""))
            if answer.size != size or answer.headers.get("etag") not in (None, etag):
                answer.close()
                raise FetchError(f"{self} is announced as another object than it is")

        start = partial.size if partial and dict(partial.seen) == dict(identity) else 0
        return download(ask, check, offset=start, validator=etag, if_range=False, size=size)

    def _client(self) -> Any:
        if self._kept is None:
            self._kept = self._new_client()
        return self._kept

    def _new_client(self) -> Any:
        import boto3  # noqa: PLC0415 - loaded when it is used: it costs more than everything else here
        from botocore.config import Config  # noqa: PLC0415

        path_style = bool(self.endpoint_url) if self.path_style is None else self.path_style
        session = boto3.session.Session(
            aws_access_key_id=self.access or None,
            aws_secret_access_key=self.secret or None,
            aws_session_token=self.session_token or None,
            region_name=self.region or None,
        )
        return session.client(
            "s3",
            region_name=session.region_name or "us-east-1",
            endpoint_url=self.endpoint_url or None,
            verify=self._authorities(),
            config=Config(
                connect_timeout=self.connect_timeout,
                read_timeout=self.head_timeout,
                signature_version="s3v4",  # of addresses, too: without it they get the old one
                retries={"total_max_attempts": 1},  # when to ask again is the updater's to decide
                s3={"addressing_style": "path" if path_style else "auto"},
            ),
        )

    def _authorities(self) -> str | None:
        names = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
        return self.ca or next((os.environ[name] for name in names if os.environ.get(name)), None)


def digest_of(told: Mapping[str, Any]) -> str | None:
    """Read the SHA-256 of the whole object, in hexadecimal, if the store keeps one.

    One made of the sums of parts, `sum-of-sums-3`, is not that of the object, and neither is any ETag.
    """
    if told.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return None
    try:
        digest = base64.b64decode(told.get("ChecksumSHA256", ""), validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == _SHA256_BYTES else None


def _unless_known(head_object: Any, **wanted: str) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - as in _client

    try:
        return dict(head_object(**wanted))
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 304:
            return None
        raise


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn whatever boto3 raises into a `FetchError` that names `where`."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        raise _refusal(where, error.response) from error
    except NoCredentialsError as error:
        raise FetchError(
            f"{where}: there are no credentials; give access and secret, or ambient ones"
        ) from error
    except (BotoCoreError, OSError, ValueError) as error:
        raise FetchError(f"{where} could not be read: {error}") from error


def _refusal(where: str, response: Mapping[str, Any]) -> FetchError:
    told = response.get("ResponseMetadata", {})
    headers, status = told.get("HTTPHeaders", {}), told.get("HTTPStatusCode")
    code = response.get("Error", {}).get("Code", "")
    advice = _ADVICE.get(status, "")
    text = f"{where} answered {status} ({code})"
    now = epoch_of(headers.get("date")) or time.time()
    wait = seconds_of(headers.get("retry-after"), now=now)
    return FetchError(f"{text}; {advice}" if advice else text, retry_after=wait)
