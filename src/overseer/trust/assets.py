"""Repositories as a release on GitHub: one flat list of assets, which one conditional request tells whole.

What is asked for is the release: whether `timestamp.json` is another asset than before, and which files there
are at all, follows from the answer. Only assets that are needed are asked for after it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from overseer.errors import FetchError
from overseer.fetcher.releases import Asset, Releases, assets_of
from overseer.fetcher.transfer import download
from overseer.trust.files import MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overseer.fetcher.github import GitHub
    from overseer.fetcher.offer import Download, Partial


class Assets:
    """The assets of the release that a `GitHub` looks at: the latest one, or that of its tag."""

    def __init__(self, source: GitHub) -> None:
        self._releases = Releases(replace(source))
        self._where = str(source)
        self._assets: dict[str, Asset] | None = None

    def changed(self, name: str) -> bool:
        """Ask for the release; an asset that was uploaded anew has another number."""
        before = (self._assets or {}).get(name)
        self._assets = None
        release = self._releases.ask("")
        if release is None:
            raise FetchError(f"{self._where} answered that nothing has changed, and was not asked that")
        self._assets = {asset.name: asset for asset in assets_of(release)}
        return before is None or self._assets.get(name) != before

    def read(self, name: str) -> Iterator[bytes]:
        """Yield an asset; what is not in the list is not asked for."""
        asset = self._find(name)
        answer = self._releases.ask_for(asset, {})
        self._releases.check(answer, asset)
        return answer.body(sniff=False)

    def download(self, name: str, size: int, partial: Partial | None) -> Download:
        """Go on where an interrupted download ended: the digest of the whole is known."""
        asset = self._find(name)
        return download(
            lambda headers: self._releases.ask_for(asset, headers),
            lambda answer: self._releases.check(answer, asset),
            offset=min(partial.size, size) if partial else 0,
            size=size,
        )

    def _find(self, name: str) -> Asset:
        if self._assets is None:
            self.changed(name)
        asset = (self._assets or {}).get(name)
        if asset is None:
            raise MissingError(f"{name} is not in the release of {self._where}")
        return asset
