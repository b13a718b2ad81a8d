"""One look at a repository's releases, and the download of the asset for this machine.

A look is one conditional request, which costs nothing of the rate limit when nothing changed (and a token is
sent). The asset comes through the API when a token is needed, else from its public address, which is not
limited at all. Fields of the answer: docs.github.com/rest/releases.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from overseer.errors import FetchError
from overseer.fetcher.answer import Manners
from overseer.fetcher.headers import LONGEST_WAIT
from overseer.fetcher.offer import Download, Offer, Partial
from overseer.fetcher.target import fitting, here, names, version_of
from overseer.fetcher.transfer import download
from overseer.fetcher.web import Web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overseer.fetcher.answer import Answer
    from overseer.fetcher.github import GitHub

_JSON = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_BYTES = {"Accept": "application/octet-stream"}
_LIMITED = (403, 429)
_PATIENCE = 60.0  # seconds; what GitHub asks for when it says no number
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Asset:
    """A file of a release, as the API tells of it."""

    id: int
    name: str
    size: int
    updated: str
    address: str
    digest: str | None


class Releases:
    """Asks one repository; everything it learns stays in the source's `told`."""

    def __init__(self, source: GitHub) -> None:
        self.source = source
        self.target = here()
        self.base = source.base_url.rstrip("/")
        self.token = source.token_from(os.environ)
        self.secrets = {"Authorization": f"Bearer {self.token}"} if self.token else {}
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

    def latest(self, seen: Mapping[str, str] | None) -> Offer | None:
        """Ask for the release, choose its asset, and offer it if it is another one than `seen`."""
        key = self.key()
        known = seen if seen and seen.get("source") == key else {}
        release = self.ask(known.get("etag", ""))
        if release is None:
            return None
        tag = _text(release, "tag_name")
        asset = self.choose(release, tag)
        identity = {
            "source": key,
            "asset": str(asset.id),
            "updated": asset.updated,
            "size": str(asset.size),
            "digest": asset.digest or "",
        }
        if all(known.get(name) == value for name, value in identity.items()):
            return None
        if asset.size > self.source.max_size:
            raise FetchError(f"{asset.name} of {self.source} is larger than max_size", permanent=True)

        def start(partial: Partial | None) -> Download:
            return download(
                lambda headers: self.ask_for(asset, headers),
                lambda answer: self.check(answer, asset),
                offset=_resumable(partial, identity),
                size=asset.size,
            )

        return Offer(
            seen={**identity, "etag": self.source.told.etag},
            open=start,
            name=asset.name,
            version=version_of(tag),
            digest=asset.digest,
            size=asset.size,
        )

    def key(self) -> str:
        """Say what was looked at: an answer to another question says nothing about this one."""
        source = self.source
        asset = source.asset
        chosen = asset if asset is None or isinstance(asset, str) else getattr(asset, "__qualname__", "")
        question = (self.base, source.user, source.repo, source.tag, source.pre_releases, chosen, self.target)
        return hashlib.sha256(repr(question).encode()).hexdigest()[:16]

    def ask(self, etag: str) -> dict[str, Any] | None:
        """Ask for the release; None when it is still the one that `etag` came with."""
        told = self.source.told
        condition = told.etag or etag
        answer = self.web.ask(
            f"{self.base}/repos/{self.source.user}/{self.source.repo}/releases{self.path()}",
            headers={**_JSON, "If-None-Match": condition} if condition else _JSON,
            secrets=self.secrets,
        )
        if answer.status == 304 and condition:
            answer.close()
            return told.release if condition == told.etag else None
        if answer.status != 200:
            raise self.refusal(answer)
        release = self.pick(answer.json())
        told.etag, told.release = answer.headers.get("etag", ""), release
        return release

    def path(self) -> str:
        """Say where below /releases the release is."""
        if self.source.tag:
            return f"/tags/{quote(self.source.tag, safe='')}"
        return "?per_page=30" if self.source.pre_releases else "/latest"

    def pick(self, told: Any) -> dict[str, Any]:
        """Pick the release out of what was told: it itself, or of a list the one published last."""
        if isinstance(told, list):
            published = [one for one in told if isinstance(one, dict) and not one.get("draft")]
            told = max(published, key=lambda one: str(one.get("published_at") or ""), default=None)
            if told is None:
                raise FetchError(f"{self.source} has no release yet")
        if not isinstance(told, dict):
            raise FetchError(f"{self.source}: the answer of the API is not a release")
        return told

    def choose(self, release: Mapping[str, Any], tag: str) -> Asset:
        """Choose the asset for this machine; raises `FetchError` that names what there is."""
        assets = {asset.name: asset for asset in assets_of(release)}
        wanted = self.source.asset
        if isinstance(wanted, str):
            spelled = list(names(wanted, self.target, tag=tag))
            found = [name for name in spelled if name in assets][:1]
            asked = " or ".join(spelled[:4]) or f"{wanted} (which makes no name on {self.target.os})"
        elif wanted is not None:
            try:
                found = [name for name in assets if wanted(name)][:1]
            except Exception as error:  # the user's code may raise whatever it likes
                raise FetchError(f"the asset function raised {type(error).__name__}: {error}") from error
            asked = "that the asset function takes"
        else:
            found = fitting(assets, self.target)
            asked = f"for {self.target.os} {self.target.machine} {self.target.libc}".rstrip()
        if len(found) == 1:
            return assets[found[0]]
        what = f"release {tag} of {self.source}"
        if found:
            raise FetchError(
                f"{what} has several files {asked}; choose with asset=: {', '.join(sorted(found))}"
            )
        there = ", ".join(sorted(assets)[:20]) or "none at all"
        raise FetchError(f"{what} has no file {asked}; there is {there}")

    def ask_for(self, asset: Asset, headers: Mapping[str, str]) -> Answer:
        """Ask for the bytes of an asset."""
        if not self.token:
            return self.web.ask(asset.address, headers={**_BYTES, **headers})
        # Made of our own base URL: the token must not go wherever an answer points.
        url = f"{self.base}/repos/{self.source.user}/{self.source.repo}/releases/assets/{asset.id}"
        return self.web.ask(url, headers={**_BYTES, **headers}, secrets=self.secrets)

    def check(self, answer: Answer, asset: Asset) -> None:
        """Raise `FetchError` unless `answer` is that of the whole asset."""
        if answer.status != 200:
            raise self.refusal(answer)
        answer.check_release(asset.name, require_length=False)  # the length is told by the API
        if answer.size not in (None, asset.size):
            answer.close()
            raise FetchError(f"{asset.name} of {self.source} is announced with another length than it has")

    def refusal(self, answer: Answer) -> FetchError:
        """Make an error of an answer, with the time that the rate limits ask for."""
        if answer.status == 404:
            return answer.refusal(f"{self.source} has no such release, or is private and needs a token")
        if answer.status not in _LIMITED:
            return answer.refusal()
        error = answer.refusal()
        if error.retry_after is not None:
            return error
        if answer.headers.get("x-ratelimit-remaining") == "0":
            reset = answer.headers.get("x-ratelimit-reset", "")
            wait = float(reset) - answer.clock if re.fullmatch(r"[0-9]{1,12}", reset) else _PATIENCE
            wait = min(max(wait, 1.0), LONGEST_WAIT)
        elif answer.status == 429:
            wait = _PATIENCE
        else:
            return error
        advice = f"the rate limit is used up for {wait:.0f} s"
        return answer.refusal(advice if self.token else f"{advice}; a token has a larger one", wait=wait)


def assets_of(release: Mapping[str, Any]) -> list[Asset]:
    """Read the files of a release that are there whole."""
    told = release.get("assets")
    found = []
    for one in told if isinstance(told, list) else []:
        if not isinstance(one, dict) or one.get("state", "uploaded") != "uploaded":
            continue  # it is still being uploaded
        number, size, address = one.get("id"), one.get("size"), _text(one, "browser_download_url")
        if (
            isinstance(number, int)
            and isinstance(size, int)
            and urlsplit(address).scheme in ("https", "http")
        ):
            digest = _SHA256.fullmatch(_text(one, "digest"))
            name, updated = _text(one, "name"), _text(one, "updated_at")
            found.append(Asset(number, name, size, updated, address, digest[1] if digest else None))
    return found


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _resumable(partial: Partial | None, identity: Mapping[str, str]) -> int:
    # The storage behind the API has validators of its own that we never saw; the digest of the whole, which
    # the updater checks, is stronger than any of them. Without it we begin again.
    if partial is None or not identity["digest"]:
        return 0
    return partial.size if all(partial.seen.get(name) == value for name, value in identity.items()) else 0
