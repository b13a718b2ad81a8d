"""A URL as a source: one conditional request a look, resumed downloads, nothing remembered too early."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

from overseer.errors import ConfigError
from overseer.fetcher.options import check_time, need
from overseer.fetcher.target import check_template
from overseer.fetcher.urls import check_url, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from overseer.fetcher.offer import Offer

CHECK_HEADERS = ("ETag", "If-Modified-Since", "Last-Modified", "Content-Length")
"""What tells a release from another one, by default: the original's list."""


@dataclass
class Habits:
    """What was learned of a server, in this process: it only ever changes how to ask, not what is found.

    `deaf`: it has validators, and sends everything all the same. `headless`: it does not know HEAD.
    """

    deaf: bool = False
    headless: bool = False


@dataclass(repr=False)
class HTTP:
    """Look at `url` every `interval` seconds.

    `url` may have {os}, {arch} (amd64, arm64, 386 ...), {machine} (as `uname -m` says), {libc} and {version}
    in it, the last being `version`, the one that runs. A user and password in it are sent as Basic
    authentication.
    `check_headers`: a release is another one when one of these header fields of the answer differs.
    `head`: ask with HEAD first, always, as the original does.
    `headers` and `auth` (user, password) go to the origin of `url` only, never along a redirect to another.
    `name` overrides what the source calls the file; its ending tells how it is packed.
    `max_size` is in bytes. `connect_timeout` and `read_timeout` (seconds) bound one connection and one
    silence; a whole download may take as long as it takes, if it brings `min_rate` bytes a second (averaged
    over `read_timeout`; 0: any). `ca` is a file or folder of certificate authorities to trust instead of the
    system's; proxies come from the environment. `require_length` refuses answers whose end cannot be seen.
    Raises `ConfigError` for a URL or an option that can never work, and when urllib3 is not installed.
    """

    url: str
    interval: float = 300.0
    check_headers: Sequence[str] = CHECK_HEADERS
    _: KW_ONLY
    head: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    auth: tuple[str, str] | None = None
    version: str = ""
    name: str = ""
    max_size: int = 2 * 1024**3
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    min_rate: int = 128
    max_redirects: int = 10
    ca: str | None = None
    require_length: bool = True
    habits: Habits = field(default_factory=Habits, init=False, compare=False)

    def __post_init__(self) -> None:
        need("urllib3", extra="http")
        check_url("url", self.url)
        allowed = ("os", "arch", "machine", "libc", "version")
        check_template("url", self.url, allowed if self.version else allowed[:-1])
        check_time("interval", self.interval)
        if isinstance(self.check_headers, str) or not self.check_headers:
            raise ConfigError("check_headers", "must be a list of names of header fields")
        for name, value in self.headers.items():
            if not (name.isascii() and f"{name}{value}".isprintable()):
                raise ConfigError("headers", f"{name!r} cannot be sent")  # the value may be a secret

    def __repr__(self) -> str:
        """Show where it looks, and nothing that could be secret."""
        return f"HTTP({shown(self.url)!r}, interval={self.interval!r})"

    def latest(self, seen: Mapping[str, str] | None) -> Offer | None:
        """Ask once; offer what differs from `seen`. Raises `FetchError`."""
        from overseer.fetcher.look import Look  # noqa: PLC0415 - urllib3 is loaded when it is used

        return Look(self, seen).latest()
