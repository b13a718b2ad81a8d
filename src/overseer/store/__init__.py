"""Releases on disk: what is current, what is on trial, what is held, and a public file that follows."""

from overseer.store.glance import fallback, peek
from overseer.store.layout import Layout
from overseer.store.ledger import Ledger, Trial
from overseer.store.lock import StoreLockedError
from overseer.store.recovery import Boot
from overseer.store.releases import Release
from overseer.store.store import Store

__all__ = ["Boot", "Layout", "Ledger", "Release", "Store", "StoreLockedError", "Trial", "fallback", "peek"]
