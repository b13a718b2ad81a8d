"""URLs: what may be shown of them, who they speak to, and what the user may write."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit, urlunsplit

from overseer.errors import ConfigError

PORTS = {"http": 80, "https": 443}


def shown(url: str) -> str:
    """Say a URL without what could be secret in it: user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def bare(url: str) -> str:
    """Take user, password and fragment out of a URL."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def port_of(parts: SplitResult) -> int | None:
    """Say which port a URL means; raises `ValueError` when it is no number."""
    return parts.port or PORTS.get(parts.scheme)


def same_origin(one: str, other: str) -> bool:
    """Say whether a secret meant for `one` may go to `other`: the same origin, or its https twin."""
    a, b = urlsplit(one), urlsplit(other)
    if a.hostname != b.hostname:
        return False
    if (a.scheme, port_of(a)) == (b.scheme, port_of(b)):
        return True
    return (a.scheme, b.scheme) == ("http", "https") and (port_of(a), port_of(b)) == (80, 443)


def check_url(field: str, url: str) -> None:
    """Raise `ConfigError` about `field` unless `url` is an absolute http or https URL."""
    try:
        parts = urlsplit(url)
        port_of(parts)
    except ValueError as error:
        # What cannot be taken apart is not shown: there may be a password in it.
        raise ConfigError(field, f"is no URL: {error}") from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise ConfigError(field, f"{shown(url)!r} is not an http or https URL with a host")
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ConfigError(field, f"{shown(url)!r} has a space or a control character in it")
