"""What the store of a running service says, read without its lock: what is held and pinned.

The master knows only what it has to start; an operator wants to see the rest beside it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from overseer.store.ledger import Ledger, load

if TYPE_CHECKING:
    from collections.abc import Mapping


def ledger_of(status: Mapping[str, Any]) -> Ledger:
    """Return what the store of a service says; an empty ledger where there is none, or it cannot be read."""
    folder = status.get("store") or ""
    if not folder:
        return Ledger()
    try:
        with open(os.path.join(folder, "state.json"), "rb") as file:
            return load(file.read())
    except (OSError, ValueError):
        return Ledger()


def held(status: Mapping[str, Any], ledger: Ledger) -> dict[str, str]:
    """Return every release that is not taken by itself, and why: the master's, and an operator's."""
    return {**dict(ledger.held), **dict(status.get("reasons", {}))}


def pinned(ledger: Ledger) -> str:
    """Return what is pinned, for people; nothing where nothing is."""
    return str(ledger.pin) if ledger.pin else ""
