"""A place in S3, or in any store that speaks its protocol.

Nothing is locked there; it is written on conditions: a name only if it is not there (`If-None-Match`), the
timestamp only over the one that was read (`If-Match`). A store that knows no conditions is written without,
after a last look.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from overseer.errors import PublishError
from overseer.publish.places import MOST, TIMESTAMP, ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.publish.places import Progress

_NOT_FOUND = 404
_CONFLICTS = {409, 412}  # another write was under way; the condition does not hold
_NOT_KNOWN = 501  # the store knows no conditions

_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"


class Bucket:
    """The names that begin with `prefix` in a bucket."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        try:
            import boto3  # noqa: PLC0415 - an extra, and slow to import
        except ImportError as error:
            raise PublishError("S3 needs boto3: pip install 'pyoverseer[s3]'") from error
        from botocore.config import Config  # noqa: PLC0415

        self.bucket = bucket
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        style = "path" if named else "auto"
        self._client: Any = boto3.client("s3", config=Config(s3={"addressing_style": style}))
        self._etag = ""

    def __str__(self) -> str:
        """Show it as people write it."""
        return f"s3://{self.bucket}/{self.prefix}"

    def lock(self) -> nullcontext[None]:
        """Nothing can be locked; conditions take its place."""
        return nullcontext()

    def read(self, name: str) -> bytes | None:
        """Return the metadata of that name."""
        with self._explained(name) as found:
            told = self._client.get_object(**self._object(name))
            data: bytes = told["Body"].read(MOST + 1)
            if len(data) > MOST:
                raise PublishError(f"{self}{name} is longer than metadata may be ({MOST} bytes)")
            if name == TIMESTAMP:
                self._etag = told["ETag"]
            found.append(data)
        return found[0] if found else None

    def size(self, name: str) -> int | None:
        """Return how many bytes there are under a name."""
        with self._explained(name) as found:
            found.append(int(self._client.head_object(**self._object(name))["ContentLength"]))
        return found[0] if found else None

    def names(self) -> list[str]:
        """Return every name."""
        listed: list[str] = []
        with self._explained(""):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix):
                listed += [each["Key"].removeprefix(self.prefix) for each in page.get("Contents", ())]
        return sorted(name for name in listed if "/" not in name)

    def create(self, name: str, data: bytes) -> None:
        """Write a name that was not there."""
        self._put(name, data, _FOR_EVER, IfNoneMatch="*")

    def upload(self, name: str, path: str, progress: Progress) -> None:
        """Bring a file there, unless it is there; a large one in parts, which appear as one."""
        if self.size(name) == os.path.getsize(path):
            return
        with self._explained(name, missing=False):
            kind = {"ContentType": "application/octet-stream", "CacheControl": _FOR_EVER}
            self._client.upload_file(path, self.bucket, self.prefix + name, ExtraArgs=kind, Callback=progress)

    def download(self, name: str, path: str) -> None:
        """Copy a file from there."""
        with self._explained(name, missing=False):
            self._client.download_file(self.bucket, self.prefix + name, path)

    def replace(self, data: bytes, was: bytes | None) -> None:
        """Replace `timestamp.json` if it is still what was read."""
        if self.read(TIMESTAMP) != was:
            raise ConflictError(f"{self} was published to by another")
        condition = {"IfNoneMatch": "*"} if was is None else {"IfMatch": self._etag}
        self._put(TIMESTAMP, data, _ASK_AGAIN, **condition)

    def remove(self, name: str) -> None:
        """Remove a name."""
        with self._explained(name):
            self._client.delete_object(**self._object(name))

    def _put(self, name: str, data: bytes, cache: str, **condition: str) -> None:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        what = {**self._object(name), "Body": data, "ContentType": "application/json", "CacheControl": cache}
        with self._explained(name, missing=False):
            try:
                self._client.put_object(**what, **condition)
            except ClientError as error:
                if _status(error) in _CONFLICTS:
                    raise ConflictError(f"{self}{name} was published to by another") from error
                if _status(error) != _NOT_KNOWN:
                    raise
                if "IfNoneMatch" in condition and self.size(name) is not None:
                    raise ConflictError(f"{self}{name} is there already") from error
                self._client.put_object(**what)

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + name}

    @contextmanager
    def _explained(self, name: str, *, missing: bool = True) -> Iterator[list[Any]]:
        """Say which name a store refused, and why. `missing`: that it is not there is no error."""
        from boto3.exceptions import Boto3Error  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            yield []
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if missing and _status(error) == _NOT_FOUND and code != "NoSuchBucket":
                return
            raise PublishError(f"{self}{name}: {error}") from error
        except (BotoCoreError, Boto3Error, OSError) as error:
            raise PublishError(f"{self}{name}: {error}") from error


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
