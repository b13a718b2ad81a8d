"""What operators may want of the store: a held release cleared, one held, the one before back again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overseer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overseer.store import Release, Store

_SHORTEST = 4
"""Letters of a digest that may stand for it."""

_WHOLE = 64

BY_HAND = "an operator wants it so"


def unhold(store: Store, text: str) -> str:
    """Give a held release another chance; the source is asked anew. Raises `StoreError`."""
    release = _one(store, text, store.ledger.held, "held")
    store.unhold(release)
    return release


def hold(store: Store, text: str) -> str:
    """Never take a release by itself: a known one, or any by its whole digest. Raises `StoreError`."""
    whole = len(text) == _WHOLE and set(text) <= set("0123456789abcdef")
    release = text if whole else _one(store, text, _known(store), "in the store")
    store.hold(release, BY_HAND)
    return release


def back(store: Store, text: str) -> Release:
    """Return the release to go back to: the one that was current before, or the one that is named.

    Raises `StoreError` where there is none.
    """
    if text:
        release = _one(store, text, (r for r in _known(store) if r != store.ledger.current), "in the store")
    elif store.ledger.previous:
        release = store.ledger.previous[0]
    else:
        raise StoreError("there is no release before the current one")
    found = store.find(release)
    if found is None:
        raise StoreError(f"release {release[:12]} is not in the store any more")
    return found


def _known(store: Store) -> list[str]:
    return sorted(store.ledger.kept)


def _one(store: Store, text: str, among: Iterable[str], what: str) -> str:
    """Find the one release that a beginning of its digest, or its version, can mean."""
    versions = {entry.release: entry.version for entry in store.history() if entry.version}  # some are gone
    short = len(text) >= _SHORTEST
    found = [r for r in among if (short and r.startswith(text)) or (text and versions.get(r) == text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise StoreError(f"{text!r} can mean {', '.join(r[:12] for r in found)}; give more of its digest")
    raise StoreError(f"no release that is {what} has the version {text!r}, or a digest that begins so")
