"""Patches: from each of the last releases to the new one, as far as they are worth having.

One frame of zstd with the old release as its dictionary, made slowly and well: it is made once and downloaded
by everybody. How a service applies it, and why it need not trust it, is told in `updater.patch`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overseer.publish.advice import advice
from overseer.publish.compress import compress
from overseer.publish.releases import Released, whole
from overseer.store import durable
from overseer.trust.terms import Patch, patch_target, same_release
from overseer.updater import version as versions
from overseer.updater.patch import LEAST, MOST, WORTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from overseer.publish.places import Place


@dataclass(frozen=True)
class Made:
    """A patch that was tried: from which version, how large it is, and whether it is worth publishing."""

    base: Released
    size: int
    worth: bool


def bases(found: Iterable[Released], new: Released, most: int) -> list[Released]:
    """Return the last releases that a patch to a new one may begin with, the newest first."""
    older = [
        each
        for each in whole(found)
        if same_release(each.terms, new.terms) and versions.is_lower(each.terms.version, new.terms.version)
    ]
    return [each for each in older if LEAST <= each.length <= MOST][:most]


class Workshop:
    """Makes patches to the file at `path`, each once, in a folder that is somebody else's to remove."""

    def __init__(self, path: str, folder: str, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._path = path
        self._folder = folder
        self._new: bytes | None = None
        self.made: dict[str, Made] = {}

    def patch(self, place: Place, base: Released, new: Released) -> tuple[Released, str] | None:
        """Return a patch as it is to be signed, and where it is; None when it is not worth it."""
        if not 0 < new.length <= MOST:
            return None
        path = os.path.join(self._folder, base.sha256)
        if base.sha256 not in self.made:
            self._tell(f"the patch from {base.terms.version} is being made")
            if self._new is None:
                self._new = _read(self._path)
            old = os.path.join(self._folder, f"{base.sha256}.old")
            place.download(base.file, old)
            data = compress(_read(old), self._new)
            with open(path, "wb") as file:
                file.write(data)
            worth = len(data) < new.length * WORTH
            self.made[base.sha256] = Made(base, len(data), worth)
        made = self.made[base.sha256]
        if not made.worth:
            return None
        signed = Released(
            target=patch_target(new.target, base.sha256),
            role=new.role,
            length=made.size,
            sha256=durable.digest_of_path(path),
            terms=new.terms.as_patch(Patch(base.sha256, new.target)),
        )
        return signed, path

    def advice(self) -> Iterator[str]:
        """Say what would have made the patch from the newest release smaller."""
        newest = next(iter(self.made.values()), None)
        if newest and self._new is not None:
            old = _read(os.path.join(self._folder, f"{newest.base.sha256}.old"))
            yield from advice(old, self._new, newest.size)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
