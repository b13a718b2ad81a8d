"""A repository as a client sees it: python-tuf's own client walks it, and what it says is told with dates."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from overseer.errors import PublishError
from overseer.publish.releases import Released, released
from overseer.publish.view import look
from overseer.store import durable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.publish.places import Place

_NOT_FOUND = 404
_MEND = {
    "timestamp": "overseer repo renew",
    "snapshot": "overseer repo renew",
    "root": "overseer repo root export",
}


@dataclass(frozen=True)
class Expiry:
    """When what a role signed expires."""

    role: str
    version: int
    expires: datetime

    def days(self, now: datetime) -> float:
        """How many days are left."""
        return (self.expires - now).total_seconds() / 86400


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was seen. `problems` are sentences; without any, every client is well."""

    expiries: list[Expiry]
    releases: list[Released]
    problems: list[str] = field(default_factory=list)


def audit(
    place: Place, root: bytes, *, within: float, deep: bool = False, now: datetime | None = None
) -> Audit:
    """Look at a repository as a client that embeds `root`.

    A date less than `within` days away is a problem; `deep` also reads every file and compares its digest.
    Raises `PublishError` when the repository cannot be read at all.
    """
    now = now or datetime.now(UTC)
    problems = list(_walk(place, root))
    try:
        view = look(place, root)
    except PublishError as error:
        return Audit(expiries=[], releases=[], problems=[*problems, str(error)])
    if view is None:
        return Audit(expiries=[], releases=[], problems=[f"nothing is published in {place}"])
    signed = {"root": view.root, **view.targets, "snapshot": view.snapshot, "timestamp": view.timestamp}
    expiries = [Expiry(role, each.version, each.expires) for role, each in signed.items()]
    problems += list(_late(expiries, now, within))
    releases = list(released(view.targets))
    problems += [problem for each in releases if (problem := _missing(place, each, deep=deep))]
    return Audit(expiries=expiries, releases=releases, problems=problems)


def _late(expiries: list[Expiry], now: datetime, within: float) -> Iterator[str]:
    for each in expiries:
        left = each.days(now)
        if left > within:
            continue
        what = "expired" if left <= 0 else f"expires in {left:.1f} days:"
        mend = _MEND.get(each.role, "overseer repo renew --targets")
        yield f"{each.role} {what} {each.expires:%Y-%m-%d %H:%M} UTC; {mend} signs it anew"


def _missing(place: Place, each: Released, *, deep: bool) -> str:
    size = place.size(each.file)
    if size != each.length:
        return f"{each.file} has {size or 0} bytes and {each.length} are signed"
    if deep:
        with tempfile.TemporaryDirectory(prefix="overseer-verify-") as folder:
            copy = os.path.join(folder, "file")
            place.download(each.file, copy)
            if durable.digest_of_path(copy) != each.sha256:
                return f"{each.file} does not have the digest that is signed"
    return ""


def _walk(place: Place, root: bytes) -> Iterator[str]:
    """Let python-tuf's client refresh from nothing, as a service does at its first look."""
    with tempfile.TemporaryDirectory(prefix="overseer-verify-") as folder:
        try:
            client = Updater(
                folder, "place:", fetcher=_Fetcher(place), config=UpdaterConfig(), bootstrap=root
            )
            client.refresh()
        except (RepositoryError, DownloadError, PublishError, OSError, ValueError) as error:
            yield f"a client cannot take it: {error or type(error).__name__}"


class _Fetcher(FetcherInterface):
    """Hands a client what is in a place."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix("place:/")
        data = self._place.read(name)
        if data is None:
            raise DownloadHTTPError(f"{name} is not there", _NOT_FOUND)
        return iter([data])


def fingerprint(root: bytes) -> str:
    """Return the SHA-256 of a root, for people to compare by another way than the one it came."""
    return hashlib.sha256(root).hexdigest()
