"""One look at one URL, and the download that may follow from it.

Where the server has validators (ETag, Last-Modified), a look is one conditional GET, which is at the same
time the download when there is something new. Where it has none, or ignores them, a look is a HEAD whose
`check_headers` are compared, as in the original. What was seen goes with the offer and is remembered by the
updater only when the release was staged or refused for good: a download that was cut is offered again.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from overseer.errors import FetchError
from overseer.fetcher.answer import Manners
from overseer.fetcher.headers import is_strong, name_of
from overseer.fetcher.offer import Download, Offer, Partial
from overseer.fetcher.target import fill, here
from overseer.fetcher.transfer import download
from overseer.fetcher.urls import bare, shown
from overseer.fetcher.web import Web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overseer.fetcher.answer import Answer
    from overseer.fetcher.http import HTTP

_CONDITIONS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
_NO_HEAD = (405, 501)


class Look:
    """Knows the source, what was seen of it (if that was at the same URL), and asks."""

    def __init__(self, source: HTTP, seen: Mapping[str, str] | None) -> None:
        url = fill(source.url, here(), version=source.version)
        self.source = source
        self.url = bare(url)
        # A hash: the query of a URL may be a secret, and what was seen is written to disk.
        self.key = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self.known = seen if seen and seen.get("source") == self.key else {}
        self.secrets = {**authorization(url, source.auth), **source.headers}
        self.web = Web(
            Manners(
                connect_timeout=source.connect_timeout,
                read_timeout=source.read_timeout,
                min_rate=source.min_rate,
                max_size=source.max_size,
                max_redirects=source.max_redirects,
                ca=source.ca,
            )
        )

    def latest(self) -> Offer | None:
        """Ask once: HEAD if that is what this source wants or its server needs, else a conditional GET."""
        habits = self.source.habits
        validator = next((name for name in _CONDITIONS if name in self.known), None)
        wants_head = self.source.head or habits.deaf or (self.known and not validator)
        if wants_head and not habits.headless:
            answer = self.ask({}, method="HEAD")
            if answer.status not in _NO_HEAD:
                return self.judge(answer, with_body=False)
            answer.close()
            habits.headless = True
        condition = {_CONDITIONS[validator]: self.known[validator]} if validator else {}
        answer = self.ask(condition)
        if answer.status == 304 and condition:
            answer.close()
            return None
        offer = self.judge(answer, with_body=True)
        habits.deaf = habits.deaf or (offer is None and bool(condition))
        return offer

    def ask(self, headers: Mapping[str, str], method: str = "GET") -> Answer:
        """Ask for the source's URL, with its secrets."""
        return self.web.ask(self.url, method=method, headers=headers, secrets=self.secrets)

    def judge(self, answer: Answer, *, with_body: bool) -> Offer | None:
        """Offer what an answer to GET or HEAD announces, unless it is known already."""
        if answer.status != 200:
            raise answer.refusal()
        seen = self.identity(answer)
        if self.alike(self.known, seen) is True:
            answer.close()
            return None
        name = self.source.name or name_of(self.url, answer.headers.get("content-disposition"))
        answer.check_release(name, require_length=self.source.require_length and with_body)
        size = answer.size
        held = [answer]
        if not with_body:
            answer.close()
            held.clear()

        def start(partial: Partial | None) -> Download:
            return download(
                self.ask,
                lambda whole: self.check(whole, seen, name),
                held=held.pop() if held else None,
                offset=resumable(partial, seen),
                validator=seen.get("etag"),
                size=size,
            )

        return Offer(seen=seen, open=start, name=name, size=size)

    def check(self, answer: Answer, seen: Mapping[str, str], name: str) -> None:
        """Raise `FetchError` unless `answer` is the whole of what was offered as `seen`."""
        if answer.status != 200:
            raise answer.refusal()
        answer.check_release(name, require_length=self.source.require_length)
        if self.alike(seen, self.identity(answer)) is False:
            answer.close()
            raise FetchError(f"{shown(self.url)} changed between the look and the download")

    def identity(self, answer: Answer) -> dict[str, str]:
        """Say what tells this answer's release from another one's."""
        names = [*_CONDITIONS, "content-length", *(name.lower() for name in self.source.check_headers)]
        told = {name: answer.headers[name] for name in names if name in answer.headers}
        return {"source": self.key, **told}

    def alike(self, one: Mapping[str, str], other: Mapping[str, str]) -> bool | None:
        """Compare two identities by the `check_headers` that both have; None when there is none."""
        names = [name.lower() for name in self.source.check_headers]
        both = [name for name in names if name in one and name in other]
        return all(one[name] == other[name] for name in both) if both else None


def resumable(partial: Partial | None, seen: Mapping[str, str]) -> int:
    """Say from which byte on a download may be resumed: never on a weak validator's word."""
    if partial is None or not is_strong(seen.get("etag")):
        return 0
    same = all(partial.seen.get(name) == seen.get(name) for name in ("source", "etag"))
    return partial.size if same else 0


def authorization(url: str, auth: tuple[str, str] | None) -> dict[str, str]:
    """Make the header field of Basic authentication from `auth`, or from the user in the URL."""
    parts = urlsplit(url)
    if auth is None and parts.username is not None:
        auth = (unquote(parts.username), unquote(parts.password or ""))
    if auth is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(":".join(auth).encode()).decode()}
