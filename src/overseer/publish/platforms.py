"""Platforms as they are written in a repository: `linux-x86_64-gnu`, or `any`."""

from __future__ import annotations

from overseer.fetcher.target import here
from overseer.trust.terms import ANY


def this() -> str:
    """Return this machine's."""
    found = here()
    return "-".join(word for word in (found.os, found.machine, found.libc) if word)


def platform_of(kind: str) -> str:
    """Return what a release of this kind runs on, unless somebody says otherwise."""
    return ANY if kind in ("python", "script", "zipapp") else this()


def foreign(platform: str) -> bool:
    """Whether something for this platform cannot be run here."""
    return platform not in (ANY, this())
