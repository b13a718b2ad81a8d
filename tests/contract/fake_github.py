"""A GitHub that serves one repository's releases: the API, its rate limit, and the storage behind it.

The storage is reached by another name (`localhost`), as GitHub's is, so that a redirect to it leaves the
API's origin; it refuses whoever brings an Authorization, as the real one does.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any, Self

from tests.contract.hostile import Asked, Hostile, Wire, reply

STAMP = "2024-05-01T10:00:00Z"


@dataclass
class FakeGitHub:
    """Repository `ann/app`; private when `token` is set. `limit` is how many questions are left."""

    token: str = ""
    limit: int = 60
    reset_in: int = 900
    digests: bool = True
    releases: list[dict[str, Any]] = field(default_factory=list)
    content: dict[int, bytes] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.server = Hostile(self.answer).__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__(*error)

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return self.server.url

    @property
    def asked(self) -> list[Asked]:
        """What was asked so far."""
        return self.server.asked

    def publish(self, tag: str, files: dict[str, bytes], *, pre: bool = False, at: str = STAMP) -> None:
        """Publish a release; it is the first of the list."""
        number = len(self.releases) + 1
        api = f"{self.url}/repos/ann/app"
        release = {
            "url": f"{api}/releases/{number}",
            "assets_url": f"{api}/releases/{number}/assets",
            "upload_url": f"{api}/releases/{number}/assets{{?name,label}}",
            "tarball_url": f"{api}/tarball/{tag}",
            "zipball_url": f"{api}/zipball/{tag}",
            "html_url": f"{self.url}/ann/app/releases/tag/{tag}",
            "id": number,
            "node_id": f"RE_{number}",
            "author": self.author(),
            "target_commitish": "main",
            "tag_name": tag,
            "name": tag,
            "draft": False,
            "prerelease": pre,
            "created_at": at,
            "published_at": at,
            "assets": [self.asset(tag, name, content, at) for name, content in files.items()],
        }
        self.releases.insert(0, release)

    def asset(self, tag: str, name: str, content: bytes, at: str) -> dict[str, Any]:
        """Make an asset as the API tells of it."""
        number = 1000 + len(self.content)
        self.content[number] = content
        return {
            "url": f"{self.url}/repos/ann/app/releases/assets/{number}",
            "browser_download_url": f"http://localhost:{self.server.port}/ann/app/releases/download/{tag}/{number}",
            "id": number,
            "node_id": f"RA_{number}",
            "uploader": None,
            "name": name,
            "label": "",
            "state": "uploaded",
            "content_type": "application/octet-stream",
            "size": len(content),
            "digest": f"sha256:{hashlib.sha256(content).hexdigest()}" if self.digests else None,
            "download_count": 0,
            "created_at": at,
            "updated_at": at,
        }

    def answer(self, asked: Asked, wire: Wire) -> None:
        """Be the API or the storage, whichever was asked."""
        api = asked.headers["host"].startswith("127.0.0.1")
        wire.say(self.api(asked) if api else self.storage(asked))

    def api(self, asked: Asked) -> bytes:
        """Answer as api.github.com does."""
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return self.tell({"message": "Not Found", "status": "404"}, "404 Not Found")
        if self.limit <= 0:
            return self.tell({"message": "API rate limit exceeded"}, "403 rate limit exceeded")
        parts = asked.target.partition("?")[0].removeprefix("/repos/ann/app/releases").split("/")
        if parts[1:2] == ["assets"]:
            if asked.headers.get("accept") != "application/octet-stream":
                return self.tell(self.found(int(parts[2])))
            there = f"http://localhost:{self.server.port}/storage/{parts[2]}?sig=secret"
            return reply(b"", "302 Found", location=there)
        return self.release(asked, parts)

    def release(self, asked: Asked, parts: list[str]) -> bytes:
        """Answer a question about releases."""
        found: object = {"latest": self.latest, "tags": lambda: self.tagged(parts[2]), "": self.all}[
            parts[1] if len(parts) > 1 else ""
        ]()
        if found is None:
            return self.tell({"message": "Not Found", "status": "404"}, "404 Not Found")
        etag = f'W/"{hashlib.sha256(json.dumps(found).encode()).hexdigest()}"'
        if asked.headers.get("if-none-match") == etag:
            return reply(b"", "304 Not Modified", etag=etag, content_length="")
        self.limit -= 1
        return self.tell(found, etag=etag)

    def found(self, number: int) -> dict[str, Any]:
        """Find an asset by its number."""
        return next(one for release in self.releases for one in release["assets"] if one["id"] == number)

    def author(self) -> dict[str, Any]:
        """Make the account that publishes; all its addresses are the same here."""
        words: tuple[str, ...] = ("avatar", "html", "followers", "following", "gists", "starred")
        words += ("subscriptions", "organizations", "repos", "events")
        return {
            "login": "ann",
            "id": 1,
            "node_id": "U_1",
            "gravatar_id": "",
            "type": "User",
            "site_admin": False,
            "url": f"{self.url}/users/ann",
            "received_events_url": f"{self.url}/users/ann/received_events",
            **{f"{word}_url": f"{self.url}/users/ann/{word}" for word in words},
        }

    def latest(self) -> dict[str, Any] | None:
        """Find the latest release that is none of those to be tried first."""
        return next((one for one in self.releases if not one["prerelease"] and not one["draft"]), None)

    def tagged(self, tag: str) -> dict[str, Any] | None:
        """Find the release of a tag."""
        return next((one for one in self.releases if one["tag_name"] == tag), None)

    def all(self) -> list[dict[str, Any]]:
        """Find every release."""
        return self.releases

    def tell(self, found: object, status: str = "200 OK", **headers: str) -> bytes:
        """Answer with JSON and the state of the rate limit."""
        return reply(
            json.dumps(found).encode(),
            status,
            content_type="application/json; charset=utf-8",
            x_ratelimit_limit="60",
            x_ratelimit_remaining=str(max(self.limit, 0)),
            x_ratelimit_reset=str(int(time.time()) + self.reset_in),
            **headers,
        )

    def storage(self, asked: Asked) -> bytes:
        """Answer as the storage does: with bytes, and with an error to whoever is overdressed."""
        if "authorization" in asked.headers:
            return reply(b"InvalidAuthenticationInfo", "400 Bad Request")
        content = self.content[int(asked.target.partition("?")[0].rpartition("/")[2])]
        if "range" in asked.headers:
            start = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
            told = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return reply(content[start:], "206 Partial Content", content_range=told, etag='"0x8D"')
        return reply(content, etag='"0x8D"', content_type="application/octet-stream")
