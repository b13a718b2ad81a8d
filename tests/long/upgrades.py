"""Upgrade upon upgrade through the store and the updater's own way in, until the disk is gone.

Run as a process of its own: `python -m tests.long.upgrades BINARY SEED FIRST [careless]`. Each line it says
is a promise: when it says that something is done, no power cut may undo it. With `careless` fsync does
nothing, and the promises are worth nothing: so it is shown that somebody would notice.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import random
import sys
from typing import TYPE_CHECKING

from overseer.errors import FetchError
from overseer.fetcher.offer import CHUNK, Download, Offer, Partial
from overseer.store import Store
from overseer.updater.stage import Staged, Terms, stage

if TYPE_CHECKING:
    from collections.abc import Iterator


def content_of(number: int) -> bytes:
    """Make the release of a number: a script, from a few bytes to some hundred thousand, seldom more."""
    chance = random.Random(number)
    size = chance.choice([0, 100, 5000, 70_000, 300_000, 2_000_000])
    return f"#!/bin/sh\n# {number}\nexit 0\n".encode() + chance.randbytes(size).hex().encode()


def digest_of(number: int) -> str:
    """Return what names that release."""
    return hashlib.sha256(content_of(number)).hexdigest()


def say(*words: object) -> None:
    """Promise."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def offer_of(number: int, *, packed: bool, broken: bool) -> Offer:
    """Offer the release of a number; a transfer that is `broken` off can be resumed."""
    content = content_of(number)
    content = gzip.compress(content, 1, mtime=0) if packed else content
    seen = {"number": str(number)}

    def start(partial: Partial | None) -> Download:
        at = partial.size if partial and partial.seen == seen and partial.size <= len(content) else 0
        if at:
            say("resumed", number)
        return Download(at, chunks(at))

    def chunks(at: int) -> Iterator[bytes]:
        end = max(at, len(content) // 2) if broken else len(content)
        for begin in range(at, end, CHUNK):
            yield content[begin : min(begin + CHUNK, end)]
        if broken:
            raise FetchError("the transfer was cut")

    return Offer(seen=seen, open=start, name=f"{number}.gz" if packed else str(number), size=None)


def upgrade(store: Store, number: int, chance: random.Random) -> None:
    """Bring one release in, and let it have one of the fates that a release may have."""
    fate = chance.choices(["promote", "reject", "install"], [7, 2, 1])[0]
    packed = number % 5 == 0
    say("begins", number, fate)
    if chance.random() < 0.2:
        try:
            stage(offer_of(number, packed=packed, broken=True), store=store, terms=Terms(check=False))
        except FetchError:
            say("broken", number)
    staged = stage(offer_of(number, packed=packed, broken=False), store=store, terms=Terms(check=False))
    if staged.release in store.ledger.held:  # cuts have cost it all of its attempts
        say("held", number)
        return
    # It was on trial already if the last cut came just then.
    assert isinstance(staged, Staged) or staged.release == _on_trial(store), staged
    say("staged", number)
    if fate == "install":
        assert store.install(staged.release)
        say("installed", number)
    if fate == "reject":
        assert store.reject(staged.release, "it is one of those")
        say("rejected", number)
    else:
        assert store.promote(staged.release)
        store.collect()
        say("promoted", number)


def _on_trial(store: Store) -> str:
    return store.ledger.trial.release if store.ledger.trial else ""


def main() -> None:
    """Upgrade until it is no longer possible."""
    binary, seed, first, *careless = sys.argv[1:]
    if careless:
        os.fsync = lambda _: None  # type: ignore[assignment]
    chance = random.Random(seed)
    with Store.open(binary, tell=lambda *_: None) as store:
        store.boot()
        known = store.ledger
        say("ready", known.current, known.published.release if known.published else "")
        for number in itertools.count(int(first)):
            upgrade(store, number, chance)


if __name__ == "__main__":
    main()
