"""Which of the signed releases to take: the same program, for this machine, the highest that may follow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.errors import FetchError
from overseer.trust.terms import ANY
from overseer.updater import version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overseer.trust.terms import Terms


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A file that is signed: the name of its target, its digest (SHA-256), its bytes, and what it is.

    `file` is what it is called where it is served.
    """

    path: str
    sha256: str
    size: int
    terms: Terms
    file: str


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why nothing is believed of what somebody signs whose names match `patterns`.

    `kind` is that of the `FetchError` which says so.
    """

    patterns: tuple[str, ...]
    why: str
    kind: str

    def concerns(self, name: str) -> bool:
        """Tell whether releases of a program may be among it; of one whose name is not known they may."""
        return not name or any(_may_name(pattern, f"{name}-") for pattern in self.patterns)


@dataclass(frozen=True, kw_only=True)
class Here:
    """What runs here: its version, the highest it ever was, its digest, and what the machine is."""

    platform: str
    version: str = ""
    highest: str = ""
    digest: str = ""
    pinned: str = ""  # the only release that is wanted: its digest or its version


def _may_name(pattern: str, start: str) -> bool:
    """Whether a pattern may match a name that begins so, and goes on with a version."""
    plain = re.split(r"[*?[]", pattern, maxsplit=1)[0]
    if plain.startswith(start):
        return plain == start or bool(re.match("v?[0-9]", plain.removeprefix(start)))
    return start.startswith(plain)


def choose(targets: Iterable[Signed], name: str, here: Here) -> Signed | None:
    """Return the release to take; None when what runs is the newest, or nothing may follow it.

    Where one version is there for every machine and for this one, the latter is taken. Raises `FetchError`
    when it cannot be told which program is meant.
    """
    releases = [each for each in targets if each.terms.patch is None]
    names = {each.terms.name for each in releases}
    if not name and len(names) > 1:
        raise FetchError(
            f"the repository has releases of {', '.join(sorted(names))}: say trust=TUF(root, name=...)"
        )
    fitting = [
        each
        for each in releases
        if name in ("", each.terms.name)
        and here.pinned in ("", each.sha256, each.terms.version)
        and each.terms.platform in (ANY, here.platform)
        and version.key(each.terms.version) is not None
        and not version.is_lower(each.terms.version, here.highest)
        and _may_follow(each.terms, here)
    ]
    best = max(fitting, key=_rank, default=None)
    return None if best is None or best.sha256 == here.digest else best


def _rank(each: Signed) -> tuple[version.Key, bool]:
    found = version.key(each.terms.version)
    assert found is not None
    return found, each.terms.platform != ANY


def _may_follow(terms: Terms, here: Here) -> bool:
    """A release may want another one between; from a version that is not known nobody can tell."""
    return not terms.min_from or version.is_lower(here.version, terms.min_from) is False


def patches_of(targets: Iterable[Signed], release: Signed) -> list[Signed]:
    """Return the signed patches that make a release."""
    return [each for each in targets if each.terms.patch is not None and each.terms.patch.to == release.path]
