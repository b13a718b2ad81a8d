"""What operators may want of the store: a release held, cleared or pinned, the one before back again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overseer.errors import StoreError
from overseer.store.ledger import BY_HAND, Pin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overseer.store import Release, Store

_SHORTEST = 4
"""Letters of a digest that may stand for it."""

_WHOLE = 64

_NAMED = 10
"""Releases that are named to whoever has named none of them."""


def unhold(store: Store, text: str) -> str:
    """Give a held release another chance; the source is asked anew. Raises `StoreError`."""
    release = _one(store, text, store.ledger.held, "held")
    store.unhold(release)
    return release


def hold(store: Store, text: str) -> str:
    """Never take a release by itself: a known one, or any by its whole digest. Raises `StoreError`."""
    release = text if _is_digest(text) else _one(store, text, _known(store), "in the store")
    store.hold(release, BY_HAND)
    return release


def pin(store: Store, text: str) -> Pin:
    """Take no other release than the one that is meant, by default the current one, until `unpin`.

    One that is known, or any by its whole digest; else TEXT is a version, and any release that has it will
    do, also one that the source has yet to offer. Raises `StoreError` while another one is on trial.
    """
    if not text:
        meant = Pin(release=store.ledger.current)
    elif _is_digest(text):
        meant = Pin(release=text)
    else:
        found = _all(store, text, _known(store))
        if len(found) > 1:
            raise _several(text, found)
        meant = Pin(release=found[0]) if found else Pin(version=text)
    store.pin(meant)
    return meant


def back(store: Store, text: str) -> Release:
    """Return the release to go back to: the one that was current before, or the one that is named.

    Raises `StoreError` where there is none, or where another one is pinned.
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
    if store.ledger.pin and not store.ledger.pin.allows(found.release, found.version):
        raise StoreError(f"{store.ledger.pin} is pinned, and no other release is taken: unpin it first")
    return found


def _known(store: Store) -> list[str]:
    return sorted(store.ledger.kept)


def _is_digest(text: str) -> bool:
    return len(text) == _WHOLE and set(text) <= set("0123456789abcdef")


def _one(store: Store, text: str, among: Iterable[str], what: str) -> str:
    """Find the one release that a beginning of its digest, or its version, can mean."""
    among = list(among)
    found = _all(store, text, among)
    if len(found) == 1:
        return found[0]
    if found:
        raise _several(text, found)
    raise StoreError(
        f"no release that is {what} has the version {text!r}, or a digest that begins so; "
        f"{what} {_listed(store, among)}"
    )


def _listed(store: Store, among: list[str]) -> str:
    """Name releases for whoever meant one of them."""
    versions = _versions(store)
    named = [f"{versions[r]} ({r[:12]})" if r in versions else r[:12] for r in among]
    return f"{'are' if len(named) > 1 else 'is'} {', '.join(named[:_NAMED])}" if named else "is none"


def _versions(store: Store) -> dict[str, str]:
    return {entry.release: entry.version for entry in store.history() if entry.version}  # some are gone


def _all(store: Store, text: str, among: Iterable[str]) -> list[str]:
    versions = _versions(store)
    short = len(text) >= _SHORTEST
    return [r for r in among if (short and r.startswith(text)) or (text and versions.get(r) == text)]


def _several(text: str, found: list[str]) -> StoreError:
    return StoreError(f"{text!r} can mean {', '.join(r[:12] for r in found)}; give more of its digest")
