"""Releases on GitHub, or on a GitHub Enterprise server, as a source."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from overseer.errors import ConfigError
from overseer.fetcher.options import check_time, need
from overseer.fetcher.target import check_template
from overseer.fetcher.urls import check_url, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from overseer.fetcher.offer import Offer

PUBLIC = "https://api.github.com"

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass
class Told:
    """The last answer of the API in this process: the next condition, and what a 304 to it means."""

    etag: str = ""
    release: dict[str, Any] | None = None


@dataclass
class GitHub:
    """Look at the releases of `user`/`repo` every `interval` seconds.

    The release is the latest one, or that of `tag`, or with `pre_releases` the one published last, be it a
    pre-release or not. `asset` chooses its file: a template that must give the name letter by letter, with
    {os}, {arch}, {machine}, {libc}, {version} (the tag without its v) and {tag}, each in every spelling that
    is in use for this platform; or a function of a name. Without one, the only file whose name has this
    system and machine as whole words is taken; more than one is an error.
    `token` opens private repositories and a larger rate limit; without one it is GITHUB_TOKEN of the
    environment, or for a `base_url` of your own (`https://HOST/api/v3`) GITHUB_ENTERPRISE_TOKEN. It is sent
    to that host only. Sizes, timeouts and `ca` as in `HTTP`.
    Raises `ConfigError` for options that can never work, and when urllib3 is not installed.
    """

    user: str
    repo: str
    interval: float = 300.0
    asset: str | Callable[[str], object] | None = None
    _: KW_ONLY
    tag: str = ""
    pre_releases: bool = False
    token: str = field(default="", repr=False)
    base_url: str = PUBLIC
    max_size: int = 2 * 1024**3
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    min_rate: int = 128
    max_redirects: int = 10
    ca: str | None = None
    told: Told = field(default_factory=Told, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        need("urllib3", extra="github")
        for name, value in (("user", self.user), ("repo", self.repo)):
            if not _NAME.fullmatch(value) or value in (".", ".."):
                raise ConfigError(name, f"{value!r} is not a name on GitHub")
        check_url("base_url", self.base_url)
        check_time("interval", self.interval)
        if self.tag and self.pre_releases:
            raise ConfigError("pre_releases", f"makes no sense with a fixed tag ({self.tag!r})")
        if isinstance(self.asset, str):
            if not self.asset:
                raise ConfigError("asset", "is empty; leave it out to choose by platform")
            check_template("asset", self.asset, ("os", "arch", "machine", "libc", "version", "tag"))
        if not f"{self.token}{self.tag}".isprintable() or not self.token.isascii():
            raise ConfigError("token", "cannot be sent")  # not shown: it may be nearly right

    def latest(self, seen: Mapping[str, str] | None) -> Offer | None:
        """Ask the API once; offer the asset if it differs from `seen`. Raises `FetchError`."""
        from overseer.fetcher.releases import Releases  # noqa: PLC0415 - urllib3 is loaded when it is used

        return Releases(self).latest(seen)

    def token_from(self, environ: Mapping[str, str]) -> str:
        """Say which token to send: never one to a host that it is not for."""
        if self.token:
            return self.token
        ours = self.base_url.rstrip("/")
        if ours in (PUBLIC, environ.get("GITHUB_API_URL", "").rstrip("/")):
            return environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN") or ""
        return environ.get("GITHUB_ENTERPRISE_TOKEN") or environ.get("GH_ENTERPRISE_TOKEN") or ""

    def __str__(self) -> str:
        """Show the repository as people call it."""
        host = "" if self.base_url == PUBLIC else f" at {shown(self.base_url)}"
        return f"{self.user}/{self.repo}{host}"
