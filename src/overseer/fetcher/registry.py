"""Fetchers by URL, and anything that can be made one: the door for everybody's sources.

Schemes: `https:` and `http:` (`HTTP`), `s3://bucket/key` (`S3`), `github:owner/repo` (`GitHub`), `file:`
(`File`); any other one is looked up among the entry points of the group `overseer.fetchers`, whose name is
the scheme and whose object is called with the URL and the options and returns a fetcher.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from overseer.errors import ConfigError
from overseer.fetcher.file import File
from overseer.fetcher.func import Func
from overseer.fetcher.github import GitHub
from overseer.fetcher.http import HTTP
from overseer.fetcher.legacy import InitFetch, Legacy
from overseer.fetcher.offer import Fetcher
from overseer.fetcher.s3 import S3

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

GROUP = "overseer.fetchers"

_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def from_url(url: str, /, **options: Any) -> Fetcher:
    """Make the fetcher that `url` names; `options` are those of its class and go before the URL's own.

    `https://host/app-{os}-{arch}`; `s3://bucket/key?region=…&endpoint_url=…&version_id=…`;
    `github:owner/repo?asset=…&tag=…&pre_releases=yes&base_url=…`; `file:/path` or `file:path`.
    A percent sign in a path is written `%25`. Raises `ConfigError` for what cannot be understood.
    """
    scheme = url.partition(":")[0].lower() if ":" in url else ""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError("fetcher", f"{url!r} is no URL: {error}") from error
    maker = _BUILT_IN.get(scheme)
    try:
        if maker:
            return maker(url, parts, options)
        return adapt(_entry_point(scheme, url)(url, **options))
    except TypeError as error:
        raise ConfigError("fetcher", f"{scheme}: does not take these options: {error}") from error


def adapt(thing: object) -> Fetcher:
    """Make a fetcher of whatever a `Config` may hold as one.

    A fetcher is itself; `init()` and `fetch()` make one of the original's shape; a string is a URL; anything
    else that can be called is a function for `Func`. Raises `ConfigError` for anything else.
    """
    if isinstance(thing, type):
        raise ConfigError("fetcher", f"{thing.__name__} is a class; make an object of it")
    if isinstance(thing, Fetcher):
        return thing
    if isinstance(thing, InitFetch):
        return Legacy(thing)
    if isinstance(thing, str):
        return from_url(thing)
    if callable(thing):
        return Func(thing)
    raise ConfigError("fetcher", f"{type(thing).__name__} has neither latest(seen) nor init() and fetch()")


def _http(url: str, _: SplitResult, options: dict[str, Any]) -> Fetcher:
    return HTTP(url, **options)


def _s3(url: str, parts: SplitResult, options: dict[str, Any]) -> Fetcher:
    key = unquote(parts.path.removeprefix("/"))
    told = _query(url, parts, region=str, endpoint_url=str, version_id=str, path_style=_truth)
    return S3(bucket=parts.netloc, key=key, **(told | options))


def _github(url: str, parts: SplitResult, options: dict[str, Any]) -> Fetcher:
    user, slash, repo = unquote(parts.path).partition("/")
    if parts.netloc or not slash or "/" in repo:
        raise ConfigError("fetcher", f"{url!r} is not of the form github:owner/repo")
    told = _query(url, parts, asset=str, tag=str, pre_releases=_truth, base_url=str)
    return GitHub(user, repo, **(told | options))


def _file(url: str, parts: SplitResult, options: dict[str, Any]) -> Fetcher:
    if parts.netloc not in ("", "localhost"):
        raise ConfigError("fetcher", f"{url!r} names a host; a file is on this machine: file:/path")
    if parts.query or parts.fragment:
        raise ConfigError("fetcher", f"{url!r}: a ? or # in a path is written %3F or %23")
    return File(os.fsdecode(unquote(parts.path)), **options)


_BUILT_IN: dict[str, Callable[[str, SplitResult, dict[str, Any]], Fetcher]] = {
    "https": _http,
    "http": _http,
    "s3": _s3,
    "github": _github,
    "file": _file,
}


def _entry_point(scheme: str, url: str) -> Callable[..., object]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - reads the metadata of everything installed

    found = list(entry_points(group=GROUP, name=scheme)) if scheme else []
    if not found:
        known = ", ".join(f"{name}:" for name in _BUILT_IN)
        raise ConfigError(
            "fetcher", f"{url!r} has none of the known schemes ({known}); is a package missing?"
        )
    if len(found) > 1:
        which = ", ".join(sorted(point.value for point in found))
        raise ConfigError("fetcher", f"{scheme}: is claimed by more than one installed package: {which}")
    try:
        maker = found[0].load()
    except Exception as error:  # a stranger's module may raise whatever it likes
        raise ConfigError(
            "fetcher", f"{scheme}: cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not callable(maker):
        raise ConfigError("fetcher", f"{scheme}: {found[0].value} cannot be called")
    return maker  # type: ignore[no-any-return]


def _query(url: str, parts: SplitResult, **known: Callable[[str], Any]) -> dict[str, Any]:
    told = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ConfigError("fetcher", f"{url!r}: {name!r} is not one of {', '.join(known)}")
        told[name] = known[name](value)
    return told


def _truth(value: str) -> bool:
    if value.lower() not in (*_YES, *_NO):
        raise ConfigError("fetcher", f"{value!r} is neither yes nor no")
    return value.lower() in _YES
