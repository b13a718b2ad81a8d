"""A store as it is, read without its lock and without writing: for status, history, and want of better."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from overseer.errors import StoreError
from overseer.store import releases
from overseer.store.layout import Layout, existing
from overseer.store.ledger import Ledger, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overseer.store.releases import Release


def fallback(binary: str, environ: Mapping[str, str] | None = None) -> Release | None:
    """Return what to start when `Store.open` raised: the current release, read without the lock.

    None when there is no store, and then what runs already is all there is.
    """
    try:
        return _whole_current(*peek(binary, environ))
    except StoreError:
        return None


def peek(binary: str, environ: Mapping[str, str] | None = None) -> tuple[Layout, Ledger]:
    """Read the ledger of a binary without its lock and without writing: for status and history.

    Raises `StoreError`.
    """
    layout = existing(binary, os.environ if environ is None else environ)
    if layout is None:
        raise StoreError(f"{binary} has no store of releases yet")
    try:
        with open(layout.state, "rb") as file:
            return layout, load(file.read())
    except (OSError, ValueError) as error:
        raise StoreError(f"{layout.state} cannot be read: {error}") from error


def _whole_current(layout: Layout, ledger: Ledger) -> Release | None:
    release = releases.find(layout, ledger.current) if ledger.current else None
    return release if release and releases.is_whole(release, doubt=False) else None
