"""Signed releases as a source: the updater looks here as it looks at any other."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from overseer.errors import FetchError
from overseer.fetcher.offer import Offer, PatchOffer
from overseer.trust.choose import choose, patches_of
from overseer.trust.files import files_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from overseer.fetcher.offer import Download, Fetcher, Partial
    from overseer.trust.choose import Here, Signed
    from overseer.trust.client import View
    from overseer.trust.tuf import TUF

_STAMP = "timestamp.json"


class SignedReleases:
    """Asks for one short file a look; python-tuf is loaded, and everything verified, when that has changed.

    Also when what was verified is about to be too old: then nothing is taken, and that is said as often as it
    is looked, until somebody renews it.
    """

    def __init__(self, trust: TUF, fetcher: Fetcher, folder: str, here: Callable[[], Here]) -> None:
        """Keep what is trusted in `folder`; `here` tells what runs."""
        self.interval = fetcher.interval
        self._trust = trust
        self._files = files_of(fetcher)
        self._folder = folder
        self._here = here
        self._view: View | None = None

    def latest(self, seen: Mapping[str, str] | None) -> Offer | None:
        """Offer what is signed and not seen yet. Raises `FetchError` for whatever is not as it must be."""
        if self._files.changed(_STAMP) or self._view is None or time.time() >= self._view.until:
            self._view = None
            from overseer.trust.client import refresh  # noqa: PLC0415 - a quarter of a second, and 20 MiB

            self._view = refresh(self._files, self._folder, self._trust.anchor())
        for trouble in self._view.troubles:
            if trouble.concerns(self._trust.name):
                self._view = None  # it may be mended without another timestamp
                raise FetchError(trouble.why, kind=trouble.kind)
        chosen = choose(self._view.targets, self._trust.name, self._here())
        if chosen is None or seen == _seen(chosen):
            return None
        patches = [self._patch(each) for each in patches_of(self._view.targets, chosen)]
        return Offer(
            seen=_seen(chosen),
            open=partial(self._download, chosen),
            name=chosen.path,
            version=chosen.terms.version,
            digest=chosen.sha256,
            size=chosen.size,
            patches=tuple(patches),
            signed=True,
            notes=chosen.terms.notes,
        )

    def _download(self, chosen: Signed, waiting: Partial | None) -> Download:
        same = waiting is not None and waiting.seen.get("sha256") == chosen.sha256
        return self._files.download(chosen.file, chosen.size, waiting if same else None)

    def _patch(self, each: Signed) -> PatchOffer:
        assert each.terms.patch is not None
        return PatchOffer(
            base=each.terms.patch.base,
            digest=each.sha256,
            size=each.size,
            open=partial(self._download, each, None),
            name=each.path,
        )


def _seen(chosen: Signed) -> dict[str, str]:
    return {"target": chosen.path, "sha256": chosen.sha256}
