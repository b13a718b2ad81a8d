"""Repositories over HTTP: below a URL, or in a bucket, by addresses that are signed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from overseer.fetcher.look import Look
from overseer.fetcher.transfer import download
from overseer.trust.files import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from overseer.fetcher.answer import Answer
    from overseer.fetcher.http import HTTP
    from overseer.fetcher.offer import Download, Partial
    from overseer.fetcher.s3 import S3

    Ask = Callable[[str, Mapping[str, str]], Answer]
    """Ask for a file by its name, with more header fields."""


def at_url(source: HTTP) -> Web:
    """Return the repository below a URL that ends in a slash."""
    look = Look(replace(source), None)

    def ask(name: str, headers: Mapping[str, str]) -> Answer:
        url = f"{look.url}{quote(name, safe='/%')}"  # a target's path is part of a URL as it is
        return look.web.ask(url, headers=headers, secrets=look.secrets)

    return Web(ask, look.url, require_length=source.require_length)


def in_bucket(source: S3) -> Web:
    """Return the repository whose names begin with a key that ends in a slash.

    Metadata is asked for with the short patience of a look, releases with the long one of a download.
    """
    prefix, short, long = source.key.lstrip("/"), source.web(source.head_timeout), source.web()

    def ask(name: str, headers: Mapping[str, str]) -> Answer:
        return short.ask(source.address(prefix + name), headers=headers)

    def fetch(name: str, headers: Mapping[str, str]) -> Answer:
        return long.ask(source.address(prefix + name), headers=headers)

    return Web(ask, f"s3://{source.bucket}/{prefix}", require_length=True, fetch=fetch)


class Web:
    """Files that are asked for by a GET, long ones by `fetch` if that is another; `where` is for messages."""

    def __init__(self, ask: Ask, where: str, *, require_length: bool, fetch: Ask | None = None) -> None:
        self._ask = ask
        self._fetch = fetch or ask
        self._where = where
        self._require_length = require_length
        self._validators: dict[str, str] = {}

    def changed(self, name: str) -> bool:
        """Ask with the validator of the last answer; whatever is odd counts as changed."""
        validator = self._validators.pop(name, None)
        if validator is None:
            return True
        answer = self._ask(name, {"If-None-Match": validator})
        answer.close()
        if answer.status == 304:
            self._validators[name] = validator
        return answer.status != 304

    def read(self, name: str) -> Iterator[bytes]:
        """Yield what a GET brings. A store that does not let us list says 403 of what is not there."""
        answer = self._ask(name, {})
        if answer.status in (403, 404):
            answer.close()
            hidden = ", or may not be seen" if answer.status == 403 else ""
            raise MissingError(f"{name} is not in {self._where}{hidden} ({answer.status})")
        if answer.status != 200:
            raise answer.refusal()
        if etag := answer.headers.get("etag"):
            self._validators[name] = etag
        return answer.body(sniff=False)

    def download(self, name: str, size: int, partial: Partial | None) -> Download:
        """Go on with a range request where the server knows them: the digest of the whole is known."""

        def check(answer: Answer) -> None:
            if answer.status != 200:
                raise answer.refusal()
            answer.check_release(name, require_length=self._require_length)

        offset = min(partial.size, size) if partial else 0
        return download(lambda more: self._fetch(name, more), check, offset=offset, size=size)
